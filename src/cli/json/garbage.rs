//! What the documents say of garbage.

use super::{API_VERSION, Blocked, Failure, Garbage, Item};
use crate::cli::viewpoint::Viewpoint;
use crate::plan;
use crate::report::Done;
use crate::step::Resource;

impl<'a> Garbage<'a> {
    /// Makes the document of garbage, and of what became of it if it was removed.
    pub fn of(garbage: &'a plan::Garbage, done: Option<&'a [Done]>, interrupted: bool) -> Self {
        let plan = &garbage.plan;
        let viewpoint = Viewpoint::of(std::path::Path::new("/"));
        let items = plan.steps.iter().map(|step| {
            let about = garbage.about.get(&step.resource);
            let came = done.and_then(|done| done.iter().find(|done| done.step.id == step.id));
            Item {
                kind: step.resource.kind,
                name: &step.resource.name,
                manifest: about.map(|about| about.manifest.as_str()).unwrap_or_default(),
                project: about.and_then(|about| about.project.as_deref()),
                created_at: about.and_then(|about| Some(about.created?.to_string())),
                bytes: about.and_then(|about| about.bytes),
                why: step.detail.as_deref().unwrap_or_default(),
                discards: step.discards,
                outcome: came.map(|done| done.outcome),
                error: came
                    .and_then(|done| done.error.as_ref())
                    .map(|error| Failure::of(error, viewpoint)),
            }
        });
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            engine: (&plan.engine).into(),
            items: items.collect(),
            blocked: Blocked::all(&plan.blocked, viewpoint),
            bytes: Self::bytes(garbage, |_| true),
            kept: garbage.kept,
            notes: &plan.notes,
            interrupted,
        }
    }

    /// Returns how much room some of it takes, as far as the engine says.
    pub fn bytes(garbage: &plan::Garbage, which: impl Fn(&Resource) -> bool) -> u64 {
        let steps = garbage.plan.steps.iter().map(|step| &step.resource);
        let known = steps
            .filter(|resource| which(resource))
            .filter_map(|resource| garbage.about.get(resource)?.bytes);
        known.fold(0, u64::saturating_add)
    }
}
