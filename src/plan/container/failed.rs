//! The last try to replace a container, where it did not work: what is told of it, and when it is forgotten.

use serde_json::Value;

use super::super::{Draft, NewStep, resource};
use super::removal;
use crate::label::{self, FAILED};
use crate::observed::{self, Health, Observed, RunState};
use crate::step::{Action, Because, Cause, CreateWork, Impact, Plan, ResourceKind, Step, Work};

/// The code of what was killed.
const KILLED: i64 = 137;

/// Returns the container that did not work when a replacement tried the same.
fn same<'o>(step: &Step, observed: &'o Observed) -> Option<&'o observed::Container> {
    let Work::Replace { new, .. } = &step.work else {
        return None;
    };
    tried(observed, &step.resource.name, new)
}

/// Returns the container that did not work when this one was tried before.
fn tried<'o>(observed: &'o Observed, name: &str, new: &CreateWork) -> Option<&'o observed::Container> {
    let failed = observed.failed.get(name)?;
    let key = new.create.labels.get(label::KEY)?;
    (failed.mark.key.as_str() == key).then_some(failed)
}

/// Says of a replacement why the last try to do the same did not work, if there was one.
pub fn refuted(step: &Step, observed: &Observed) -> Option<String> {
    Some(why(same(step, observed)?, observed))
}

/// Says of a container to be made why it did not work when it was tried before.
pub(super) fn last_try(observed: &Observed, name: &str, new: &CreateWork) -> Option<String> {
    let failed = tried(observed, name, new)?;
    Some(format!("the last try failed: {}", why(failed, observed)))
}

/// Returns what did not work before, where a plan tries the same again and nobody knows what it said last.
pub fn unheard(plan: &Plan, observed: &Observed) -> Vec<String> {
    let failed = plan.steps.iter().filter_map(|step| same(step, observed));
    let ids = failed.map(|failed| failed.id.id());
    ids.filter(|id| !observed.last_words.contains_key(*id))
        .map(str::to_owned)
        .collect()
}

/// Says why a container did not work, as it is found afterwards.
fn why(failed: &observed::Container, observed: &Observed) -> String {
    let found = match (failed.state, failed.health) {
        (RunState::Created, _) => failed
            .error
            .clone()
            .unwrap_or_else(|| "it was not started".to_owned()),
        (RunState::Exited { code: KILLED }, Some(Health::Starting | Health::Unhealthy)) => {
            "it was not ready in time".to_owned()
        }
        (RunState::Exited { code }, _) if failed.restarts > 0 => {
            format!("it ended again and again, the last time with code {code}")
        }
        (RunState::Exited { code }, _) => failed
            .error
            .clone()
            .unwrap_or_else(|| format!("it ended with code {code}")),
        (state, _) => format!("it is {}", state.display()),
    };
    match observed.last_words.get(failed.id.id()) {
        Some(words) if !words.is_empty() => format!("{found}: {words}"),
        Some(_) | None => found,
    }
}

/// Plans the removal of what did not work, now that nobody wants it any more.
pub(super) fn forget(draft: &mut Draft<'_>, name: &str, needs: Vec<u32>) {
    let Some(failed) = draft.observed.failed.get(name) else {
        return;
    };
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action: Action::Remove,
        impact: Impact::None,
        because: vec![Because::field(
            Cause::Orphan,
            "name",
            Value::from(failed.name.clone()),
            Value::Null,
        )],
        needs,
        detail: Some(format!("{name}{FAILED} did not work and is not wanted any more")),
        work: Work::Guarded {
            object: failed.id.clone(),
            kind: ResourceKind::Container,
            calls: removal(failed),
        },
    });
}
