//! One pass: observe, plan, apply, report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::apply::{Listener, Patient, Stop, walk};
use crate::claim::{ClaimError, Turn, clear};
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::host::is_gone;
use crate::label::Owner;
use crate::manifest::place::Place;
use crate::observe::{self, last_words, layers, observe, strangers};
use crate::observed::{Container, Observed, RunState};
use crate::plan::{Consent, plan, unasked, unheard, unread, wanted_names};
use crate::protocol::{activity, contents};
use crate::report::{Condition, ConditionKind, Done, Outcome, Report};
use crate::status::conditions;
use crate::step::{Action, ManifestInfo, Plan, Resource, ResourceKind, Step, Work};

mod planned;

pub use planned::{Planned, PlannedError, identity, verify};

/// How often one pass plans again. What is pulled in one round is known in the next; nothing needs more.
const ROUNDS: usize = 4;

/// How often one look begins again because something of ours was made meanwhile.
const LOOKS: usize = 3;

/// What a pass is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What is wanted, and by whom.
    pub intent: &'a dyn Intent,
    /// What the person allows.
    pub consent: Consent,
}

impl Subject<'_> {
    /// Returns the same subject for the rest of a pass that has looked: what was asked for once is done once.
    fn after(&self, look: &Look) -> Self {
        let replace = self.consent.replace.seen(&look.observed);
        let rebuild = self.consent.rebuild.seen(&look.observed);
        Self {
            consent: Consent {
                replace,
                rebuild,
                depth: self.consent.depth.seen(&look.observed),
                ..self.consent.clone()
            },
            ..self.clone()
        }
    }
}

/// What is wanted: a manifest, as a pass needs it. All of it is pure.
pub trait Intent: std::fmt::Debug + Send + Sync {
    /// Returns whose objects are reconciled.
    fn owner(&self) -> &Owner;
    /// Returns the images that are named and that aishell does not make.
    fn references(&self) -> &BTreeSet<String>;
    /// Returns the manifest, for people.
    fn info(&self) -> &ManifestInfo;
    /// Resolves what is wanted against what the engine has.
    fn resolve(&self, observed: &Observed) -> Desired;
    /// Returns the line of the manifest that decides a field, by path.
    fn place(&self, path: &str) -> Option<Place>;
}

/// What one look shows.
pub struct Look {
    /// What is wanted.
    pub desired: Desired,
    /// What is there.
    pub observed: Observed,
    /// What has to be done.
    pub plan: Plan,
}

/// Observes and plans; writes nothing.
///
/// # Errors
/// The engine could not be asked. Nothing was touched.
pub async fn look(engine: &impl Engine, subject: &Subject<'_>) -> Result<Look, EngineError> {
    let mut looks = 0;
    loop {
        looks += 1;
        // Boxed: the many requests under way make it large.
        let seen = Box::pin(observe(
            engine,
            subject.intent.owner(),
            subject.intent.references(),
        ));
        let look = judge(engine, subject, seen.await?).await?;
        // Whatever of ours was made between the first request and the last will be in the next listing.
        if looks == LOOKS || !look.observed.strangers.iter().any(|stranger| stranger.late) {
            return Ok(look);
        }
    }
}

/// Plans for what was observed. Asks only what no listing shows: whose the names are that nothing of ours has.
///
/// # Errors
/// The engine could not be asked. Nothing was touched.
pub async fn judge(
    engine: &impl Engine,
    subject: &Subject<'_>,
    mut observed: Observed,
) -> Result<Look, EngineError> {
    // Who is still where they were has not been moved here.
    observed
        .elsewhere
        .retain(|one| one.user.is_some() || is_gone(Path::new(&one.file)));
    let desired = subject.intent.resolve(&observed);
    let names = wanted_names(&desired, &observed);
    observed.strangers.clear();
    observed.activity.clear();
    observed.layers.clear();
    observed.last_words.clear();
    Box::pin(strangers(engine, subject.intent.owner(), &mut observed, names)).await?;
    let (manifest, consent) = (subject.intent.info(), &subject.consent);
    Box::pin(contents(engine, &desired, &mut observed, &consent.depth)).await?;
    let mut plan = plan(&desired, &observed, manifest, consent);
    if inquire(engine, &plan, &mut observed).await? {
        plan = crate::plan::plan(&desired, &observed, manifest, consent);
    }
    plan.locate(|path| subject.intent.place(path));
    Ok(Look {
        desired,
        observed,
        plan,
    })
}

/// Asks what matters to a plan alone: whether somebody works in what it interrupts, what is lost with what it discards,
/// and what was said last by what did not work when it was tried before. Says whether there was anything to ask.
///
/// # Errors
/// The engine could not be asked.
pub async fn inquire(
    engine: &impl Engine,
    plan: &Plan,
    observed: &mut Observed,
) -> Result<bool, EngineError> {
    let (unasked, unread) = (unasked(plan, observed), unread(plan, observed));
    let unheard = unheard(plan, observed);
    let used = repaired(plan, observed);
    if unasked.is_empty() && unread.is_empty() && unheard.is_empty() && used.is_empty() {
        return Ok(false);
    }
    let answers = async {
        futures_util::try_join!(
            activity(engine, unasked),
            layers(engine, &unread),
            last_words(engine, unheard)
        )
    };
    let (activity, layers, last_words) = Box::pin(answers).await?;
    observed.activity.extend(activity);
    observed.layers.extend(layers);
    observed.last_words.extend(last_words);
    if !used.is_empty() {
        Box::pin(observe::bystanders(engine, &used, observed)).await?;
    }
    Ok(true)
}

/// Returns the harness volumes that are there and whose content steps change.
fn repaired(plan: &Plan, observed: &Observed) -> BTreeSet<String> {
    let volume = |step: &Step| {
        if let Work::Populate(work) = &step.work {
            Some(work.volume.clone())
        } else {
            None
        }
    };
    let volumes = plan.steps.iter().filter_map(volume);
    volumes
        .filter(|volume| observed.volumes.contains_key(volume))
        .collect()
}

/// Makes the engine what the manifest wants, once.
///
/// # Guarantees
/// `Err` means that nothing was touched. After the first write the answer is a report, whatever happens.
///
/// # Errors
/// The engine could not be asked before anything was done.
pub async fn reconcile<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    subject: &Subject<'_>,
    listener: &Arc<L>,
    stop: &Stop,
) -> Result<Report, EngineError> {
    let first = look(engine, subject).await?;
    let subject = &subject.after(&first);
    Ok(carry_out(engine, subject, first.plan, (listener, stop)).await)
}

/// Why a pass did not begin.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Somebody else is writing.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
}

/// Makes the engine what the manifest wants, once, and alone: where there is something to do, it waits for its turn
/// and looks once more.
///
/// # Guarantees
/// As [`reconcile`]. A pass that has nothing to do waits for nobody.
///
/// # Errors
/// The engine could not be asked before anything was done, or somebody else is writing.
pub async fn reconcile_alone<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    subject: &Subject<'_>,
    turn: Turn<'_>,
    (listener, stop): (&Arc<L>, &Stop),
) -> Result<Report, PassError> {
    let seen = look(engine, subject).await?;
    let subject = &subject.after(&seen);
    if seen.plan.steps.is_empty() {
        clear(engine, &seen.observed).await;
        return Ok(carry_out(engine, subject, seen.plan, (listener, stop)).await);
    }
    let owner = subject.intent.owner();
    let work = Box::pin(async {
        let seen = look(engine, subject).await?;
        Ok(carry_out(engine, subject, seen.plan, (listener, stop)).await)
    });
    turn.during(engine, owner, Some(&seen.observed), work).await
}

/// Carries out a plan, and what turns out to be left while that may change anything.
async fn carry_out<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    subject: &Subject<'_>,
    mut plan: Plan,
    (listener, stop): (&Arc<L>, &Stop),
) -> Report {
    // Only now: an engine that was not there to begin with is told at once.
    let engine = &Patient::new(engine, listener, stop);
    let mut done: Vec<Done> = Vec::new();
    let mut more = true;
    let mut seen = None;
    for _ in 0..ROUNDS {
        // What was done and has to be done again did not last; that is for another pass.
        let tried = Tried::of(&done);
        let mut round = keep(&untried(&plan, &done), |step| {
            tried.like(step).all(|done| done.step.work != step.work)
        });
        if !more {
            if done.iter().any(|done| done.outcome != Outcome::Done) {
                break;
            }
            // What a killed one had begun has come to its end meanwhile; what was done here is not done twice.
            round = keep(&round, |step| tried.like(step).next().is_none());
        }
        if round.steps.is_empty() || stop.is_wished() {
            break;
        }
        listener.planned(&round);
        let outcomes = walk(&round, engine, listener, stop).await;
        append(&mut done, outcomes);
        more = !plan.unknown.is_empty();
        match look(engine, subject).await {
            Ok(look) => {
                plan = look.plan;
                seen = Some(look.observed);
            }
            Err(error) => return report(plan, done, stop, Some(&error)),
        }
    }
    let said = match &seen {
        Some(observed) => farewells(engine, &plan, observed).await,
        None => Vec::new(),
    };
    let mut report = report(plan, done, stop, None);
    report.notes.extend(said);
    report
}

/// Returns what those said last that were started and have ended again.
async fn farewells(engine: &impl Engine, plan: &Plan, observed: &Observed) -> Vec<String> {
    let again = |container: &&Container| {
        let mut steps = plan.steps.iter().filter(|step| step.action == Action::Start);
        matches!(container.state, RunState::Exited { .. })
            && steps.any(|step| {
                step.resource.kind == ResourceKind::Container && step.resource.name == container.mark.name
            })
    };
    let ended: Vec<_> = observed.containers.values().filter(again).collect();
    let ids = ended.iter().map(|container| container.id.id().to_owned());
    // What was not said is no reason to say nothing of the rest.
    let said = last_words(engine, ids.collect()).await.unwrap_or_default();
    let told = ended.into_iter().filter_map(|container| {
        let words = said.get(container.id.id()).filter(|words| !words.is_empty())?;
        Some(format!(
            "container {} {}; it said last: {words}",
            container.mark.name,
            container.state.display()
        ))
    });
    told.collect()
}

/// Returns a plan without what has failed in this pass, and without what needs that: once is enough.
pub(crate) fn untried(plan: &Plan, done: &[Done]) -> Plan {
    let tried = Tried::of(done);
    keep(plan, |step| {
        tried.like(step).all(|done| done.outcome == Outcome::Done)
    })
}

/// What was tried in a pass, by what it was done to.
struct Tried<'d>(BTreeMap<&'d Resource, Vec<&'d Done>>);

impl<'d> Tried<'d> {
    fn of(done: &'d [Done]) -> Self {
        let mut tried: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for done in done {
            tried.entry(&done.step.resource).or_default().push(done);
        }
        Self(tried)
    }

    /// Returns what was tried that is like a step.
    fn like(&self, step: &Step) -> impl Iterator<Item = &'d Done> {
        let found = self.0.get(&step.resource).into_iter().flatten().copied();
        found.filter(|done| done.step.action == step.action)
    }
}

/// Returns a plan with the steps that are wanted, and without what needs one that is not.
pub(crate) fn keep(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Plan {
    let mut left_out = BTreeSet::new();
    let mut plan = plan.clone();
    plan.steps.retain(|step| {
        let out = !wanted(step) || step.needs.iter().any(|need| left_out.contains(need));
        if out {
            left_out.insert(step.id);
        }
        !out
    });
    plan
}

/// Adds the outcomes of one more round; step numbers go on counting.
pub(crate) fn append(all: &mut Vec<Done>, round: Vec<Done>) {
    let base = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.extend(round.into_iter().map(|mut done| {
        done.step.id = done.step.id.saturating_add(base);
        for need in &mut done.step.needs {
            *need = need.saturating_add(base);
        }
        done
    }));
}

pub(crate) fn report(last: Plan, steps: Vec<Done>, stop: &Stop, lost: Option<&EngineError>) -> Report {
    let mut conditions = conditions(&last);
    if let Some(error) = lost {
        conditions.push(Condition::new(
            ConditionKind::Degraded,
            true,
            "EngineUnreachable",
            error.to_string(),
        ));
    }
    let converged = last.is_empty() && lost.is_none();
    let Plan {
        manifest,
        engine,
        steps: left,
        blocked,
        unknown: _,
        unchanged,
        mut notes,
    } = last;
    if lost.is_none() {
        for step in left.iter().filter(|_| !steps.is_empty()) {
            notes.push(format!(
                "{} {} still has to be done: {}",
                step.resource.kind.as_str(),
                step.resource.name,
                step.action.as_str()
            ));
        }
    }
    Report {
        manifest,
        engine,
        pinned: Vec::new(),
        steps,
        blocked,
        unchanged,
        notes,
        conditions,
        converged,
        interrupted: stop.is_wished(),
    }
}
