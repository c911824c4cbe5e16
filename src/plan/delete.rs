//! What has to be removed so that nothing of a manifest is left.

use super::{Consent, busy, discard, resource, withhold};
use crate::call::Call;
use crate::label::{Kind, Mark, Owner};
use crate::observed::Observed;
use crate::step::{
    Action, Because, Cause, ClearWork, Impact, ManifestInfo, Plan, Resource, ResourceKind, Step, Work,
};

/// How a removal of everything is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// The command that does it.
    pub(super) verb: &'static str,
    /// Whether containers have the engine's names: those of the manifest are not unique.
    pub(super) engine_names: bool,
}

/// Returns the steps that remove everything that belongs to the owner alone: containers and jobs, then networks, then,
/// if the person allows that their content is lost, data volumes.
///
/// # Guarantees
/// Images and harness volumes stay: others may use them. Nothing that is not provably ours is removed.
pub fn deletion(observed: &Observed, owner: &Owner, manifest: &ManifestInfo, consent: &Consent) -> Plan {
    let telling = Telling {
        verb: "delete",
        engine_names: false,
    };
    let mut plan = told(observed, owner, (manifest, consent), telling);
    if let Some(note) = shared(observed, owner) {
        plan.notes.push(note);
    }
    plan
}

/// Says what stays that was made for the owner and that others may use.
fn shared(observed: &Observed, owner: &Owner) -> Option<String> {
    let images = observed.images.values();
    let images = images.filter(|image| {
        let mark = Mark::read(&image.labels);
        mark.is_some_and(|mark| {
            mark.manifest == owner.manifest && matches!(mark.kind, Kind::Foundation | Kind::Identity)
        })
    });
    let sets = observed.volumes.values().filter(|volume| {
        let mark = &volume.mark;
        mark.kind == Kind::Harness && mark.manifest == owner.manifest
    });
    let count = images.count() + sets.count();
    (count > 0).then(|| {
        "images and harness volumes stay, since others may use them; `aishell prune --keep 0` lists those that \
         nobody uses"
            .to_owned()
    })
}

/// Returns the steps of a deletion.
pub(super) fn told(
    observed: &Observed,
    owner: &Owner,
    (manifest, consent): (&ManifestInfo, &Consent),
    telling: Telling,
) -> Plan {
    let mut plan = Plan::empty(manifest, &observed.engine);
    let mut containers = Vec::new();
    let copies = super::container::copies(&observed.by_resource());
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
        let own = alone && failed.is_none_or(|failed| failed.id != container.id);
        let name = if own && !telling.engine_names {
            &container.mark.name
        } else {
            &container.name
        };
        let resource = resource(ResourceKind::Container, name);
        containers.push(remove(&mut plan, resource, Impact::Recreate, &[], work));
    }
    for (name, job) in observed.jobs.iter().filter(|(_, job)| owner.owns(&job.mark)) {
        if job.running {
            plan.notes.push(format!("job {name} is at work and stays"));
            continue;
        }
        let work = Work::Clear(Box::new(ClearWork::Job(job.id.clone())));
        let resource = resource(ResourceKind::Container, name);
        remove(&mut plan, resource, Impact::None, &[], work);
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
    let held = busy::withheld(&plan, observed, telling.verb, |_| false);
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
