//! One call after the other, perhaps behind a last look at what they change.

use jiff::Timestamp;

use super::job::LOOK;
use super::probe::{Probe, Probing};
use super::{Next, Protocol, call, failure, is_still};
use crate::call::{Answer, Call};
use crate::engine::EngineError;
use crate::label::{Mark, OwnedId};
use crate::report::Failure;
use crate::step::ResourceKind;

/// How often somebody else's removal is looked for: 20 seconds in all.
const PATIENCE: u32 = 100;

/// Calls in order. The first that fails ends the sequence.
pub(super) struct Sequence {
    guard: Option<(OwnedId, ResourceKind)>,
    /// Containers in which nobody may work by now, the next one last.
    probes: Vec<Probe>,
    busy: Option<String>,
    calls: Vec<Call>,
    at: usize,
    failed: Option<Failure>,
    /// Whether somebody else's removal is waited for, and how often it was looked for.
    waiting: bool,
    looks: u32,
}

impl Sequence {
    pub(super) fn new(calls: Vec<Call>) -> Self {
        Self {
            guard: None,
            probes: Vec::new(),
            busy: None,
            calls,
            at: 0,
            failed: None,
            waiting: false,
            looks: 0,
        }
    }

    /// Looks again before the first call: a plan may be older than the world.
    pub(super) fn guarded(object: OwnedId, kind: ResourceKind, calls: Vec<Call>) -> Self {
        Self {
            guard: Some((object, kind)),
            ..Self::new(calls)
        }
    }

    /// Asks before the first call whether somebody works in what the calls would interrupt.
    pub(super) fn after(mut self, probes: impl Iterator<Item = Probe>) -> Self {
        self.probes = probes.collect();
        self.probes.reverse();
        self
    }

    /// Takes in what one of the questions was answered with.
    fn probed(&mut self, result: Result<Answer, EngineError>) {
        let Some(probe) = self.probes.last_mut() else {
            return;
        };
        probe.heard(result);
        match probe.state() {
            Probing::Ask(_) => {}
            Probing::Idle => {
                self.probes.pop();
            }
            Probing::Busy(detail) => self.busy = Some(detail.to_owned()),
            Probing::Failed(error) => self.failed = Some(failure(error.clone())),
        }
    }
}

impl Protocol for Sequence {
    fn next(&self) -> Next {
        if let Some(failure) = &self.failed {
            return Next::Failed(failure.clone());
        }
        if self.waiting {
            return Next::Wait(LOOK);
        }
        if let Some((object, kind)) = &self.guard {
            let id = object.id().to_owned();
            return call(match kind {
                ResourceKind::Network => Call::InspectNetwork { network: id },
                ResourceKind::Volume => Call::InspectVolume { volume: id },
                ResourceKind::Container | ResourceKind::Image | ResourceKind::Snapshot => {
                    Call::InspectContainer { container: id }
                }
            });
        }
        if let Some(detail) = &self.busy {
            return Next::Busy(detail.clone());
        }
        if let Some(Probing::Ask(ask)) = self.probes.last().map(Probe::state) {
            return call(ask);
        }
        self.calls
            .get(self.at)
            .map_or(Next::Done, |next| call(next.clone()))
    }

    fn waited(&mut self) {
        self.waiting = false;
        self.looks += 1;
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        if let Some((object, kind)) = self.guard.take() {
            match result {
                Ok(answer) if is_still(&object, kind, &answer) => {}
                Ok(_) => {
                    self.failed = Some(Failure::new(
                        "it is not what was observed any more; nothing was touched",
                    ));
                }
                // Whoever removed it did what was to be done, if removing is all there is.
                Err(EngineError::NotFound { .. }) if self.calls.iter().all(is_ending) => {
                    self.probes.clear();
                    self.at = self.calls.len();
                }
                Err(error) => self.failed = Some(failure(error)),
            }
            return;
        }
        if !self.probes.is_empty() {
            return self.probed(result);
        }
        let Some(current) = self.calls.get(self.at) else {
            return;
        };
        match result {
            Ok(Answer::Volume(reply)) => {
                let made = match current {
                    Call::CreateVolume { labels, .. } => Mark::read(&reply.labels).is_some_and(|mark| {
                        Some(&mark.name) == labels.get(crate::label::NAME)
                            && mark.project.as_ref() == labels.get(crate::label::PROJECT)
                    }),
                    _ => true,
                };
                if made {
                    self.at += 1;
                } else {
                    self.failed = Some(Failure::new(format!(
                        "volume {} exists and is not ours; it was left alone",
                        reply.name
                    )));
                }
            }
            Ok(_) => self.at += 1,
            Err(EngineError::NotFound { .. }) if is_ending(current) => self.at += 1,
            // Removal is by force, so the only conflict is that somebody's is under way already: it is over when
            // there is nothing left to remove.
            Err(EngineError::Conflict { .. })
                if matches!(current, Call::RemoveContainer { .. }) && self.looks < PATIENCE =>
            {
                self.waiting = true;
            }
            Err(error) => self.failed = Some(failure(error)),
        }
    }
}

/// Says whether a call only ends something, so that its absence is success.
fn is_ending(call: &Call) -> bool {
    matches!(
        call,
        Call::RemoveContainer { .. }
            | Call::StopContainer { .. }
            | Call::DisconnectNetwork { .. }
            | Call::RemoveNetwork { .. }
            | Call::RemoveVolume { .. }
            | Call::RemoveImage { .. }
    )
}
