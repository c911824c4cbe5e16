//! The image of a stage: built on what was planned, named by its key, and then by its courtesy tag.
//!
//! 0. If somebody else made the same, give that the name instead.
//! 1. Look at every image it is made on: its labels say which they were, by id, and their names may have been given
//!    to something else since the plan was made.
//! 2. Pull the images it starts from, or look whether they are there; what they have a build do has to be known by now.
//! 3. Make those that do so once more without that: it is written into the Dockerfile.
//! 4. Build, and remove the images of 3.
//! 5. Give it its names.

use jiff::Timestamp;

use self::bare::MakeBare;
use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Build, Call};
use crate::desired::Bases;
use crate::dockerfile::{BaseImage, starts};
use crate::engine::EngineError;
use crate::label::{Mark, PROVEN, SCHEMA};
use crate::manifest::place::Place;
use crate::observed::ImageReply;
use crate::report::Failure;
use crate::step::{Ancestor, Bare};

mod bare;

/// Makes the image of a stage.
pub(super) struct MakeImage {
    build: Build,
    alias: String,
    making: String,
    on: Vec<Ancestor>,
    bases: Bases,
    bare: Vec<Bare>,
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
    /// Pulls that.
    Pull(usize),
    /// Looks at it once it is pulled.
    Pulled(usize),
    /// Makes the one of this number without what it has a build do.
    Bare(usize, Box<MakeBare>),
    /// Builds; these images were pulled for it.
    Build(Vec<String>),
    /// Pulls one more that it starts from, at this line: a builder asks no credential helper.
    Fetch(Vec<String>, String, Option<u32>),
    /// Removes the one of this number that was made for the build, whichever way that ended.
    Clear(usize, Result<String, Failure>),
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
            bare: Vec::new(),
            at,
        }
    }

    /// Sees to the images it starts from before it is built.
    pub(super) fn after(mut self, bases: &Bases) -> Self {
        self.bases = bases.clone();
        self
    }

    /// Makes images that it starts from without what they have it do.
    pub(super) fn without_triggers(mut self, bare: &[Bare]) -> Self {
        self.bare = bare.to_vec();
        for trigger in &mut self.build.triggers {
            let made = bare.iter().find(|bare| bare.image == trigger.image);
            trigger.bare = made.map(|bare| bare.making.clone());
        }
        self
    }

    /// Returns the images to see to before the build.
    fn bases(&self) -> &[BaseImage] {
        match &self.bases {
            Bases::Builders => &[],
            Bases::Missing(images) | Bases::Pulled(images) | Bases::Present(images) => images,
        }
    }

    /// Returns what comes once the images before this number were seen to.
    fn base(&self, index: usize) -> At {
        if index < self.bases().len() {
            At::Base(index)
        } else {
            self.strip(0)
        }
    }

    /// Returns what comes once the images before this number were made without what they have the build do.
    fn strip(&self, index: usize) -> At {
        match self.bare.get(index) {
            Some(bare) => At::Bare(index, Box::new(MakeBare::new(bare.clone()))),
            None => At::Build(Vec::new()),
        }
    }

    /// Returns what comes once those before this number were removed.
    fn clear(&self, index: usize, ended: Result<String, Failure>) -> At {
        match ended {
            ended if index < self.bare.len() => At::Clear(index, ended),
            Ok(image) => At::Name(self.naming(&image).made_as(&self.making)),
            Err(failure) => At::Failed(failure),
        }
    }

    /// Takes in what an image has the build do: other files of the context may count than those that the plan knew of.
    fn known(&self, index: usize, image: &ImageReply) -> At {
        let Some(BaseImage { image: name, line }) = self.bases().get(index) else {
            return At::Failed(unexpected("an image"));
        };
        let target = self.build.target.as_deref();
        let starts = starts(&self.build.dockerfile, &self.build.args, target);
        let said = self.build.triggers.iter().find(|trigger| trigger.image == *name);
        let said = said.map_or("", |trigger| trigger.instructions.as_str());
        let says = image.config.on_build.iter().flat_map(|text| text.lines());
        if starts.iter().all(|start| start.image != *name) || says.eq(said.lines()) {
            return self.base(index + 1);
        }
        let message = format!(
            "{name} has the build do something that was not known before it was pulled (ONBUILD); nothing was built"
        );
        let failure = Failure::new(message).hint("the same command again takes it into account");
        At::Failed(failure.at(self.place(Some(*line))))
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
                (Some(base), Bases::Missing(_) | Bases::Present(_)) => call(Call::InspectImage {
                    image: base.image.clone(),
                }),
                (Some(base), Bases::Pulled(_) | Bases::Builders) => call(Call::PullImage {
                    reference: base.image.clone(),
                }),
                (None, _) => Next::Failed(unexpected("an image")),
            },
            At::Pull(index) => match self.bases().get(*index) {
                Some(base) => call(Call::PullImage {
                    reference: base.image.clone(),
                }),
                None => Next::Failed(unexpected("an image")),
            },
            At::Pulled(index) => match self.bases().get(*index) {
                Some(base) => call(Call::InspectImage {
                    image: base.image.clone(),
                }),
                None => Next::Failed(unexpected("an image")),
            },
            At::Bare(_, bare) => bare.next(),
            At::Clear(index, _) => match self.bare.get(*index) {
                Some(bare) => call(removal(&bare.making)),
                None => Next::Failed(unexpected("an image")),
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

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Sweep);
        self.at = match (at, result) {
            // Whoever made it has removed it.
            (At::Share(_), Err(EngineError::NotFound { .. })) => self.look(0),
            (At::Sweep, Err(EngineError::NotFound { .. })) => self.base(0),
            (At::Base(index) | At::Pulled(index), Ok(Answer::Image(image))) => self.known(index, &image),
            (At::Base(index) | At::Pull(index), Ok(_)) => At::Pulled(index),
            (At::Base(index), Err(EngineError::NotFound { .. }))
                if matches!(self.bases, Bases::Missing(_)) =>
            {
                At::Pull(index)
            }
            (At::Base(index) | At::Pull(index) | At::Pulled(index), Err(error)) => self.without(index, error),
            (At::Bare(index, mut bare), result) => {
                bare.heard(result, now);
                match bare.next() {
                    Next::Done => self.strip(index + 1),
                    Next::Failed(failure) => self.clear(0, Err(failure)),
                    Next::Call(_) | Next::Wait(_) | Next::Fetch(_) | Next::Busy(_) | Next::Used(_) => {
                        At::Bare(index, bare)
                    }
                }
            }
            (At::Clear(index, ended), _) => self.clear(index + 1, ended),
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
                let failure = self.failure(EngineError::Absent { image, line, message });
                self.clear(0, Err(failure))
            }
            (At::Failed(failure), _) => At::Failed(failure),
            (At::Build(_) | At::Fetch(..), Err(error)) => self.clear(0, Err(self.failure(error))),
            (_, Err(error)) => At::Failed(self.failure(error)),
            (At::Share(naming), Ok(_)) => At::Share(naming.called()),
            (At::Name(naming), Ok(_)) => At::Name(naming.called()),
            (At::Look(index), Ok(answer)) => self.seen(index, answer),
            (At::Sweep, Ok(_)) => self.base(0),
            (At::Build(_), Ok(Answer::Id(image))) => self.clear(0, Ok(image)),
            (At::Build(_), Ok(_)) => self.clear(0, Err(unexpected("an image"))),
            (At::Pulled(_), Ok(_)) => At::Failed(unexpected("an image")),
        };
    }

    fn waited(&mut self) {
        if let At::Bare(_, bare) = &mut self.at {
            bare.waited();
        }
    }
}
