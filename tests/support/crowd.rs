//! Manifests of more containers than anybody writes: one is written, and stands for all of them.

use std::sync::Arc;

use aishell::apply::{Silent, Stop};
use aishell::engine::memory::MemoryEngine;
use aishell::plan::Consent;
use aishell::prepare::Prepared;
use aishell::reconcile::{Look, Subject, look, reconcile};
use aishell::report::Report;
use serde_json::Value;

use super::world::{run, wish};

/// Many containers that are written alike.
pub struct Crowd(Prepared);

/// Returns a manifest of so many containers with these fields.
pub fn crowd(count: usize, fields: Value) -> Crowd {
    let mut prepared = Prepared::clone(&wish().container("c", fields).prepared());
    let containers = &mut prepared.loaded.manifest.containers;
    let (_, one) = containers.pop_first().expect("one container");
    for index in 0..count {
        let name = format!("c{index}").parse().expect("a name");
        containers.insert(name, one.clone());
    }
    Crowd(prepared)
}

impl Crowd {
    fn subject(&self) -> Subject<'_> {
        Subject {
            intent: &self.0,
            consent: Consent::default(),
        }
    }

    /// Looks, and writes nothing.
    pub fn look(&self, engine: &MemoryEngine) -> Look {
        run(look(engine, &self.subject())).expect("the engine answers")
    }

    /// Makes one pass.
    pub fn pass(&self, engine: &MemoryEngine) -> Report {
        let (listener, stop) = (Arc::new(Silent), Stop::never());
        run(reconcile(engine, &self.subject(), &listener, &stop)).expect("the engine answers")
    }
}
