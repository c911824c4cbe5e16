//! One pass of the loop: look at what may have changed, do what may be done now, look at what was done.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Attempt, Gate};
use super::trigger::Interest;
use super::{Audience, Controller};
use crate::apply::apply;
use crate::claim::{Claim, ClaimError, Turn};
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::key::digest;
use crate::label::{FAILED, Owner};
use crate::observe::{Changes, refresh};
use crate::observed::Observed;
use crate::plan::{NEXT, PREVIOUS, refuted};
use crate::reconcile::{Look, Subject, append, judge, keep, untried};
use crate::report::{Done, Outcome};
use crate::step::{Action, BlockedReason, Plan, Resource, ResourceKind, Step};

/// How often one pass plans again. What is pulled in one round is known in the next; nothing needs more.
const ROUNDS: usize = 4;

/// What came of a pass.
pub(super) struct Passed {
    /// What is there now.
    pub look: Look,
    /// What was done.
    pub done: Vec<Done>,
    /// What is left and is not tried now.
    pub waits: Vec<Wait>,
}

/// Something that is left and not tried now.
pub(super) struct Wait {
    pub resource: Resource,
    pub attempts: u32,
    /// When it is tried again; `None`: not before what is wanted changes.
    pub until: Option<Instant>,
    /// Whether it was tried in this pass.
    pub news: bool,
}

/// Makes a pass.
///
/// # Errors
/// The engine could not be asked. What was done is done; everything has to be looked at again.
pub(super) async fn pass<E: Engine, A: Audience + 'static>(
    controller: &mut Controller<'_, E, A>,
    changes: Changes,
) -> Result<Passed, EngineError> {
    let intent = controller.intent.clone();
    let subject = Subject {
        intent: &*intent,
        consent: controller.settings.consent.clone(),
    };
    let engine = controller.engine;
    let held = controller.held.take();
    let changes = if held.is_some() {
        changes
    } else {
        Changes::everything()
    };
    let mut look = seen(engine, &subject, held.unwrap_or_default(), &changes).await?;
    controller.found(&look);
    controller
        .inbox
        .interested(Some(Interest::of(&look, busy_containers(&look))));
    let mut done: Vec<Done> = Vec::new();
    let mut tried: BTreeSet<Resource> = BTreeSet::new();
    let begun = Instant::now();
    controller.backoff.forget(begun);
    remember(controller, &look, begun);
    let mut claim = None;
    for _ in 0..=ROUNDS {
        let open = keep(&look.plan, |step| {
            let wanted = wanted(&step.resource, &look.desired);
            controller.backoff.gate(&step.resource, &wanted, begun) == Gate::Open
                || tried.contains(&step.resource)
        });
        let round = untried(&open, &done);
        if round.steps.is_empty() || controller.stop.is_wished() {
            break;
        }
        if let (None, Some(turn)) = (&claim, controller.settings.turn) {
            let turned = taken(controller, turn, (subject.intent.owner(), &look.observed)).await?;
            let changes = match turned {
                Turned::At(free) => {
                    claim = Some(free);
                    // Somebody may have come and gone since this was seen.
                    let mut changes = touched(round.steps.iter(), &look);
                    changes.add(controller.inbox.take_changes());
                    changes
                }
                Turned::After(free) => {
                    claim = Some(free);
                    Changes::everything()
                }
                Turned::Never => break,
            };
            let observed = std::mem::take(&mut look.observed);
            look = seen(engine, &subject, observed, &changes).await?;
            continue;
        }
        controller.audience.planned(&round);
        let outcomes = apply(&round, engine, controller.audience, controller.stop).await;
        let more = !look.plan.unknown.is_empty();
        let carried = outcomes.iter().filter(|done| done.outcome != Outcome::Skipped);
        let mut touched = touched(carried.map(|done| &done.step), &look);
        // What was noticed until now will be seen, the echo of these very writes above all.
        touched.add(controller.inbox.take_changes());
        let observed = std::mem::take(&mut look.observed);
        let before = look.desired;
        look = seen(engine, &subject, observed, &touched).await?;
        // Only now: what failed because the engine went away has not failed.
        for (resource, attempt) in attempts(&outcomes) {
            let key = (&resource, wanted(&resource, &before));
            let now = Instant::now();
            controller
                .backoff
                .attempted(key, attempt, now, &mut controller.settings.jitter);
            tried.insert(resource);
        }
        append(&mut done, outcomes);
        if !more {
            break;
        }
    }
    if let Some(claim) = claim {
        controller.stake = claim.shelve(engine).await;
    }
    let waits = waits(controller, &look, &tried);
    Ok(Passed { look, done, waits })
}

/// Takes in what failed before this watch began, or by another hand: the containers that did not work tell.
fn remember<E, A>(controller: &mut Controller<'_, E, A>, look: &Look, now: Instant) {
    for step in &look.plan.steps {
        let wanted = wanted(&step.resource, &look.desired);
        if refuted(step, &look.observed).is_some() && !controller.backoff.knows(&step.resource, &wanted) {
            let attempt = (&step.resource, wanted);
            let jitter = &mut controller.settings.jitter;
            controller
                .backoff
                .attempted(attempt, Attempt::Refuted, now, jitter);
        }
    }
}

/// How the wait for the turn to write ended.
enum Turned {
    /// Nobody else was writing.
    At(Claim),
    /// Somebody else was.
    After(Claim),
    /// Somebody wished to stop, the other does not come to an end, or a stranger is in the way.
    Never,
}

/// Waits for the turn to write.
async fn taken<E: Engine, A: Audience + 'static>(
    controller: &mut Controller<'_, E, A>,
    turn: Turn<'_>,
    (owner, seen): (&Owner, &Observed),
) -> Result<Turned, EngineError> {
    let Controller {
        engine, stop, stake, ..
    } = controller;
    let at_once = Turn {
        patience: Duration::ZERO,
        ..turn
    };
    let mut claim = at_once.take_with(*engine, owner, (Some(seen), stake)).await;
    let mut waited = false;
    if let Err(error @ ClaimError::Held { .. }) = &claim {
        tracing::info!("{error}; waiting for it");
        waited = true;
        claim = tokio::select! {
            () = stop.wished() => return Ok(Turned::Never),
            claim = turn.take_with(*engine, owner, (Some(seen), stake)) => claim,
        };
    }
    let (turned, problem) = match claim {
        Ok(claim) if waited => (Turned::After(claim), None),
        Ok(claim) => (Turned::At(claim), None),
        Err(ClaimError::Engine(error)) => return Err(error),
        Err(error @ (ClaimError::Held { .. } | ClaimError::Unusable { .. })) => {
            (Turned::Never, Some(("Claimed", error.to_string())))
        }
        Err(error @ ClaimError::Stranger { .. }) => {
            (Turned::Never, Some(("ClaimBlocked", error.to_string())))
        }
    };
    controller.holds("Claim", problem, None);
    Ok(turned)
}

/// Looks at what may have changed, and plans.
async fn seen(
    engine: &impl Engine,
    subject: &Subject<'_>,
    held: Observed,
    changes: &Changes,
) -> Result<Look, EngineError> {
    let (owner, references) = (subject.intent.owner(), subject.intent.references());
    let observed = refresh(engine, owner, references, &held, changes).await?;
    let look = judge(engine, subject, observed).await?;
    let late = look.observed.strangers.iter().any(|stranger| stranger.late);
    if !late {
        return Ok(look);
    }
    // Something of ours was made meanwhile: it is in the next listing.
    let observed = refresh(engine, owner, references, &held, &Changes::everything()).await?;
    judge(engine, subject, observed).await
}

/// Returns what steps are about.
fn touched<'s>(steps: impl Iterator<Item = &'s Step>, look: &Look) -> Changes {
    let mut changes = Changes::default();
    for step in steps {
        let name = &step.resource.name;
        match step.resource.kind {
            ResourceKind::Container => {
                let observed = &look.observed;
                let held = observed.containers.values().chain(observed.failed.values());
                let ids = held.filter(|container| container.mark.name == *name || container.name == *name);
                changes
                    .containers
                    .extend(ids.map(|container| container.id.id().to_owned()));
                let engine_name = look
                    .desired
                    .containers
                    .get(name)
                    .map(|one| one.engine_name.as_str());
                let named = engine_name.unwrap_or(name);
                match step.action {
                    Action::Create | Action::Rename => {
                        changes.containers.insert(named.to_owned());
                    }
                    Action::Replace => {
                        let names = ["", NEXT, PREVIOUS, FAILED].map(|suffix| format!("{named}{suffix}"));
                        changes.containers.extend(names);
                    }
                    Action::Pull
                    | Action::Build
                    | Action::Snapshot
                    | Action::Populate
                    | Action::Start
                    | Action::Unpause
                    | Action::Update
                    | Action::Connect
                    | Action::Disconnect
                    | Action::Restart
                    | Action::Stop
                    | Action::Tag
                    | Action::Remove => {}
                }
            }
            ResourceKind::Volume if step.action == Action::Create => {
                let named = look
                    .desired
                    .volumes
                    .iter()
                    .find(|(_, volume)| volume.name == *name);
                let engine_name = named.map_or(name, |(engine_name, _)| engine_name);
                changes.volumes.insert(engine_name.clone());
            }
            ResourceKind::Network => changes.networks = true,
            // Images, jobs and receipts are seen in listings only.
            ResourceKind::Volume | ResourceKind::Image | ResourceKind::Snapshot => changes.everything = true,
        }
    }
    changes
}

/// Returns what was attempted: a resource with several steps has failed if one of them has.
fn attempts(outcomes: &[Done]) -> Vec<(Resource, Attempt)> {
    let mut found: Vec<(Resource, Attempt)> = Vec::new();
    for done in outcomes {
        let attempt = match (done.outcome, done.step.action) {
            (Outcome::Done, _) => Attempt::Succeeded,
            // The old container would be stopped again and again.
            (Outcome::Failed, Action::Replace) => Attempt::Refuted,
            (Outcome::Failed, _) => Attempt::Failed,
            // Somebody began to work in it: that is no fault.
            (Outcome::Skipped | Outcome::Blocked, _) => continue,
        };
        match found
            .iter_mut()
            .find(|(resource, _)| *resource == done.step.resource)
        {
            Some((_, worst)) if *worst == Attempt::Succeeded => *worst = attempt,
            Some(_) => {}
            None => found.push((done.step.resource.clone(), attempt)),
        }
    }
    found
}

/// Returns what is left and is not tried now.
fn waits<E, A>(controller: &Controller<'_, E, A>, look: &Look, tried: &BTreeSet<Resource>) -> Vec<Wait> {
    let now = Instant::now();
    let left: BTreeSet<&Resource> = look.plan.steps.iter().map(|step| &step.resource).collect();
    left.into_iter()
        .filter_map(|resource| {
            let wanted = wanted(resource, &look.desired);
            let until = match controller.backoff.gate(resource, &wanted, now) {
                Gate::Open => return None,
                Gate::Until(until) => Some(until),
                Gate::Shut => None,
            };
            Some(Wait {
                resource: resource.clone(),
                attempts: controller.backoff.attempts(resource),
                until,
                news: tried.contains(resource),
            })
        })
        .collect()
}

/// Says whether a plan has steps that wait for nothing that waits.
pub(super) fn open_steps(plan: &Plan, waits: &[Wait]) -> bool {
    let waiting: BTreeSet<&Resource> = waits.iter().map(|wait| &wait.resource).collect();
    !keep(plan, |step| !waiting.contains(&step.resource))
        .steps
        .is_empty()
}

/// Returns what tells one wish for a resource from another.
fn wanted(resource: &Resource, desired: &Desired) -> String {
    let name = &resource.name;
    let text = match resource.kind {
        ResourceKind::Container => format!("{:?}", desired.containers.get(name)),
        ResourceKind::Volume => {
            let set = desired.harness_set().map(|set| &set.key);
            format!(
                "{set:?} {:?}",
                desired.volumes.values().find(|one| one.name == *name)
            )
        }
        ResourceKind::Network => format!("{:?}", desired.network),
        ResourceKind::Image | ResourceKind::Snapshot => {
            let stages: Vec<_> = desired
                .stages
                .values()
                .map(|stage| (stage.reference(), &stage.key))
                .filter(|(reference, _)| reference == name)
                .collect();
            let identities: Vec<_> = desired
                .identities
                .values()
                .filter(|identity| identity.tag.known() == Some(name))
                .map(|identity| &identity.key)
                .collect();
            format!("{stages:?} {identities:?}")
        }
    };
    digest(text.as_bytes())
}

/// Returns the ids of the containers that something waits for because they are in use.
pub(super) fn busy_containers(look: &Look) -> BTreeSet<String> {
    let busy: Vec<&Resource> = look
        .plan
        .blocked
        .iter()
        .filter(|blocked| blocked.reason == BlockedReason::Busy)
        .map(|blocked| &blocked.resource)
        .collect();
    // A volume is in use through any container.
    let any = busy
        .iter()
        .any(|resource| resource.kind != ResourceKind::Container);
    look.observed
        .containers
        .values()
        .filter(|container| any || busy.iter().any(|resource| resource.name == container.mark.name))
        .map(|container| container.id.id().to_owned())
        .collect()
}
