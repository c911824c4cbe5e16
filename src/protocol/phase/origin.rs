//! What a phase is made on, and who has the name of its container: still what was planned, and ours.

use super::{At, DoPhase};
use crate::call::Answer;
use crate::label::{self, Kind, Mark, OwnedId};
use crate::protocol::unexpected;
use crate::report::Failure;

impl DoPhase {
    /// Takes in what an image is that this is made on.
    pub(super) fn seen(&mut self, index: usize, answer: Answer) -> At {
        let (Some(ancestor), Answer::Image(image)) = (self.work.on.get(index), answer) else {
            return At::Failed(unexpected("an image"));
        };
        let mark = Mark::read(&image.image.labels);
        if let Some(key) = &ancestor.key
            && mark.is_none_or(|mark| mark.key != *key)
        {
            return self.fail(Failure::new(changed(&ancestor.reference)));
        }
        self.work.labels.insert(ancestor.label.to_owned(), image.image.id);
        self.look(index + 1)
    }

    /// Takes in what it is made on.
    pub(super) fn began(&mut self, answer: Answer) -> At {
        let Answer::Image(image) = answer else {
            return At::Failed(unexpected("an image"));
        };
        let mark = Mark::read(&image.image.labels);
        // The last snapshot is known by the key of its stage, and by its own besides.
        let keys = image.image.labels.iter();
        let hashes = keys
            .filter(|(name, _)| label::is_phase_hash(name))
            .map(|(_, key)| key);
        let is_it = |key: &crate::key::Key| {
            mark.as_ref().is_some_and(|mark| mark.key == *key)
                || hashes.clone().any(|hash| hash == key.as_str())
        };
        if self.work.from_key.as_ref().is_some_and(|key| !is_it(key)) {
            return self.fail(Failure::new(changed(&self.work.from)));
        }
        self.from = image.image.id;
        self.config = image.config;
        self.recall();
        self.fetching(0)
    }

    /// Says who has the name of the container.
    pub(super) fn leftover(&self, answer: Answer) -> At {
        let Answer::Container(reply) = answer else {
            return At::Failed(unexpected("a container"));
        };
        match mine(&reply, &self.work.job) {
            Some(owned) => At::Clear(owned),
            None => self.fail(Failure::new(format!(
                "a container that is not of this manifest is called {}; it was left alone",
                self.work.job_name
            ))),
        }
    }
}

fn changed(image: &str) -> String {
    format!("{image} is not what was planned any more; nothing was built")
}

/// Returns the proof for a job of the same owner.
pub(super) fn mine(reply: &crate::call::ContainerReply, job: &label::Labels) -> Option<OwnedId> {
    let mark = Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Job)?;
    let ours =
        Some(&mark.manifest) == job.get(label::MANIFEST) && mark.project.as_ref() == job.get(label::PROJECT);
    ours.then(|| OwnedId::new(&reply.id, &mark))
}
