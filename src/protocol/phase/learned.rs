//! What phases know of the images that they left: nothing in an image changes, so that a phase that is done on one in
//! which nobody ran a process need not ask for what the phase before has seen and made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DoPhase;
use super::place::Places;
use super::users::Users;
use crate::desired::phase::Act;

/// What is known of images, by id.
#[derive(Clone, Debug, Default)]
pub struct Learned(Arc<Mutex<Known>>);

type Known = BTreeMap<String, (Option<Users>, Places)>;

impl Learned {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DoPhase {
    /// Takes over what is known of the image that this is made on.
    pub(super) fn recall(&mut self) {
        let acts = &self.work.acts;
        // What is verified is looked at, whoever has made it.
        if acts.iter().any(|act| matches!(act, Act::Verify(_))) {
            return;
        }
        // One phase goes on from an image, as a rule, and what is known of large trees is large.
        let Some((users, places)) = self.learned.known().remove(&self.from) else {
            return;
        };
        let adds = acts.iter().any(|act| matches!(act, Act::Users(_)));
        self.users = users.filter(|users| users.is_whole || !adds);
        self.places = places;
    }

    /// Leaves what is known of an image that was just made to whoever goes on from it.
    pub(super) fn pass_on(&mut self, image: &str) {
        if !self.started {
            let known = (self.users.take(), std::mem::take(&mut self.places));
            self.learned.known().insert(image.to_owned(), known);
        }
    }
}
