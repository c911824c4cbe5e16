//! What was left by whoever was killed, and what was kept to show why something failed.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::shared::{Unfinished, unfinished};
use super::{About, Heap};
use crate::label::{CLAIM, OwnedId, Owner};
use crate::observed::Observed;
use crate::plan::resource;
use crate::step::{ClearWork, ResourceKind};
use crate::stock::StockedJob;

/// How long a job that does not run may belong to somebody who is about to start it, or to read what it left.
const GRACE: SignedDuration = SignedDuration::from_mins(10);
/// Why something is there that has no use any more.
const LEFT: &str = "left by an interrupted apply";

impl<'a> Heap<'a> {
    /// Takes in jobs that ended, of owners that are there.
    pub(super) fn jobs(&mut self, abandoned: &[(Owner, Observed)]) {
        let stock = self.stock;
        for (name, job) in &stock.jobs {
            let StockedJob {
                id,
                mark,
                running,
                created,
            } = job;
            let gone = abandoned.iter().any(|(owner, _)| owner.owns(mark));
            let exhibit = name.starts_with("aishell-failed-");
            let fresh = created.is_none_or(|created| created > self.terms.now - GRACE);
            let named = exhibit || name.starts_with("aishell-job-");
            if !self.is_meant(&mark.manifest)
                || *running
                || gone
                || !named
                || (fresh && !exhibit)
                || self.is_young(*created)
            {
                continue;
            }
            let about = About {
                manifest: mark.manifest.clone(),
                project: mark.project.clone(),
                created: *created,
                bytes: stock.usage.containers.get(id.id()).copied(),
            };
            let detail = if exhibit {
                "kept to show why it failed"
            } else {
                LEFT
            };
            let resource = resource(ResourceKind::Container, name);
            let step = self.push(resource, about, detail, Vec::new(), ClearWork::Job(id.clone()));
            self.going.insert(id.id().to_owned(), step);
        }
    }

    /// Takes in containers that were to claim something: whoever made them was killed before they could be started.
    pub(super) fn claims(&mut self) {
        for (name, claim) in &self.stock.idle_claims {
            let StockedJob {
                id,
                mark,
                running: _,
                created,
            } = claim;
            // Whoever is about to start one makes another one, should this be it.
            if !self.is_meant(&mark.manifest) || !name.starts_with(CLAIM) || self.is_young(*created) {
                continue;
            }
            let about = About {
                manifest: mark.manifest.clone(),
                project: mark.project.clone(),
                created: *created,
                bytes: self.stock.usage.containers.get(id.id()).copied(),
            };
            let resource = resource(ResourceKind::Container, name);
            let work = ClearWork::Claim(id.clone());
            let step = self.push(resource, about, LEFT, Vec::new(), work);
            self.going.insert(id.id().to_owned(), step);
        }
    }

    /// Takes in images that were made and not named: whoever made them was killed.
    pub(super) fn unfinished(&mut self) -> BTreeMap<&'a str, u32> {
        let mut going = BTreeMap::new();
        let stock = self.stock;
        for Unfinished { image, mark, tag } in unfinished(&stock.images) {
            let mut users = stock.users.iter();
            if !self.is_meant(&mark.manifest)
                || self.is_young(image.created)
                || users.any(|user| user.image_id == image.id)
            {
                continue;
            }
            let about = About {
                manifest: mark.manifest.clone(),
                project: None,
                created: image.created,
                bytes: self.stock.usage.images.get(&image.id).copied(),
            };
            let work = ClearWork::Unfinished {
                image: OwnedId::new(&image.id, &mark),
                manifest: mark.manifest,
            };
            let step = self.push(resource(ResourceKind::Image, tag), about, LEFT, Vec::new(), work);
            going.insert(image.id.as_str(), step);
        }
        going
    }
}
