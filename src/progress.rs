//! [`Progress`]: how long work tells what it is doing, without knowing who listens.

use std::sync::Arc;

/// Something that happened during long work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A milestone or a line of output.
    Line(String),
    /// An amount of work, in the unit of the work (bytes for transfers, steps for builds).
    Amount {
        /// What is counted, such as a layer.
        of: String,
        /// Done so far.
        done: u64,
        /// All there is to do, where known.
        total: Option<u64>,
    },
}

/// Where events go. Cheap to clone; the default drops everything.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Progress {
    /// Sends every event to a function, which must not block.
    pub fn to(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Tells of a milestone or a line of output.
    pub fn line(&self, text: impl Into<String>) {
        if let Some(sink) = &self.0 {
            sink(Event::Line(text.into()));
        }
    }

    /// Tells how far work has come.
    pub fn amount(&self, of: impl Into<String>, done: u64, total: Option<u64>) {
        if let Some(sink) = &self.0 {
            sink(Event::Amount {
                of: of.into(),
                done,
                total,
            });
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Progress")
    }
}
