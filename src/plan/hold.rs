//! Containers that somebody stopped by hand and that stay so until somebody starts them.

use std::collections::{BTreeMap, BTreeSet};

use super::withhold::Withheld;
use super::{Draft, NewStep, resource};
use crate::call::Call;
use crate::label::Kind;
use crate::observed::{self, Hold};
use crate::step::{Action, Because, BlockedReason, Cause, Impact, Plan, ResourceKind, Work};

impl<'a> Draft<'a> {
    /// Returns that a container is to stay stopped, if somebody said so and nobody has taken it back.
    pub(super) fn hold(&self, name: &str) -> Option<&'a Hold> {
        if self.released.contains_key(name) {
            return None;
        }
        self.holds.get(name)?.1.hold.as_ref()
    }

    fn remove_hold(&mut self, name: &str, volume: &observed::Volume, cause: Cause) -> u32 {
        self.push(NewStep {
            resource: resource(ResourceKind::Volume, name),
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::plain(cause)],
            needs: Vec::new(),
            detail: volume.hold.as_ref().map(ToString::to_string),
            work: Work::Guarded {
                object: volume.id.clone(),
                kind: ResourceKind::Volume,
                calls: vec![Call::RemoveVolume {
                    volume: volume.id.clone(),
                }],
            },
        })
    }
}

/// Plans that containers are not to stay stopped any more, and returns the steps.
pub(super) fn released(draft: &mut Draft<'_>, names: &BTreeSet<String>) -> BTreeMap<String, Option<u32>> {
    let mut steps = BTreeMap::new();
    for name in names {
        let found = draft.holds.get(name.as_str()).copied();
        let step = found.map(|(volume, found)| draft.remove_hold(volume, found, Cause::Requested));
        steps.insert(name.clone(), step);
    }
    steps
}

/// Plans the removal of holds whose containers the manifest does not want any more.
pub(super) fn orphans(draft: &mut Draft<'_>) {
    if !draft.prune {
        return;
    }
    for (name, volume) in &draft.observed.volumes {
        if volume.mark.kind == Kind::Hold && !draft.desired.containers.contains_key(&volume.mark.name) {
            draft.remove_hold(name, volume, Cause::Orphan);
        }
    }
}

/// Says whether a container stays as it is because it was stopped by hand, and notes it.
pub(super) fn stays(draft: &mut Draft<'_>, name: &str, live: &observed::Container) -> bool {
    let Some(hold) = draft.hold(name) else {
        return false;
    };
    let note = if live.state.is_alive() {
        format!("container {name} runs though it is held ({hold}); `aishell start {name}` ends the hold")
    } else {
        format!("container {name} is held ({hold}); `aishell start {name}` starts it")
    };
    draft.notes.push(note);
    true
}

/// Returns the containers of the manifest that are to stay stopped, with who said so.
pub(super) fn names(draft: &Draft<'_>) -> BTreeMap<String, Hold> {
    let wanted = |name: &&&str| draft.desired.containers.contains_key(**name);
    let names = draft.holds.keys().filter(wanted);
    let held = names.filter_map(|name| Some(((*name).to_owned(), draft.hold(name)?.clone())));
    held.collect()
}

/// Returns the steps that would start containers which are to stay stopped.
pub(super) fn withheld(plan: &Plan, held: &BTreeMap<String, Hold>) -> BTreeMap<u32, Withheld> {
    let starts = |action: Action| match action {
        Action::Create | Action::Replace | Action::Start | Action::Restart | Action::Unpause => true,
        Action::Pull
        | Action::Build
        | Action::Snapshot
        | Action::Populate
        | Action::Update
        | Action::Connect
        | Action::Disconnect
        | Action::Rename
        | Action::Stop
        | Action::Tag
        | Action::Remove => false,
    };
    let of_held = plan.steps.iter().filter_map(|step| {
        let hold = held.get(&step.resource.name)?;
        let matters = step.resource.kind == ResourceKind::Container && starts(step.action);
        let withheld = Withheld {
            reason: BlockedReason::Held,
            detail: hold.to_string(),
            unblock: Some(format!("aishell start {}", step.resource.name)),
        };
        matters.then_some((step.id, withheld))
    });
    of_held.collect()
}
