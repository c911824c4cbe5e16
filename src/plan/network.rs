//! What the private network needs: to exist, once.

use serde_json::{Value, json};

use super::{Draft, Made, Maker, NewStep, resource};
use crate::call::Call;
use crate::key::Key;
use crate::label::Kind;
use crate::observed::{self, NetworkShape};
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Work};

/// The first version of the API, after `1.`, of engines that can be told options for every network.
const DEFAULT_OPTIONS: u32 = 43;

/// Plans the private network of the manifest.
pub(super) fn private(draft: &mut Draft<'_>) {
    let Some(network) = &draft.desired.network else {
        return;
    };
    draft.keeper = keeper(draft, &network.name);
    let maker = if let Some(keeper) = draft.keeper {
        let because = misshapen(draft, keeper);
        let maker = if because.is_empty() {
            once(draft, keeper)
        } else {
            anew(draft, &network.key, keeper, because)
        };
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
        creation(
            draft,
            (&network.name, &network.key),
            vec![Because::plain(Cause::Missing)],
            Vec::new(),
        )
    };
    draft.made(Made::Network, maker);
}

fn creation(
    draft: &mut Draft<'_>,
    (name, key): (&str, &Key),
    because: Vec<Because>,
    needs: Vec<u32>,
) -> Maker {
    let owner = &draft.desired.owner;
    let labels = owner.labels(Kind::Network, &owner.manifest, key);
    Maker::Step(draft.push(NewStep {
        resource: resource(ResourceKind::Network, name),
        action: Action::Create,
        impact: Impact::None,
        because,
        needs,
        detail: None,
        work: Work::Network {
            name: name.to_owned(),
            labels,
        },
    }))
}

/// Returns how a network of ours is otherwise than networks of ours are made: somebody made it anew.
fn misshapen(draft: &Draft<'_>, network: &observed::Network) -> Vec<Because> {
    let NetworkShape {
        driver,
        internal,
        ipv6,
        options,
    } = &network.shape;
    let wanted = NetworkShape::default();
    let field = |name: &str, from: Value, to: Value| {
        (from != to).then(|| Because::field(Cause::Drift, name, from, to))
    };
    let mut because: Vec<Because> = [
        field("driver", json!(driver), json!(wanted.driver)),
        field("internal", json!(internal), json!(wanted.internal)),
        field("ipv6", json!(ipv6), json!(wanted.ipv6)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !has_own_options(&draft.observed.engine) {
        let options = options.iter();
        because.extend(options.map(|(name, value)| {
            Because::field(
                Cause::Drift,
                &format!("options.{name}"),
                json!(value),
                Value::Null,
            )
        }));
    }
    because
}

/// Says whether an engine may have been told options for every network, which are nobody's difference.
fn has_own_options(engine: &observed::EngineInfo) -> bool {
    let minor = engine
        .api_version
        .strip_prefix("1.")
        .and_then(|minor| minor.parse::<u32>().ok());
    minor.is_none_or(|minor| minor >= DEFAULT_OPTIONS)
}

/// Plans another network in the place of one that was made otherwise: whoever is in it leaves it, and is taken into the
/// new one by a step of its own.
fn anew(draft: &mut Draft<'_>, key: &Key, keeper: &observed::Network, because: Vec<Because>) -> Maker {
    let observed = draft.observed;
    let named = observed.networks.values().filter(|one| one.name == keeper.name);
    let mut gone = Vec::new();
    for network in named {
        let users = attached(draft, network).map(|container| Call::DisconnectNetwork {
            network: network.id.id().to_owned(),
            container: container.id.id().to_owned(),
        });
        let mut calls: Vec<Call> = users.collect();
        calls.push(Call::RemoveNetwork {
            network: network.id.clone(),
        });
        gone.push(draft.push(NewStep {
            resource: resource(ResourceKind::Network, &network.name),
            action: Action::Remove,
            impact: Impact::Live,
            because: because.clone(),
            needs: Vec::new(),
            detail: Some("it is made anew, and containers are taken into it again".to_owned()),
            work: Work::Guarded {
                object: network.id.clone(),
                kind: ResourceKind::Network,
                calls,
            },
        }));
    }
    draft.renewed = true;
    creation(draft, (&keeper.name, key), because, gone)
}

/// Returns the network of ours that has the name: of several the one that most containers are attached to, then the
/// oldest.
fn keeper<'o>(draft: &Draft<'o>, name: &str) -> Option<&'o observed::Network> {
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
