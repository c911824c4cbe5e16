//! The image of a stage: built on what was planned, named by its key, and then by its courtesy tag.
//!
//! 0. If somebody else made the same, give that the name instead.
//! 1. Look at every image it is made on: its labels say which they were, by id, and their names may have been given
//!    to something else since the plan was made.
//! 2. Pull the images it starts from, or look whether they are there, if the manifest says so.
//! 3. Build.
//! 4. Give it its names.

use jiff::Timestamp;

use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Build, Call};
use crate::desired::Bases;
use crate::dockerfile::BaseImage;
use crate::engine::EngineError;
use crate::label::{Mark, PROVEN, SCHEMA};
use crate::manifest::place::Place;
use crate::report::Failure;
use crate::step::Ancestor;

/// Makes the image of a stage.
pub(super) struct MakeImage {
    build: Build,
    alias: String,
    making: String,
    on: Vec<Ancestor>,
    bases: Bases,
    at: At,
}

enum At {
    /// Names an image that was made of the same.
    Share(Naming),
    /// Looks at the image of this number, and goes on when there is none.
    Look(usize),
    /// Removes what was left of an earlier one.
    Sweep,
    /// Sees to the image of this number that it starts from.
    Base(usize),
    /// Builds; these images were pulled for it.
    Build(Vec<String>),
    /// Pulls one more that it starts from, at this line: a builder asks no credential helper.
    Fetch(Vec<String>, String, Option<u32>),
    Name(Naming),
    Failed(Failure),
}

impl MakeImage {
    pub(super) fn new(mut build: Build, alias: String, making: String, on: Vec<Ancestor>) -> Self {
        build.labels.insert(SCHEMA.to_owned(), PROVEN.to_owned());
        let at = if on.is_empty() { At::Sweep } else { At::Look(0) };
        Self {
            build,
            alias,
            making,
            on,
            bases: Bases::Builders,
            at,
        }
    }

    /// Sees to the images it starts from before it is built.
    pub(super) fn after(mut self, bases: &Bases) -> Self {
        self.bases = bases.clone();
        self
    }

    /// Returns the images to see to before the build.
    fn bases(&self) -> &[BaseImage] {
        match &self.bases {
            Bases::Builders => &[],
            Bases::Pulled(images) | Bases::Present(images) => images,
        }
    }

    /// Returns what comes once the images before this number were seen to.
    fn base(&self, index: usize) -> At {
        if index < self.bases().len() {
            At::Base(index)
        } else {
            At::Build(Vec::new())
        }
    }

    /// Returns why an image that it starts from cannot be had.
    fn without(&self, index: usize, error: EngineError) -> At {
        let Some(BaseImage { image, line }) = self.bases().get(index).cloned() else {
            return At::Failed(unexpected("an image"));
        };
        let line = Some(line);
        let failure = match (&self.bases, error) {
            (Bases::Present(_), EngineError::NotFound { .. }) => {
                let message = format!("{image} is not on the engine and the manifest says `pull: never`");
                let failure = Failure::new(message).hint(format!("docker pull {image}"));
                return At::Failed(failure.at(self.place(line)));
            }
            (_, EngineError::Work { message, .. }) => EngineError::Absent { image, line, message },
            (_, error) => error,
        };
        At::Failed(self.failure(failure))
    }

    /// Names the image of an id instead, while it is there.
    pub(super) fn unless(mut self, made: Option<&str>) -> Self {
        if let Some(made) = made {
            self.at = At::Share(self.naming(made));
        }
        self
    }

    fn naming(&self, image: &str) -> Naming {
        Naming::of(image, &[&self.build.tag, &self.alias])
    }

    /// Returns what an engine's error means, with the line of the Dockerfile that it is about.
    fn failure(&self, error: EngineError) -> Failure {
        let line = match &error {
            EngineError::Work { line, .. } | EngineError::Absent { line, .. } => *line,
            _ => None,
        };
        failure(error).at(self.place(line))
    }

    fn place(&self, line: Option<u32>) -> Option<Place> {
        Some(Place {
            file: self.build.path.clone()?,
            line: line?,
            column: 1,
        })
    }

    /// Returns what comes once the images before this number were looked at.
    fn look(&self, index: usize) -> At {
        if index < self.on.len() {
            At::Look(index)
        } else {
            At::Sweep
        }
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
        self.look(index + 1)
    }
}

impl Protocol for MakeImage {
    fn next(&self) -> Next {
        match &self.at {
            At::Share(naming) | At::Name(naming) => match naming.call() {
                Some(next) => call(next.clone()),
                None => Next::Done,
            },
            At::Look(index) => match self.on.get(*index) {
                Some(ancestor) => call(Call::InspectImage {
                    image: ancestor.reference.clone(),
                }),
                None => Next::Failed(unexpected("an image")),
            },
            At::Sweep => call(removal(&self.making)),
            At::Base(index) => match (self.bases().get(*index), &self.bases) {
                (Some(base), Bases::Present(_)) => call(Call::InspectImage {
                    image: base.image.clone(),
                }),
                (Some(base), Bases::Pulled(_) | Bases::Builders) => call(Call::PullImage {
                    reference: base.image.clone(),
                }),
                (None, _) => Next::Failed(unexpected("an image")),
            },
            At::Fetch(_, reference, _) => call(Call::PullImage {
                reference: reference.clone(),
            }),
            At::Build(_) => call(Call::BuildImage(Box::new(Build {
                tag: self.making.clone(),
                ..self.build.clone()
            }))),
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Sweep);
        self.at = match (at, result) {
            // Whoever made it has removed it.
            (At::Share(_), Err(EngineError::NotFound { .. })) => self.look(0),
            (At::Sweep, Err(EngineError::NotFound { .. })) => self.base(0),
            (At::Base(index), Ok(_)) => self.base(index + 1),
            (At::Base(index), Err(error)) => self.without(index, error),
            (At::Build(fetched), Err(EngineError::Absent { image, line, .. }))
                if !fetched.contains(&image) =>
            {
                At::Fetch(fetched, image, line)
            }
            (At::Fetch(mut fetched, image, _), Ok(_)) => {
                fetched.push(image);
                At::Build(fetched)
            }
            (At::Fetch(_, image, line), Err(EngineError::Work { message, .. })) => {
                At::Failed(self.failure(EngineError::Absent { image, line, message }))
            }
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(self.failure(error)),
            (At::Share(naming), Ok(_)) => At::Share(naming.called()),
            (At::Name(naming), Ok(_)) => At::Name(naming.called()),
            (At::Look(index), Ok(answer)) => self.seen(index, answer),
            (At::Sweep, Ok(_)) => self.base(0),
            (At::Build(_), Ok(Answer::Id(image))) => At::Name(self.naming(&image).made_as(&self.making)),
            (At::Build(_), Ok(_)) => At::Failed(unexpected("an image")),
        };
    }
}
