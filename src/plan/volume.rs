//! What volumes need: a harness volume with a valid receipt, data volumes that exist.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::busy;
use super::{Draft, Fresh, Made, Maker, Needs, NewStep, job_labels, resource};
use crate::call::Call;
use crate::desired::{HarnessSet, ImageChoice, Member, MemberSource, Pin};
use crate::label::{self, Kind, OwnedId};
use crate::observed::{Content, Damage, Elsewhere, Observed, Volume};
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, Impact, PopulateWork, ResourceKind, Work};

/// How many older sets are copied from at most.
const SOURCES: usize = 3;

/// How much of what is broken is named.
const NAMED: usize = 20;

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
    let state = state(draft, set);
    let because = match &state {
        State::Ready => {
            draft.unchanged(ResourceKind::Volume, &name);
            verified(draft, set);
            return Maker::Ready;
        }
        State::Missing | State::Vacant => match earlier(draft) {
            Some((volume, from)) => changed_members((&volume, &from), set),
            None => vec![Because::plain(Cause::Missing).at(set.place.as_ref())],
        },
        State::Unproven(found) => {
            let because = Because::field(Cause::Drift, "receipt", json!(found), json!("valid"));
            vec![because.at(set.place.as_ref())]
        }
        State::Damaged(_, content) => damaged(content),
        State::Foreign(who) => {
            let because = vec![Because::plain(Cause::Missing).at(set.place.as_ref())];
            draft.foreign(
                resource(ResourceKind::Volume, &name),
                Action::Populate,
                who,
                because,
            );
            return Maker::Blocked;
        }
    };
    let vacant = matches!(state, State::Vacant);
    let (refuted, broken) = match state {
        State::Damaged(receipt, content) => (Some(receipt.clone()), content.clone()),
        State::Ready | State::Missing | State::Vacant | State::Unproven(_) | State::Foreign(_) => {
            (None, Content::default())
        }
    };
    // Who has the volume mounted goes on with what is repaired.
    let impact = if busy::mounts(draft.observed, &name) {
        Impact::Live
    } else {
        Impact::None
    };
    // First it is seen that the image is one that sandboxes run on.
    let containers = draft.desired.containers.values();
    let identities: BTreeSet<Made<'_>> = containers
        .filter(|container| container.harness)
        .filter_map(|container| match &container.image {
            ImageChoice::Identity(name) => Some(Made::Identity(name)),
            ImageChoice::Stage(_) => None,
        })
        .collect();
    let needs = match draft.needs([Made::Stage(&set.stage)].into_iter().chain(identities)) {
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
    // What npm installs can be installed anywhere; what runs on the Python of the foundation, there alone.
    let is_bound = |member: &Member| matches!(member.source, MemberSource::Pypi { .. });
    let fallback = draft.desired.fallback.as_ref();
    let fallback = fallback.filter(|_| !set.members.iter().all(is_bound));
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Volume, &name),
        action: Action::Populate,
        impact,
        because,
        needs,
        detail: Some(match fallback {
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
            fallback: fallback.cloned(),
            members: set.members.clone(),
            older: older(draft.observed, set),
            vacant,
            refuted,
            anew: broken.anew,
            reclaim: broken.reclaim,
            certificates: set.certificates.clone(),
            env,
            store: std::sync::Arc::clone(&set.store),
        })),
    });
    Maker::Step(id)
}

/// Says that the content was read and is as it was installed, if it was read.
fn verified(draft: &mut Draft<'_>, set: &HarnessSet) {
    let receipt = draft.observed.receipts.get(&set.receipt());
    let content = receipt.and_then(|receipt| draft.observed.contents.get(receipt.id.id()));
    if let Some(Content { files, bytes, .. }) = content {
        let size = bytes.div_ceil(1 << 20);
        draft.notes.push(format!(
            "volume {} has what was installed: {files} files, {size} MiB",
            set.volume()
        ));
    }
}

/// What is there of a harness volume.
enum State<'o> {
    Ready,
    Missing,
    /// The volume is there, but nothing proves its content.
    Unproven(&'static str),
    /// It was read, and is not what was installed; with who vouches for it all the same.
    Damaged(&'o OwnedId, &'o Content),
    Foreign(String),
    /// Something has its name that is empty, and that nobody uses.
    Vacant,
}

fn state<'o>(draft: &Draft<'o>, set: &HarnessSet) -> State<'o> {
    let name = set.volume();
    let observed = draft.observed;
    if let Some(stranger) = observed.stranger("volume", &name) {
        if stranger.vacant && observed.stranger("container", &set.receipt()).is_none() {
            return State::Vacant;
        }
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
        Some(receipt) => {
            let proven = receipt.mark.key == set.key && receipt.volume_created == volume.created;
            match observed.contents.get(receipt.id.id()) {
                Some(content) if !content.is_whole() => State::Damaged(&receipt.id, content),
                Some(_) | None if proven => State::Ready,
                Some(_) | None => State::Unproven("unverified"),
            }
        }
    }
}

/// Returns one reason for everything that is not as it was installed, as far as anybody reads on.
fn damaged(content: &Content) -> Vec<Because> {
    let reason = |damage: &Damage| {
        let Damage {
            member,
            path,
            from,
            to,
        } = damage;
        let field = match member {
            Some(member) => format!("harnesses.{member}: {path}"),
            None => format!("harnesses: {path}"),
        };
        Because::field(Cause::Drift, &field, json!(from), json!(to))
    };
    let mut because: Vec<Because> = content.damage.iter().take(NAMED).map(reason).collect();
    let more = content.damage.len().saturating_sub(NAMED);
    if more > 0 {
        let field = format!("harnesses: {more} more");
        because.push(Because::field(Cause::Drift, &field, json!(null), json!(null)));
    }
    because
}

/// Returns the volumes of other sets that have members of this one, as their labels tell, and that somebody vouches
/// for: those that have most, and no more than it takes. Sets that nobody uses are left to whoever prunes.
fn older(observed: &Observed, set: &HarnessSet) -> Vec<String> {
    let own = set.volume();
    let display = set.display();
    let mut wanted: BTreeSet<&str> = display.split(", ").collect();
    let vouched = |volume: &Volume| {
        let mut receipts = observed.receipts.values();
        receipts
            .any(|receipt| receipt.mark.key == volume.mark.key && receipt.volume_created == volume.created)
    };
    let mut others: Vec<(&String, BTreeSet<&str>)> = observed
        .volumes
        .iter()
        .filter(|(name, _)| **name != own && observed.sets_in_use.contains(*name))
        .filter(|(_, volume)| volume.mark.kind == Kind::Harness && vouched(volume))
        .filter_map(|(name, volume)| Some((name, volume.harnesses.as_deref()?.split(", ").collect())))
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < SOURCES {
        for (_, has) in &mut others {
            has.retain(|member| wanted.contains(member));
        }
        let Some((name, has)) = others.iter().max_by_key(|(_, has)| has.len()) else {
            break;
        };
        if has.is_empty() {
            break;
        }
        for member in has.clone() {
            wanted.remove(member);
        }
        chosen.push((*name).clone());
    }
    chosen
}

/// Returns the volume of the set that a container of this manifest has now, and its members.
fn earlier(draft: &Draft<'_>) -> Option<(String, String)> {
    draft.observed.containers.values().find_map(|container| {
        let crate::spec::Mount::Volume { name, .. } = container.spec.mounts.get("/tools")? else {
            return None;
        };
        Some((name.clone(), draft.observed.harness_display(name)?))
    })
}

/// Returns one reason for every member that is another than in an earlier set, as its label tells it.
fn changed_members((volume, from): (&str, &str), set: &HarnessSet) -> Vec<Because> {
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
        // The same names and versions, otherwise made: another package, program or platform, or what one of them needs.
        let because = Because::field(Cause::Manifest, "harnesses", json!(volume), json!(set.volume()));
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

/// Says whether nobody who would mount a volume can be made: the image is none that could be run.
fn is_pointless(draft: &Draft<'_>, volume: &str) -> bool {
    let containers = draft.desired.containers.values();
    let mut users = containers.filter(|container| container.volumes.iter().any(|one| one == volume));
    let blocked = |made: Made<'_>| draft.makers.get(&made) == Some(&Maker::Blocked);
    users.all(|user| match &user.image {
        ImageChoice::Identity(name) => blocked(Made::Identity(name)),
        ImageChoice::Stage(name) => blocked(Made::Stage(name)),
    })
}

/// Plans the data volumes. Existing ones are never changed: their content is somebody's.
pub(super) fn data(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, volume) in &desired.volumes {
        let maker = if draft.observed.volumes.contains_key(name) {
            draft.unchanged(ResourceKind::Volume, name);
            Maker::Ready
        } else if is_pointless(draft, name) {
            draft.unknown(
                ResourceKind::Volume,
                name,
                "the image of what mounts it is blocked",
            );
            Maker::Blocked
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
