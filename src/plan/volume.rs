//! What volumes need: a harness volume with a valid receipt, data volumes that exist.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Draft, Fresh, Made, Maker, Needs, NewStep, job_labels, resource};
use crate::call::Call;
use crate::desired::{HarnessSet, Pin};
use crate::label::{self, Kind};
use crate::observed::Elsewhere;
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, Impact, PopulateWork, ResourceKind, Work};

/// Plans the harness volume.
pub(super) fn harness(draft: &mut Draft<'_>) {
    let maker = match &draft.desired.harness {
        Some(Pin::Known(set)) => populated(draft, set),
        Some(Pin::Unknown(reason)) => {
            draft.unknown(ResourceKind::Volume, "harnesses", reason);
            Maker::Unknown("its harnesses are not pinned yet".to_owned())
        }
        None => return,
    };
    draft.made(Made::Harness, maker);
}

fn populated(draft: &mut Draft<'_>, set: &HarnessSet) -> Maker {
    let name = set.volume();
    let because = match state(draft, set) {
        State::Ready => {
            draft.unchanged(ResourceKind::Volume, &name);
            return Maker::Ready;
        }
        State::Missing => match earlier(draft) {
            Some(from) => changed_members(&from, set),
            None => vec![Because::plain(Cause::Missing).at(set.place.as_ref())],
        },
        State::Unproven(found) => {
            let because = Because::field(Cause::Drift, "receipt", json!(found), json!("valid"));
            vec![because.at(set.place.as_ref())]
        }
        State::Foreign(who) => {
            let because = vec![Because::plain(Cause::Missing).at(set.place.as_ref())];
            draft.foreign(
                resource(ResourceKind::Volume, &name),
                Action::Populate,
                &who,
                because,
            );
            return Maker::Blocked;
        }
    };
    let needs = match draft.needs([Made::Stage(&set.stage)]) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => {
            draft.unknown(ResourceKind::Volume, &name, &reason);
            return Maker::Unknown(reason);
        }
        Needs::Blocked => return Maker::Blocked,
    };
    let manifest = &draft.desired.owner.manifest;
    let image = draft
        .desired
        .stages
        .get(&set.stage)
        .map(|stage| stage.reference().to_owned())
        .unwrap_or_default();
    let mut labels = label::shared(manifest, Kind::Harness, "harness", &set.key);
    labels.insert(label::HARNESS_HASH.to_owned(), set.key.as_str().to_owned());
    labels.insert(label::HARNESS_VERSION.to_owned(), label::SCHEMA_NUMBER.to_owned());
    labels.insert(label::HARNESSES.to_owned(), set.display());
    let mut env = set.installer.clone();
    env.extend(set.proxies.clone());
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Volume, &name),
        action: Action::Populate,
        impact: Impact::None,
        because,
        needs,
        detail: Some(match &draft.desired.fallback {
            Some(_) => format!(
                "{}; on the built-in foundation if this one has no npm",
                set.display()
            ),
            None => set.display(),
        }),
        work: Work::Populate(Box::new(PopulateWork {
            volume: name.clone(),
            key: set.key.clone(),
            labels,
            job: job_labels(draft.desired, "populate", &set.key),
            job_name: format!("aishell-job-populate-{}", set.key.short()),
            failed_name: format!("aishell-failed-{manifest}-populate"),
            receipt_name: set.receipt(),
            receipt: label::shared(manifest, Kind::Receipt, "harness", &set.key),
            image,
            fallback: draft.desired.fallback.clone(),
            members: set.members.clone(),
            certificates: set.certificates.clone(),
            env,
        })),
    });
    Maker::Step(id)
}

/// What is there of a harness volume.
enum State {
    Ready,
    Missing,
    /// The volume is there, but nothing proves its content.
    Unproven(&'static str),
    Foreign(String),
}

fn state(draft: &Draft<'_>, set: &HarnessSet) -> State {
    let name = set.volume();
    let observed = draft.observed;
    if let Some(stranger) = observed.stranger("volume", &name) {
        return State::Foreign(stranger.who.clone());
    }
    if let Some(stranger) = observed.stranger("container", &set.receipt()) {
        return State::Foreign(stranger.who.clone());
    }
    let Some(volume) = observed.volumes.get(&name) else {
        return State::Missing;
    };
    if volume.mark.kind != Kind::Harness || volume.mark.key != set.key {
        return State::Foreign("a volume of another kind or key".to_owned());
    }
    match observed.receipts.get(&set.receipt()) {
        None => State::Unproven("missing"),
        Some(receipt) if receipt.mark.key != set.key || receipt.volume_created != volume.created => {
            State::Unproven("unverified")
        }
        Some(_) => State::Ready,
    }
}

/// Returns the set that a container of this manifest has now.
fn earlier(draft: &Draft<'_>) -> Option<String> {
    draft.observed.containers.values().find_map(|container| {
        let crate::spec::Mount::Volume { name, .. } = container.spec.mounts.get("/tools")? else {
            return None;
        };
        draft.observed.harness_display(name)
    })
}

/// Returns one reason for every member that is another than in an earlier set, as its label tells it.
fn changed_members(from: &str, set: &HarnessSet) -> Vec<Because> {
    let before: BTreeMap<&str, &str> = from
        .split(", ")
        .filter_map(|member| member.split_once(' '))
        .collect();
    let now: BTreeMap<&str, &str> = set
        .members
        .iter()
        .map(|member| (member.name.as_str(), member.version.as_str()))
        .collect();
    let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let changes: Vec<Because> = names
        .into_iter()
        .filter(|name| before.get(name) != now.get(name))
        .map(|name| {
            let field = format!("harnesses.{name}");
            Because::field(
                Cause::Manifest,
                &field,
                json!(before.get(name)),
                json!(now.get(name)),
            )
        })
        .collect();
    if changes.is_empty() {
        // The same names and versions, otherwise made: another package, program or platform.
        let because = Because::field(Cause::Manifest, "harnesses", json!(from), json!(set.display()));
        return vec![because.at(set.place.as_ref())];
    }
    changes
}

/// Returns what this volume would have been before the project was moved, if nobody has said that it was not.
fn left<'d>(draft: &Draft<'d>, name: &str) -> Option<&'d Elsewhere> {
    let mut left = draft
        .observed
        .elsewhere
        .iter()
        .filter(|_| draft.fresh == Fresh::Withheld);
    left.find(|one| one.name == name)
}

/// Plans the data volumes. Existing ones are never changed: their content is somebody's.
pub(super) fn data(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, volume) in &desired.volumes {
        let maker = if draft.observed.volumes.contains_key(name) {
            draft.unchanged(ResourceKind::Volume, name);
            Maker::Ready
        } else {
            let because = vec![Because::plain(Cause::Missing).at(volume.place.as_ref())];
            if let Some(stranger) = draft.observed.stranger("volume", name) {
                let who = stranger.who.clone();
                draft.foreign(
                    resource(ResourceKind::Volume, name),
                    Action::Create,
                    &who,
                    because,
                );
                Maker::Blocked
            } else if let Some(left) = left(draft, &volume.name) {
                draft.blocked.push(Blocked {
                    resource: resource(ResourceKind::Volume, name),
                    action: Action::Create,
                    impact: Impact::None,
                    discards: None,
                    reason: BlockedReason::Moved,
                    detail: match &left.user {
                        Some(user) => format!(
                            "it would be empty: {} has what {} had, and {user} uses it now",
                            left.engine_name, left.project
                        ),
                        None => format!(
                            "it would be empty: {} has what {} had, which is gone",
                            left.engine_name, left.project
                        ),
                    },
                    unblock: Some(match &left.user {
                        Some(user) => format!("delete {user} first, else --allow empty-volumes"),
                        None => format!(
                            "formerly: [{{ project: {} }}] in the manifest if it was moved, else --allow empty-volumes",
                            left.project
                        ),
                    }),
                    because,
                });
                Maker::Blocked
            } else {
                let labels = draft
                    .desired
                    .owner
                    .labels(Kind::Volume, &volume.name, &volume.key);
                Maker::Step(draft.push(NewStep {
                    resource: resource(ResourceKind::Volume, name),
                    action: Action::Create,
                    impact: Impact::None,
                    because,
                    needs: Vec::new(),
                    detail: None,
                    work: Work::Calls(vec![Call::CreateVolume {
                        name: name.clone(),
                        labels,
                    }]),
                }))
            }
        };
        draft.made(Made::Volume(name), maker);
    }
    let kept: Vec<&String> = draft
        .observed
        .volumes
        .iter()
        .filter(|(name, volume)| {
            volume.mark.kind == Kind::Volume && !draft.desired.volumes.contains_key(*name)
        })
        .map(|(name, _)| name)
        .collect();
    for name in kept {
        draft.notes.push(format!(
            "volume {name} is kept: nothing in the manifest mounts it, and it holds data"
        ));
    }
}
