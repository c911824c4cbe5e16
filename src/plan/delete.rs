//! What has to be removed so that nothing of a manifest is left.

use super::{Consent, busy, discard, resource, withhold};
use crate::call::Call;
use crate::label::Kind;
use crate::observed::Observed;
use crate::step::{Action, Because, Cause, Impact, ManifestInfo, Plan, Resource, ResourceKind, Step, Work};

/// Returns the steps that remove everything that belongs to the owner alone: containers, then networks, then, if the
/// person allows that their content is lost, data volumes.
///
/// # Guarantees
/// Images and harness volumes stay: others may use them. Nothing that is not provably ours is removed.
pub fn deletion(observed: &Observed, manifest: &ManifestInfo, consent: &Consent) -> Plan {
    let mut plan = Plan::empty(manifest, &observed.engine);
    let mut containers = Vec::new();
    let copies = super::container::copies(observed);
    for container in observed.containers.values().chain(observed.failed.values()) {
        if copies.contains(container.id.id()) {
            plan.notes.push(super::container::copied(container));
            continue;
        }
        let work = Work::Guarded {
            object: container.id.clone(),
            kind: ResourceKind::Container,
            calls: super::container::removal(container),
        };
        // By the engine's name where an interrupted replacement has left two of the same.
        let alone = observed
            .containers
            .values()
            .filter(|other| other.mark.name == container.mark.name && !copies.contains(other.id.id()))
            .count()
            == 1;
        let failed = observed.failed.get(&container.mark.name);
        let name = if alone && failed.is_none_or(|failed| failed.id != container.id) {
            &container.mark.name
        } else {
            &container.name
        };
        let resource = resource(ResourceKind::Container, name);
        containers.push(remove(&mut plan, resource, Impact::Recreate, &[], work));
    }
    for network in observed.networks.values() {
        let work = Work::Guarded {
            object: network.id.clone(),
            kind: ResourceKind::Network,
            calls: vec![Call::RemoveNetwork {
                network: network.id.clone(),
            }],
        };
        let resource = resource(ResourceKind::Network, &network.name);
        remove(&mut plan, resource, Impact::None, &containers, work);
    }
    for (name, volume) in &observed.volumes {
        let holds_data = match volume.mark.kind {
            Kind::Volume => true,
            Kind::Hold => false,
            _ => continue,
        };
        if holds_data && !consent.data_loss {
            plan.notes.push(format!(
                "volume {name} is kept: it holds data (--allow data-loss removes it)"
            ));
            continue;
        }
        let work = Work::Guarded {
            object: volume.id.clone(),
            kind: ResourceKind::Volume,
            calls: vec![Call::RemoveVolume {
                volume: volume.id.clone(),
            }],
        };
        let resource = resource(ResourceKind::Volume, name);
        let impact = if holds_data {
            Impact::DataLoss
        } else {
            Impact::None
        };
        remove(&mut plan, resource, impact, &containers, work);
    }
    discard::mark(&mut plan.steps, &observed.layers);
    busy::mark(&mut plan.steps, observed, consent, None);
    // Whoever types it is no change of a manifest, so only who works in a container holds it back.
    let held = busy::withheld(&plan, observed, "delete", |_| false);
    withhold::back(&mut plan, held);
    plan
}

fn remove(plan: &mut Plan, resource: Resource, impact: Impact, needs: &[u32], work: Work) -> u32 {
    let id = u32::try_from(plan.steps.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    plan.steps.push(Step {
        id,
        resource,
        action: Action::Remove,
        impact,
        because: vec![Because::plain(Cause::Requested)],
        needs: needs.to_vec(),
        detail: None,
        discards: None,
        widens: Vec::new(),
        interrupts: Vec::new(),
        work,
    });
    id
}
