//! Judgement without action: how every resource of a manifest stands.

use std::collections::BTreeMap;

use crate::desired::{Container, Desired, HarnessSet};
use crate::observed::{self, ByResource, Health, Hold, Observed, RunState};
use crate::plan;
use crate::report::{Condition, ConditionKind, ContainerStatus, ResourceStatus, SetStatus, Status, Truth};
use crate::spec::Mount;
use crate::step::{Blocked, Plan, Resource, ResourceKind, Step, Unknown};

pub mod diagnosis;
pub mod phase;

/// Returns how every resource stands. Pure; the plan is the one made from the same values.
pub fn status(desired: &Desired, observed: &Observed, plan: &Plan) -> Status {
    let mut resources = Vec::new();
    let (named, holds) = (observed.by_resource(), observed.hold_volumes(&desired.owner));
    for (resource, standing) in standings(desired, plan) {
        let container = (resource.kind == ResourceKind::Container)
            .then(|| desired.containers.get(&resource.name))
            .flatten()
            .map(|container| {
                let name = resource.name.as_str();
                let hold = holds.get(name).and_then(|(_, volume)| volume.hold.as_ref());
                (container, live(&named, container, name), hold)
            });
        let mut conditions = vec![converged(&standing)];
        conditions.extend(standing.blocked.map(blocked));
        let details = container.map(|(container, live, hold)| {
            conditions.push(ready(container, live, hold));
            conditions.extend(degraded(container, live).filter(|_| hold.is_none()));
            conditions.extend(refuted(&standing, observed));
            details(container, live, hold)
        });
        let harness_set = desired
            .harness_set()
            .filter(|set| resource.kind == ResourceKind::Volume && resource.name == set.volume());
        resources.push(ResourceStatus {
            kind: resource.kind,
            harness_set: harness_set.map(|set| of_set(set, observed)),
            name: resource.name,
            conditions,
            container: details,
        });
    }
    Status {
        manifest: plan.manifest.clone(),
        engine: plan.engine.clone(),
        conditions: conditions(plan),
        resources,
        notes: plan.notes.clone(),
    }
}

/// Returns what there is to say of a harness set.
fn of_set(set: &HarnessSet, observed: &Observed) -> SetStatus {
    let name = set.volume();
    let mounts = |mount: &Mount| matches!(mount, Mount::Volume { name: other, .. } if *other == name);
    let own = observed.containers.values();
    let own = own.filter(|live| live.spec.mounts.values().any(mounts));
    let others = observed.set_users.get(&name).into_iter().flatten();
    let mut users: Vec<String> = own.map(|live| live.mark.name.clone()).collect();
    users.extend(others.map(|user| user.name.clone()));
    let receipt = observed.receipts.get(&set.receipt());
    let content = receipt.and_then(|receipt| observed.contents.get(receipt.id.id()));
    let members = set.members.iter();
    SetStatus {
        members: members
            .map(|member| (member.name.clone(), member.version.clone()))
            .collect(),
        users,
        size: content.map(|content| (content.files, content.bytes)),
    }
}

/// Returns how a manifest stands as a whole.
pub fn conditions(plan: &Plan) -> Vec<Condition> {
    let left = plan.steps.len() + plan.unknown.len();
    let mut conditions = vec![if plan.is_empty() {
        Condition::new(
            ConditionKind::Converged,
            true,
            "NothingToDo",
            "everything is as the manifest wants it",
        )
    } else {
        Condition::new(
            ConditionKind::Converged,
            false,
            "Differences",
            format!("{left} steps are left to do"),
        )
    }];
    if !plan.blocked.is_empty() {
        let message = format!("{} steps need a person", plan.blocked.len());
        conditions.push(Condition::new(
            ConditionKind::Blocked,
            true,
            "NeedsPerson",
            message,
        ));
    }
    conditions
}

/// What a plan says of one resource.
#[derive(Default)]
struct Standing<'p> {
    steps: Vec<&'p Step>,
    blocked: Option<&'p Blocked>,
    unknown: Option<&'p Unknown>,
}

/// Returns every resource that is wanted or that a plan speaks of, with what it says.
fn standings<'p>(desired: &Desired, plan: &'p Plan) -> BTreeMap<Resource, Standing<'p>> {
    let mut all: BTreeMap<Resource, Standing<'p>> = BTreeMap::new();
    let names = desired.containers.keys();
    let wanted = names.map(|name| Resource {
        kind: ResourceKind::Container,
        name: name.clone(),
    });
    for resource in plan.unchanged.iter().cloned().chain(wanted) {
        all.entry(resource).or_default();
    }
    for step in &plan.steps {
        all.entry(step.resource.clone()).or_default().steps.push(step);
    }
    for blocked in &plan.blocked {
        let standing = all.entry(blocked.resource.clone()).or_default();
        standing.blocked.get_or_insert(blocked);
    }
    for unknown in &plan.unknown {
        let standing = all.entry(unknown.resource()).or_default();
        standing.unknown.get_or_insert(unknown);
    }
    all
}

/// Returns the container that is a resource now: the one of its engine name, else one that was renamed.
fn live<'o>(named: &ByResource<'o>, container: &Container, name: &str) -> Option<&'o observed::Container> {
    let found = named.of(name);
    let own = found.iter().find(|live| live.name == container.engine_name);
    own.or(found.first()).copied()
}

fn converged(standing: &Standing<'_>) -> Condition {
    let Standing {
        steps,
        blocked,
        unknown,
    } = standing;
    if let Some(unknown) = unknown {
        let mut condition = Condition::new(
            ConditionKind::Converged,
            false,
            "Unknown",
            format!("unknown: {}", unknown.reason),
        );
        condition.status = Truth::Unknown;
        return condition;
    }
    if steps.is_empty() && blocked.is_none() {
        Condition::new(
            ConditionKind::Converged,
            true,
            "NothingToDo",
            "as the manifest wants it",
        )
    } else {
        let message = if steps.is_empty() {
            "blocked".to_owned()
        } else {
            let steps: Vec<&str> = steps.iter().map(|step| step.action.as_str()).collect();
            format!("to do: {}", steps.join(", "))
        };
        Condition::new(ConditionKind::Converged, false, "Differences", message)
    }
}

fn blocked(blocked: &Blocked) -> Condition {
    let mut reason = blocked.reason.as_str().to_owned();
    if let Some(first) = reason.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Condition::new(ConditionKind::Blocked, true, &reason, blocked.detail.clone())
}

/// Says whether a container can be used: it runs and is not unhealthy, or is a command that has completed.
fn is_ready(container: &Container, live: &observed::Container) -> bool {
    match live.state {
        RunState::Running => matches!(live.health, None | Some(Health::Healthy)),
        RunState::Exited { code: 0 } => container.completes,
        RunState::Created
        | RunState::Paused
        | RunState::Restarting
        | RunState::Exited { .. }
        | RunState::Removing
        | RunState::Dead => false,
    }
}

fn ready(container: &Container, live: Option<&observed::Container>, hold: Option<&Hold>) -> Condition {
    let runs = live.is_some_and(|live| live.state.is_alive());
    if let Some(hold) = hold.filter(|_| !runs) {
        return Condition {
            since: Some(hold.since.clone()),
            ..Condition::new(ConditionKind::Ready, false, "Held", hold.to_string())
        };
    }
    let Some(live) = live else {
        return Condition::new(ConditionKind::Ready, false, "Missing", "it does not exist");
    };
    let since = live.started.clone();
    let condition = if is_ready(container, live) {
        let reason = if live.state == RunState::Running {
            "Running"
        } else {
            "Completed"
        };
        Condition::new(ConditionKind::Ready, true, reason, live.state.display())
    } else if live.state == RunState::Running {
        let (reason, message) = match live.health {
            Some(Health::Starting) => ("Starting", "its health check has not passed yet"),
            Some(Health::Unhealthy) => ("Unhealthy", "its health check fails"),
            Some(Health::Healthy) | None => ("Running", "running"),
        };
        Condition::new(ConditionKind::Ready, false, reason, message)
    } else {
        Condition::new(ConditionKind::Ready, false, "NotRunning", live.state.display())
    };
    Condition { since, ..condition }
}

fn degraded(container: &Container, live: Option<&observed::Container>) -> Option<Condition> {
    let live = live?;
    let (reason, message) = match live.state {
        RunState::Restarting => (
            "CrashLoop",
            format!("it ended and was restarted {} times", live.restarts),
        ),
        RunState::Exited { code } if container.completes && code != 0 => {
            ("CommandFailed", format!("its command ended with code {code}"))
        }
        RunState::Created if live.error.is_some() => ("CannotStart", live.error.clone().unwrap_or_default()),
        _ => return None,
    };
    Some(Condition::new(ConditionKind::Degraded, true, reason, message))
}

/// Says that a container could not be replaced when that was tried last.
fn refuted(standing: &Standing<'_>, observed: &Observed) -> Option<Condition> {
    let mut steps = standing.steps.iter();
    let why = steps.find_map(|step| plan::refuted(step, observed))?;
    Some(Condition::new(
        ConditionKind::Degraded,
        true,
        "ReplacementFailed",
        format!("the last replacement failed: {why}"),
    ))
}

fn details(
    container: &Container,
    live: Option<&observed::Container>,
    hold: Option<&Hold>,
) -> ContainerStatus {
    ContainerStatus {
        hold: hold.cloned(),
        state: live.map(|live| live.state),
        health: live.and_then(|live| live.health),
        ready: live.is_some_and(|live| is_ready(container, live)),
        image: live.map_or_else(|| container.spec.image.clone(), |live| live.spec.image.clone()),
        harness: container.opens.clone(),
        sessions: None,
        created: live.map(|live| live.created.clone()),
        started_at: live.and_then(|live| live.started.clone()),
    }
}

/// Returns the containers of an owner as a table would show them, by name.
pub fn containers(desired: &Desired, observed: &Observed) -> BTreeMap<String, ContainerStatus> {
    let (named, holds) = (observed.by_resource(), observed.hold_volumes(&desired.owner));
    let wanted = desired.containers.iter();
    let found = wanted.filter_map(|(name, container)| {
        let live = live(&named, container, name)?;
        let hold = holds.get(name.as_str());
        let hold = hold.and_then(|(_, volume)| volume.hold.as_ref());
        Some((name.clone(), details(container, Some(live), hold)))
    });
    found.collect()
}
