//! Which steps can begin: those whose needs are all done. Asking costs the same however many steps a plan has.

use std::collections::{BTreeMap, BTreeSet};

use crate::step::Step;

/// The steps that have not begun.
pub(super) struct Queue<'p> {
    waiting: BTreeMap<u32, &'p Step>,
    /// What each step still waits for.
    unmet: BTreeMap<u32, BTreeSet<u32>>,
    /// Which steps wait for each.
    dependents: BTreeMap<u32, Vec<u32>>,
    heavy: BTreeSet<u32>,
    light: BTreeSet<u32>,
    is_heavy: fn(&Step) -> bool,
}

impl<'p> Queue<'p> {
    /// Puts all steps in the queue.
    pub(super) fn new(steps: &'p [Step], is_heavy: fn(&Step) -> bool) -> Self {
        let mut queue = Self {
            waiting: steps.iter().map(|step| (step.id, step)).collect(),
            unmet: BTreeMap::new(),
            dependents: BTreeMap::new(),
            heavy: BTreeSet::new(),
            light: BTreeSet::new(),
            is_heavy,
        };
        for step in steps {
            for need in &step.needs {
                queue.dependents.entry(*need).or_default().push(step.id);
            }
            queue.unmet.insert(step.id, step.needs.iter().copied().collect());
            queue.ready(step);
        }
        queue
    }

    /// Takes out the first step that can begin, of the heavy ones or of the others.
    pub(super) fn take(&mut self, heavy: bool) -> Option<&'p Step> {
        let ready = if heavy { &mut self.heavy } else { &mut self.light };
        let id = ready.pop_first()?;
        self.waiting.remove(&id)
    }

    /// Takes in that a step has succeeded.
    pub(super) fn done(&mut self, id: u32) {
        for dependent in self.dependents.remove(&id).unwrap_or_default() {
            if let Some(unmet) = self.unmet.get_mut(&dependent) {
                unmet.remove(&id);
            }
            if let Some(step) = self.waiting.get(&dependent).copied() {
                self.ready(step);
            }
        }
    }

    /// Takes out what needs a step that has not succeeded, and what needs that, each with the step it needs.
    pub(super) fn abandon(&mut self, step: &'p Step) -> Vec<(&'p Step, &'p Step)> {
        let mut abandoned = Vec::new();
        let mut without = vec![step];
        while let Some(missing) = without.pop() {
            for id in self.dependents.remove(&missing.id).unwrap_or_default() {
                if let Some(step) = self.waiting.remove(&id) {
                    abandoned.push((step, missing));
                    without.push(step);
                }
            }
        }
        abandoned
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<&'p Step> {
        self.heavy.clear();
        self.light.clear();
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    fn ready(&mut self, step: &Step) {
        if self.unmet.get(&step.id).is_none_or(BTreeSet::is_empty) {
            let ready = if (self.is_heavy)(step) {
                &mut self.heavy
            } else {
                &mut self.light
            };
            ready.insert(step.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Action, Impact, Resource, ResourceKind, Work};

    fn step(id: u32, needs: &[u32]) -> Step {
        Step {
            id,
            resource: Resource {
                kind: ResourceKind::Container,
                name: id.to_string(),
            },
            action: Action::Create,
            impact: Impact::None,
            because: Vec::new(),
            needs: needs.to_vec(),
            detail: None,
            discards: None,
            widens: Vec::new(),
            interrupts: Vec::new(),
            work: Work::Calls(Vec::new()),
        }
    }

    fn take_all(queue: &mut Queue<'_>) -> Vec<u32> {
        std::iter::from_fn(|| queue.take(false).map(|step| step.id)).collect()
    }

    #[test]
    fn a_step_begins_when_everything_it_needs_is_done() {
        let steps = [step(1, &[]), step(2, &[]), step(3, &[1, 2]), step(4, &[3])];
        let mut queue = Queue::new(&steps, |_| false);
        assert_eq!(take_all(&mut queue), [1, 2]);
        queue.done(1);
        assert_eq!(take_all(&mut queue), [] as [u32; 0]);
        queue.done(2);
        assert_eq!(take_all(&mut queue), [3]);
        queue.done(3);
        assert_eq!(take_all(&mut queue), [4]);
    }

    #[test]
    fn what_needs_a_step_that_failed_is_abandoned_and_nothing_else() {
        let steps = [step(1, &[]), step(2, &[1]), step(3, &[2]), step(4, &[])];
        let mut queue = Queue::new(&steps, |_| false);
        assert_eq!(queue.take(false).map(|step| step.id), Some(1));
        let abandoned = queue.abandon(&steps[0]);
        let ids: Vec<(u32, u32)> = abandoned
            .iter()
            .map(|(step, missing)| (step.id, missing.id))
            .collect();
        assert_eq!(ids, [(2, 1), (3, 2)]);
        assert_eq!(take_all(&mut queue), [4]);
    }
}
