//! Where a package manager can work: an image that may bring one, and the built-in foundation for when it does not.
//!
//! Whether an image brings npm shows when a job is run on it, and no earlier. A job that finds none ends with
//! [`NO_NPM`] before it has done anything; its protocol removes it, lets a [`Fallback`] make the built-in foundation,
//! and runs the same job on that.

use super::{Next, call, failure, unexpected};
use crate::call::{Answer, Build, Call};
use crate::engine::EngineError;
use crate::label::Mark;
use crate::report::Failure;

/// What a job ends with on an image without npm.
pub(super) const NO_NPM: i64 = 64;
/// What a shell, or the init in its place, ends with where a program cannot be run or is not there.
const UNRUNNABLE: [i64; 2] = [126, 127];

/// Says whether a job that ended with this code could do its work on an image that brings more.
pub(super) fn lacks_something(code: i64) -> bool {
    code == NO_NPM || UNRUNNABLE.contains(&code)
}

/// Says why there was anything to build at all.
fn because(failure: Failure) -> Failure {
    let message = format!(
        "the image has no npm, and the built-in foundation to use instead cannot be built: {}",
        failure.message
    );
    Failure { message, ..failure }
}

/// Makes the image to fall back on, unless it is there.
pub(super) struct Fallback {
    build: Build,
    at: At,
}

enum At {
    Look,
    Build,
    Ready,
    Failed(Failure),
}

impl Fallback {
    pub(super) fn new(build: Build) -> Self {
        Self { build, at: At::Look }
    }

    /// Returns the image, once it is there.
    pub(super) fn ready(&self) -> Option<&str> {
        match self.at {
            At::Ready => Some(&self.build.tag),
            At::Look | At::Build | At::Failed(_) => None,
        }
    }

    /// Returns what happens next; [`Next::Done`] means that it is ready.
    pub(super) fn next(&self) -> Next {
        match &self.at {
            At::Look => call(Call::InspectImage {
                image: self.build.tag.clone(),
            }),
            At::Build => call(Call::BuildImage(Box::new(self.build.clone()))),
            At::Ready => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    pub(super) fn heard(&mut self, result: Result<Answer, EngineError>) {
        let at = std::mem::replace(&mut self.at, At::Build);
        self.at = match (at, result) {
            (At::Look, Ok(Answer::Image(image))) => {
                let wanted = self.build.labels.get(crate::label::KEY).map(String::as_str);
                let mark = Mark::read(&image.image.labels);
                if mark.is_some_and(|mark| Some(mark.key.as_str()) == wanted) {
                    At::Ready
                } else {
                    At::Build
                }
            }
            (At::Look, Err(EngineError::NotFound { .. })) => At::Build,
            (At::Build, Ok(Answer::Id(_))) => At::Ready,
            (_, Err(error)) => At::Failed(because(failure(error))),
            (_, Ok(_)) => At::Failed(unexpected("an image")),
        };
    }
}
