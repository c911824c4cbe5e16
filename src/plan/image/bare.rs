//! Images without what they have the next build do, made for one build.

use std::collections::BTreeSet;

use serde_json::json;

use super::making;
use crate::call::Build;
use crate::key::{Key, KeyKind};
use crate::label;
use crate::plan::{Draft, job_labels};
use crate::step::{BARE, Bare, Work};

/// Returns the images without what they have a build do, that it starts from.
pub(super) fn bare(draft: &Draft<'_>, key: &Key, build: &Build) -> Vec<Bare> {
    let images: BTreeSet<&String> = build.triggers.iter().map(|trigger| &trigger.image).collect();
    let bare = images.into_iter().map(|image| {
        let inputs = json!({ "bare": image, "for": key.as_str() });
        let key = Key::of(KeyKind::Stage, &inputs);
        let mut labels = build.labels.clone();
        labels.insert(label::KEY.to_owned(), key.as_str().to_owned());
        Bare {
            image: image.clone(),
            making: making(draft, &key),
            labels,
            container: format!("aishell-job-onbuild-{}", key.short()),
            job: job_labels(draft.desired, BARE, &key),
        }
    });
    bare.collect()
}

/// Says whether a container is what a step makes such an image of.
pub(in crate::plan) fn is_wanted(draft: &Draft<'_>, container: &str) -> bool {
    draft.steps.iter().any(|step| match &step.work {
        Work::Build { bare, .. } => bare.iter().any(|bare| bare.container == container),
        _ => false,
    })
}
