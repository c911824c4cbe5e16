//! A phase that is begun anew, because nobody knows what became of a command in it.

use super::record::Record;
use super::{At, DoPhase, Places};

/// How often that is done.
const AGAIN: u32 = 2;

impl DoPhase {
    /// Begins anew in a fresh container: what a command did that was not heard to its end cannot be told.
    pub(super) fn afresh(&mut self) -> Option<At> {
        if self.again >= AGAIN {
            return None;
        }
        let container = self.container.take()?;
        self.again += 1;
        self.started = false;
        self.act = 0;
        self.users = None;
        self.places = Places::default();
        self.record = Record::default();
        self.unsent.clear();
        Some(At::Clear(container))
    }
}
