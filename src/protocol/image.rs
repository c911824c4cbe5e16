//! The image of a stage: built on what was planned, named by its key, and then by its courtesy tag.
//!
//! 0. If somebody else made the same, give that the name instead.
//! 1. Look at every image it is made on: its labels say which they were, by id, and their names may have been given
//!    to something else since the plan was made.
//! 2. Build.
//! 3. Move the courtesy tag.

use jiff::Timestamp;

use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Build, Call};
use crate::engine::EngineError;
use crate::label::Mark;
use crate::report::Failure;
use crate::step::Ancestor;

/// Makes the image of a stage.
pub(super) struct MakeImage {
    build: Build,
    alias: String,
    on: Vec<Ancestor>,
    at: At,
}

enum At {
    /// Names an image that was made of the same, by its id.
    Share(String),
    /// Looks at the image of this number, and builds when there is none.
    Look(usize),
    Tag,
    Done,
    Failed(Failure),
}

impl MakeImage {
    pub(super) fn new(build: Build, alias: String, on: Vec<Ancestor>) -> Self {
        Self {
            build,
            alias,
            on,
            at: At::Look(0),
        }
    }

    /// Names the image of an id instead, while it is there.
    pub(super) fn unless(mut self, made: Option<&str>) -> Self {
        if let Some(made) = made {
            self.at = At::Share(made.to_owned());
        }
        self
    }

    /// Takes in what an image is that the new one is made on.
    fn seen(&mut self, index: usize, answer: Answer) -> At {
        let (Some(ancestor), Answer::Image(image)) = (self.on.get(index), answer) else {
            return At::Failed(unexpected("an image"));
        };
        let mark = Mark::read(&image.image.labels);
        if let Some(key) = &ancestor.key
            && mark.is_none_or(|mark| mark.key != *key)
        {
            let message = format!(
                "{} is not what was planned any more; nothing was built",
                ancestor.reference
            );
            return At::Failed(Failure::new(message));
        }
        self.build
            .labels
            .insert(ancestor.label.to_owned(), image.image.id);
        At::Look(index + 1)
    }
}

impl Protocol for MakeImage {
    fn next(&self) -> Next {
        match &self.at {
            At::Share(image) => call(Call::TagImage {
                image: image.clone(),
                tag: self.build.tag.clone(),
            }),
            At::Look(index) => match self.on.get(*index) {
                Some(ancestor) => call(Call::InspectImage {
                    image: ancestor.reference.clone(),
                }),
                None => call(Call::BuildImage(Box::new(self.build.clone()))),
            },
            At::Tag => call(Call::TagImage {
                image: self.build.tag.clone(),
                tag: self.alias.clone(),
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        self.at = match (at, result) {
            (At::Share(_), Ok(_)) => At::Tag,
            // Whoever made it has removed it.
            (At::Share(_), Err(EngineError::NotFound { .. })) => At::Look(0),
            (_, Err(error)) => At::Failed(failure(error)),
            (At::Look(index), Ok(answer)) if index < self.on.len() => self.seen(index, answer),
            (At::Look(_), Ok(Answer::Id(_))) => At::Tag,
            (At::Tag, Ok(_)) => At::Done,
            (_, Ok(_)) => At::Failed(unexpected("an image")),
        };
    }
}
