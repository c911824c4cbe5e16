//! What the private network needs: to exist, once.

use serde_json::{Value, json};

use super::{Draft, Made, Maker, NewStep, resource};
use crate::call::Call;
use crate::label::Kind;
use crate::observed;
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Work};

/// Plans the private network of the manifest.
pub(super) fn private(draft: &mut Draft<'_>) {
    let Some(network) = &draft.desired.network else {
        return;
    };
    let maker = if let Some(keeper) = keeper(draft, &network.name) {
        let maker = once(draft, keeper);
        if maker == Maker::Ready {
            draft.unchanged(ResourceKind::Network, &network.name);
        }
        maker
    } else if let Some(stranger) = draft.observed.stranger("network", &network.name) {
        // Names of networks are not unique, and one of that name would be attached by chance.
        let who = stranger.who.clone();
        let because = vec![Because::plain(Cause::Missing)];
        draft.foreign(
            resource(ResourceKind::Network, &network.name),
            Action::Create,
            &who,
            because,
        );
        Maker::Blocked
    } else {
        let labels = draft
            .desired
            .owner
            .labels(Kind::Network, &draft.desired.owner.manifest, &network.key);
        Maker::Step(draft.push(NewStep {
            resource: resource(ResourceKind::Network, &network.name),
            action: Action::Create,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Missing)],
            needs: Vec::new(),
            detail: None,
            work: Work::Network {
                name: network.name.clone(),
                labels,
            },
        }))
    };
    draft.made(Made::Network, maker);
}

/// Returns the network of ours that has the name: of several the one that most containers are attached to, then the
/// oldest.
pub(super) fn keeper<'o>(draft: &Draft<'o>, name: &str) -> Option<&'o observed::Network> {
    let observed = draft.observed;
    observed
        .networks
        .values()
        .filter(|network| network.name == name)
        .min_by_key(|network| {
            let users = attached(draft, network).count();
            (std::cmp::Reverse(users), network.age.clone())
        })
}

fn attached<'o>(
    draft: &Draft<'o>,
    network: &'o observed::Network,
) -> impl Iterator<Item = &'o observed::Container> {
    draft.observed.containers.values().filter(|container| {
        container.network_ids.get(&network.name).map(String::as_str) == Some(network.id.id())
    })
}

/// Plans the removal of further networks of the same name, which appear when two applies run at once: nobody can be
/// attached by a name that two networks have.
fn once(draft: &mut Draft<'_>, keeper: &observed::Network) -> Maker {
    let mut maker = Maker::Ready;
    let observed = draft.observed;
    for network in observed.networks.values() {
        if network.name != keeper.name || network.id == keeper.id {
            continue;
        }
        let mut calls = Vec::new();
        for container in attached(draft, network) {
            let endpoint = container.spec.networks.get(&network.name).cloned();
            calls.push(Call::DisconnectNetwork {
                network: network.id.id().to_owned(),
                container: container.id.id().to_owned(),
            });
            calls.push(Call::ConnectNetwork {
                network: keeper.id.id().to_owned(),
                container: container.id.id().to_owned(),
                endpoint: endpoint.unwrap_or_default(),
            });
        }
        calls.push(Call::RemoveNetwork {
            network: network.id.clone(),
        });
        let impact = if calls.len() > 1 {
            Impact::Live
        } else {
            Impact::None
        };
        maker = Maker::Step(draft.push(NewStep {
            resource: resource(ResourceKind::Network, &network.name),
            action: Action::Remove,
            impact,
            because: vec![Because::field(
                Cause::Orphan,
                "id",
                json!(network.id.id()),
                Value::Null,
            )],
            needs: match maker {
                Maker::Step(step) => vec![step],
                Maker::Ready | Maker::Unknown(_) | Maker::Blocked => Vec::new(),
            },
            detail: Some(format!("another network of this name exists: {}", keeper.id.id())),
            work: Work::Guarded {
                object: network.id.clone(),
                kind: ResourceKind::Network,
                calls,
            },
        }));
    }
    maker
}
