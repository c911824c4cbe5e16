//! The names of an image that was just made, in an order in which none is left of one that is not finished.
//!
//! 1. It is made under a name of its own, from which whatever a killed apply left is removed first.
//! 2. It gets the name that proves that it is the one that was made.
//! 3. The name of 1 goes.
//! 4. It gets the name by which it is looked for, and the courtesy tag.

use crate::call::Call;
use crate::label::proof;

/// The names that an image gets.
#[derive(Clone, Debug)]
pub(super) struct Naming(Vec<Call>);

impl Naming {
    /// Names an image that exists by the names, of which the first is the keyed one.
    pub(super) fn of(image: &str, names: &[&str]) -> Self {
        let tag = |tag: String| Call::TagImage {
            image: image.to_owned(),
            tag,
        };
        let proving = names.first().map(|keyed| tag(proof(keyed, image)));
        let mut calls: Vec<Call> = proving.into_iter().collect();
        calls.extend(names.iter().map(|name| tag((*name).to_owned())));
        calls.reverse();
        Self(calls)
    }

    /// Takes the name away under which the image was made, as soon as it has another one.
    pub(super) fn made_as(mut self, making: &str) -> Self {
        let second = self.0.len().saturating_sub(1);
        self.0.insert(second, removal(making));
        self
    }

    /// Returns the next call.
    pub(super) fn call(&self) -> Option<&Call> {
        self.0.last()
    }

    /// Goes on to the next call.
    pub(super) fn called(mut self) -> Self {
        self.0.pop();
        self
    }
}

/// Returns the call that takes a name away, and the image with it if it has no other.
pub(super) fn removal(name: &str) -> Call {
    Call::RemoveImage {
        image: name.to_owned(),
    }
}
