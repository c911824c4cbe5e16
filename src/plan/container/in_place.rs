//! What the engine can change while a container exists: limits, restart policy, networks, whether it runs.

use serde_json::json;

use super::super::{Draft, NewStep, resource};
use super::{Comparison, creation, explain};
use crate::call::Call;
use crate::desired::Container;
use crate::observed::{self, RunState};
use crate::spec::Resources;
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Work};

/// The weight of processor time that the engine gives where nobody asks.
const SHARES: u64 = 1024;

/// Plans what the engine can change while the container runs, and returns the steps.
pub(super) fn in_place(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    seen: &Comparison<'_>,
    needs: &[u32],
) -> Vec<u32> {
    let Comparison {
        live, differences, ..
    } = seen;
    let mut steps = Vec::new();
    let explained = |draft: &Draft<'_>, prefixes: &[&str]| -> Vec<Because> {
        differences
            .iter()
            .filter(|difference| prefixes.iter().any(|prefix| difference.field.starts_with(prefix)))
            .map(|difference| explain(draft, seen, difference))
            .collect()
    };
    // The engine would start it again by itself.
    let stays = draft.hold(name).is_some();
    let because = if stays {
        explained(draft, &["resources."])
    } else {
        explained(draft, &["resources.", "restart"])
    };
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
                resources: changed("resources.").then(|| Resources {
                    // Saying nothing would leave it as it is; saying it unasked would mean another weight on hosts
                    // with the second version of control groups.
                    shares: changed("resources.shares").then_some(SHARES),
                    ..container.spec.resources.clone()
                }),
                restart: (!stays && changed("restart")).then_some(container.spec.restart),
            }]),
        }));
    }
    for (network, endpoint) in &container.spec.networks {
        let Some(id) = outdated(draft, live, network) else {
            continue;
        };
        let mut calls = vec![Call::ConnectNetwork {
            network: network.clone(),
            container: live.id.id().to_owned(),
            endpoint: endpoint.clone(),
        }];
        if !draft.renewed {
            // By its name: the one it was attached to is gone.
            let leave = Call::DisconnectNetwork {
                network: network.clone(),
                container: live.id.id().to_owned(),
            };
            calls.insert(0, leave);
        }
        let field = format!("network.{network}");
        let keeper = draft.keeper.filter(|_| !draft.renewed);
        let to = keeper.map(|network| network.id.id().to_owned());
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
        let because = vec![explain(draft, seen, difference)];
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
    let gone = draft.renewed || !draft.observed.networks.contains_key(id);
    (gone && private.name == network).then(|| id.clone())
}

/// Plans what makes a container run that does not.
pub(super) fn wake(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    live: &observed::Container,
    (needs, reference): (Vec<u32>, &str),
) {
    // Who asks for it by name wants it once more.
    let completed = container.completes
        && live.state == RunState::Exited { code: 0 }
        && !draft.released.contains_key(name);
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
        // That it was started proves nothing to those who wait for it. What was never started may have been left before
        // anybody saw whether it can run.
        work: if action == Action::Start
            && (draft.awaited.contains(name)
                || live.state == RunState::Created && !container.shells.is_empty())
        {
            Work::Start {
                container: live.id.id().to_owned(),
                work: Box::new(creation(draft, name, container, reference)),
            }
        } else {
            Work::Calls(vec![call])
        },
    });
}
