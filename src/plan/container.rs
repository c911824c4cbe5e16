//! What named containers need: created, changed in place, started, replaced.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Draft, Made, Needs, NewStep, resource};
use crate::call::{Call, Create};
use crate::desired::{Container, ImageChoice};
use crate::key::canonical;
use crate::label::{self, Kind};
use crate::observed::{self, RunState};
use crate::spec::{Binding, Class, ContainerSpec, Difference};
use crate::step::{Action, Because, Cause, CreateWork, Impact, ResourceKind, Work};

mod compare;

pub use compare::inherit;
use compare::{differences, explain, image_change};

/// The suffix of a new container that waits to take its place.
pub const NEXT: &str = ".next";
/// The suffix of an old container that has made room.
pub const PREVIOUS: &str = ".prev";

/// Plans every container of the manifest.
pub(super) fn all(draft: &mut Draft<'_>, freed: &BTreeMap<Binding, u32>) {
    let (desired, observed) = (draft.desired, draft.observed);
    // Gathered once: a look at all of them for each of them would be the square of their number.
    let mut named: BTreeMap<&str, Vec<&observed::Container>> = BTreeMap::new();
    for container in observed.containers.values() {
        if container.mark.kind == Kind::Container {
            named.entry(&container.mark.name).or_default().push(container);
        }
    }
    for (name, container) in &desired.containers {
        let found = named.remove(name.as_str()).unwrap_or_default();
        one(draft, name, container, found, freed);
    }
}

fn one(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    found: Vec<&observed::Container>,
    freed: &BTreeMap<Binding, u32>,
) {
    let (live, leftovers) = candidates(found, &container.engine_name);
    if let Some(stranger) = draft.observed.stranger("container", &container.engine_name) {
        let who = stranger.who.clone();
        let because = vec![Because::plain(Cause::Missing)];
        draft.foreign(
            resource(ResourceKind::Container, name),
            Action::Create,
            &who,
            because,
        );
        return;
    }
    let mut needs = match draft.needs(dependencies(container)) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => return draft.unknown(ResourceKind::Container, name, &reason),
        Needs::Blocked => {
            return draft.unknown(ResourceKind::Container, name, "something it needs is blocked");
        }
    };
    // What stands in the way goes first; the old container that made room goes last, when the new one runs.
    let (old, stale): (Vec<_>, Vec<_>) = leftovers
        .into_iter()
        .partition(|leftover| leftover.name.ends_with(PREVIOUS));
    for leftover in stale {
        needs.push(remove_leftover(draft, name, leftover, Vec::new()));
    }
    let first = draft.steps.len();
    bring_about(draft, name, container, live, needs, freed);
    let after: Vec<u32> = draft.steps[first..].iter().map(|step| step.id).collect();
    for leftover in old {
        remove_leftover(draft, name, leftover, after.clone());
    }
}

/// Plans what makes a container exist as it is wanted, and run.
fn bring_about(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    live: Option<&observed::Container>,
    mut needs: Vec<u32>,
    freed: &BTreeMap<Binding, u32>,
) {
    needs.extend(
        container
            .published()
            .into_iter()
            .filter_map(|binding| freed.get(binding)),
    );
    let Some(reference) = reference(draft, container) else {
        return draft.unknown(ResourceKind::Container, name, "its image is not known yet");
    };
    let Some(live) = live else {
        let new = creation(draft, name, container, &reference);
        draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Create,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Missing)],
            needs,
            detail: None,
            work: Work::Create(Box::new(new)),
        });
        return;
    };
    compare(draft, name, container, live, needs, &reference);
}

/// Returns what a container cannot be made without.
fn dependencies(container: &Container) -> Vec<Made> {
    let mut made = vec![match &container.image {
        ImageChoice::Identity(identity) => Made::Identity(identity.clone()),
        ImageChoice::Stage(stage) => Made::Stage(stage.clone()),
    }];
    if container.harness {
        made.push(Made::Harness);
    }
    made.extend(container.volumes.iter().cloned().map(Made::Volume));
    if !container.spec.networks.is_empty() {
        made.push(Made::Network);
    }
    made
}

/// Picks the container that is the resource now, and what interrupted replacements left beside it.
fn candidates<'o>(
    mut found: Vec<&'o observed::Container>,
    engine_name: &str,
) -> (Option<&'o observed::Container>, Vec<&'o observed::Container>) {
    let rank = |container: &&observed::Container| match container.name.strip_prefix(engine_name) {
        Some("") => 0,
        // The old one was a working container; the new one has proved nothing yet.
        Some(PREVIOUS) => 1,
        Some(NEXT) => 3,
        _ => 2,
    };
    found.sort_by_key(rank);
    let mut found = found.into_iter();
    (found.next(), found.collect())
}

fn remove_leftover(
    draft: &mut Draft<'_>,
    name: &str,
    leftover: &observed::Container,
    needs: Vec<u32>,
) -> u32 {
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action: Action::Remove,
        impact: Impact::None,
        because: vec![Because::field(
            Cause::Orphan,
            "name",
            json!(leftover.name),
            Value::Null,
        )],
        needs,
        detail: Some(format!(
            "{} was left by an interrupted replacement",
            leftover.name
        )),
        work: Work::Guarded {
            object: leftover.id.clone(),
            kind: ResourceKind::Container,
            calls: removal(leftover),
        },
    })
}

/// Returns the calls that remove a container, asking its processes to end first.
pub(super) fn removal(container: &observed::Container) -> Vec<Call> {
    let remove = Call::RemoveContainer {
        container: container.id.clone(),
        // Nobody consented to the loss of what a database wrote to a volume of its image; one that never ran wrote
        // nothing.
        volumes: container.started.is_none(),
    };
    if matches!(container.state, RunState::Running | RunState::Restarting) {
        vec![
            Call::StopContainer {
                container: container.id.clone(),
            },
            remove,
        ]
    } else {
        vec![remove]
    }
}

/// Returns the reference that the container is to be created from.
fn reference(draft: &Draft<'_>, container: &Container) -> Option<String> {
    match &container.image {
        ImageChoice::Identity(name) => draft.desired.identities.get(name)?.tag.known().cloned(),
        ImageChoice::Stage(name) => Some(draft.desired.stages.get(name)?.reference().to_owned()),
    }
}

fn creation(draft: &Draft<'_>, name: &str, container: &Container, reference: &str) -> CreateWork {
    let spec = ContainerSpec {
        image: reference.to_owned(),
        ..container.spec.clone()
    };
    let key = crate::key::Key::of(crate::key::KeyKind::Container, &spec);
    let mut labels = draft.desired.owner.labels(Kind::Container, name, &key);
    // A specification is strings, numbers and lists of them: serialising it cannot fail.
    let applied = serde_json::to_value(&spec).unwrap_or(Value::Null);
    labels.insert(label::APPLIED.to_owned(), canonical(&applied));
    let editor = json!([{ "remoteUser": spec.user.as_deref().unwrap_or_default().split(':').next() }]);
    labels.insert(label::DEVCONTAINER.to_owned(), canonical(&editor));
    let connect = spec
        .networks
        .iter()
        .skip(1)
        .map(|(name, endpoint)| (name.clone(), endpoint.clone()))
        .collect();
    CreateWork {
        create: Create {
            name: container.engine_name.clone(),
            labels,
            spec,
        },
        connect,
        completes: container.completes,
    }
}

fn compare(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    live: &observed::Container,
    mut needs: Vec<u32>,
    reference: &str,
) {
    let differences = differences(container, live);
    let mut because: Vec<Because> = image_change(draft, container, live, reference)
        .into_iter()
        .collect();
    let mut forced = Vec::new();
    for difference in &differences {
        if difference.class == Class::Create {
            because.push(explain(draft, container, live, difference));
        } else if cannot_be_unset(difference) {
            because.push(explain(draft, container, live, difference));
            forced.push(difference.field.clone());
        }
    }
    if !because.is_empty() {
        // A replacement brings everything else along, and says so.
        for difference in &differences {
            if difference.class == Class::Live && !forced.contains(&difference.field) {
                because.push(explain(draft, container, live, difference));
            }
        }
        let new = creation(draft, name, container, reference);
        let detail = (!forced.is_empty()).then(|| {
            format!(
                "the engine cannot unset {} of a container that exists",
                forced.join(", ")
            )
        });
        draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Replace,
            impact: Impact::Recreate,
            because,
            needs,
            detail,
            work: Work::Replace {
                old: live.id.clone(),
                new: Box::new(new),
            },
        });
        return;
    }
    let before = draft.steps.len();
    if live.name != container.engine_name {
        let id = draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Rename,
            impact: Impact::None,
            because: vec![Because::field(
                Cause::Drift,
                "name",
                json!(live.name),
                json!(container.engine_name),
            )],
            needs: needs.clone(),
            detail: None,
            work: Work::Guarded {
                object: live.id.clone(),
                kind: ResourceKind::Container,
                calls: vec![Call::RenameContainer {
                    container: live.id.clone(),
                    name: container.engine_name.clone(),
                }],
            },
        });
        needs.push(id);
    }
    needs.extend(in_place(draft, name, container, live, &differences, &needs));
    wake(draft, name, container, live, needs);
    if draft.steps.len() == before {
        draft.unchanged(ResourceKind::Container, name);
    }
}

/// Says whether a limit is to be removed that the engine can only ever change.
fn cannot_be_unset(difference: &Difference) -> bool {
    difference.to.is_null()
        && matches!(
            difference.field.as_str(),
            "resources.memory" | "resources.memorySwap" | "resources.reservation" | "resources.cpus"
        )
}

/// Plans what the engine can change while the container runs, and returns the steps.
fn in_place(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    live: &observed::Container,
    differences: &[Difference],
    needs: &[u32],
) -> Vec<u32> {
    let mut steps = Vec::new();
    let explained = |draft: &Draft<'_>, prefixes: &[&str]| -> Vec<Because> {
        differences
            .iter()
            .filter(|difference| prefixes.iter().any(|prefix| difference.field.starts_with(prefix)))
            .map(|difference| explain(draft, container, live, difference))
            .collect()
    };
    let because = explained(draft, &["resources.", "restart"]);
    if !because.is_empty() {
        let changed = |prefix: &str| {
            differences
                .iter()
                .any(|difference| difference.field.starts_with(prefix))
        };
        steps.push(draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Update,
            impact: Impact::Live,
            because,
            needs: needs.to_vec(),
            detail: None,
            work: Work::Calls(vec![Call::UpdateContainer {
                container: live.id.id().to_owned(),
                resources: changed("resources.").then(|| container.spec.resources.clone()),
                restart: changed("restart").then_some(container.spec.restart),
            }]),
        }));
    }
    for (network, endpoint) in &container.spec.networks {
        let Some(id) = outdated(draft, live, network) else {
            continue;
        };
        // By its name: the one it was attached to is gone.
        let calls = vec![
            Call::DisconnectNetwork {
                network: network.clone(),
                container: live.id.id().to_owned(),
            },
            Call::ConnectNetwork {
                network: network.clone(),
                container: live.id.id().to_owned(),
                endpoint: endpoint.clone(),
            },
        ];
        let field = format!("network.{network}");
        let to = super::network::keeper(draft, network).map(|network| network.id.id().to_owned());
        steps.push(draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Connect,
            impact: Impact::Live,
            because: vec![Because::field(Cause::Drift, &field, json!(id), json!(to))],
            needs: needs.to_vec(),
            detail: Some("its network was removed and is another one now".to_owned()),
            work: Work::Calls(calls),
        }));
    }
    for difference in differences {
        let Some(network) = difference.field.strip_prefix("network.") else {
            continue;
        };
        let wanted = container.spec.networks.get(network);
        let disconnect = Call::DisconnectNetwork {
            network: network.to_owned(),
            container: live.id.id().to_owned(),
        };
        let connect = wanted.map(|endpoint| Call::ConnectNetwork {
            network: network.to_owned(),
            container: live.id.id().to_owned(),
            endpoint: endpoint.clone(),
        });
        let (action, calls) = match connect {
            None => (Action::Disconnect, vec![disconnect]),
            Some(connect) if difference.from.is_null() => (Action::Connect, vec![connect]),
            // Aliases cannot be changed while attached.
            Some(connect) => (Action::Connect, vec![disconnect, connect]),
        };
        let because = vec![explain(draft, container, live, difference)];
        steps.push(draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action,
            impact: Impact::Live,
            because,
            needs: needs.to_vec(),
            detail: None,
            work: Work::Calls(calls),
        }));
    }
    steps
}

/// Returns the id of the network that a container is attached to, if that one is gone and the name is, or will be,
/// another one's: the container would not start.
fn outdated(draft: &Draft<'_>, live: &observed::Container, network: &str) -> Option<String> {
    let private = draft.desired.network.as_ref()?;
    let id = live.network_ids.get(network)?;
    let gone = private.name == network && !draft.observed.networks.contains_key(id);
    gone.then(|| id.clone())
}

/// Plans what makes a container run that does not.
fn wake(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    live: &observed::Container,
    needs: Vec<u32>,
) {
    let completed = container.completes && live.state == RunState::Exited { code: 0 };
    let (action, impact, call) = match live.state {
        RunState::Running => return,
        RunState::Restarting => {
            draft.notes.push(format!(
                "container {name} ends again and again ({} restarts)",
                live.restarts
            ));
            return;
        }
        RunState::Removing => {
            return draft.unknown(ResourceKind::Container, name, "the engine is removing it");
        }
        RunState::Exited { .. } if completed => return,
        RunState::Paused => (
            Action::Unpause,
            Impact::Live,
            Call::UnpauseContainer {
                container: live.id.id().to_owned(),
            },
        ),
        RunState::Created | RunState::Exited { .. } | RunState::Dead => (
            Action::Start,
            Impact::Restart,
            Call::StartContainer {
                container: live.id.id().to_owned(),
            },
        ),
    };
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action,
        impact,
        because: vec![Because::field(
            Cause::Drift,
            "state",
            json!(live.state.display()),
            json!("running"),
        )],
        needs,
        detail: live.error.clone(),
        work: Work::Calls(vec![call]),
    });
}
