//! Parts of a plan: some of its steps, with what they need.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, Resource, ResourceKind, Step, Unknown};

impl Plan {
    /// Returns the plan with some of its steps and what they need, counted anew, and with nothing else.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&Step) -> bool) -> Self {
        let mut ids: BTreeSet<u32> = BTreeSet::new();
        // What a step needs comes before it.
        for step in self.steps.iter().rev() {
            if wanted(step) || ids.contains(&step.id) {
                ids.insert(step.id);
                ids.extend(&step.needs);
            }
        }
        let numbers: BTreeMap<u32, u32> = ids.iter().copied().zip(1..).collect();
        let steps = self.steps.iter().filter_map(|step| {
            let mut step = step.clone();
            step.id = *numbers.get(&step.id)?;
            for need in &mut step.needs {
                *need = numbers.get(need).copied().unwrap_or(*need);
            }
            Some(step)
        });
        Self {
            steps: steps.collect(),
            ..Self::empty(&self.manifest, &self.engine)
        }
    }

    /// Leaves out whatever is neither wanted nor needed by what is wanted, counted anew.
    pub fn narrow(&mut self, wanted: &BTreeSet<Resource>) {
        let unknown = |unknown: &Unknown| wanted.contains(&unknown.resource());
        // What it needs cannot be said before everything is there that containers are made from.
        let open = self.unknown.iter().any(unknown);
        let narrowed = self.only(|step| {
            wanted.contains(&step.resource) || (open && step.resource.kind != ResourceKind::Container)
        });
        self.steps = narrowed.steps;
        self.blocked.retain(|blocked| {
            wanted.contains(&blocked.resource) || (open && blocked.resource.kind != ResourceKind::Container)
        });
        self.unknown.retain(|unknown| {
            wanted.contains(&unknown.resource()) || (open && unknown.kind != ResourceKind::Container)
        });
        self.unchanged.retain(|resource| wanted.contains(resource));
    }
}
