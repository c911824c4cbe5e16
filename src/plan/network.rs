//! What the private network needs: to exist.

use serde_json::json;

use super::{Draft, Made, Maker, NewStep, resource};
use crate::call::Call;
use crate::label::{Kind, OwnedId};
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Work};

/// Plans the private network of the manifest.
pub(super) fn private(draft: &mut Draft<'_>) {
    let Some(network) = &draft.desired.network else {
        return;
    };
    let found: Vec<OwnedId> = draft
        .observed
        .networks
        .values()
        .filter(|found| found.name == network.name)
        .map(|found| found.id.clone())
        .collect();
    let maker = if found.len() > 1 {
        Maker::Step(draft.push(NewStep {
            resource: resource(ResourceKind::Network, &network.name),
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::field(
                Cause::Drift,
                "networks",
                json!(found.len()),
                json!(1),
            )],
            needs: Vec::new(),
            detail: Some("several networks have this name; one is kept".to_owned()),
            work: Work::Unify(found),
        }))
    } else if !found.is_empty() {
        draft.unchanged(ResourceKind::Network, &network.name);
        Maker::Ready
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
            work: Work::Calls(vec![Call::CreateNetwork {
                name: network.name.clone(),
                labels,
            }]),
        }))
    };
    draft.made(Made::Network, maker);
}
