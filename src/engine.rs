//! The seam to the engine: one verb, one request.
//!
//! [`Engine`] is implemented by [`docker::DockerEngine`] for the real thing and by [`memory::MemoryEngine`] for
//! laws and documentation. Whatever takes several requests is a protocol above this seam, so that the same code runs
//! on both and can be cut between any two requests.

use std::future::Future;

use crate::call::{Answer, Call};
use crate::label::Owner;
use crate::progress::Progress;

pub mod docker;
pub mod kept;
pub mod memory;
pub mod notice;
pub mod sessions;

pub use kept::{Kept, Lifeline, keep};
pub use notice::{Notice, Notices};

/// A place where calls are carried out.
pub trait Engine: Send + Sync {
    /// Carries out one call.
    ///
    /// # Guarantees
    /// One call is one request to the engine; nothing is retried here.
    ///
    /// # Errors
    /// [`EngineError`] says what the caller may do about it. After [`EngineError::Unreachable`] and
    /// [`EngineError::Failed`] it is unknown whether a write took effect.
    fn call(
        &self,
        call: &Call,
        progress: &Progress,
    ) -> impl Future<Output = Result<Answer, EngineError>> + Send;

    /// Takes hold of the standard input of a container that was created to end with it.
    ///
    /// # Guarantees
    /// The container ends when what is returned is dropped, and when this process ends, however that comes about.
    ///
    /// # Errors
    /// As [`Engine::call`].
    fn attach(&self, container: &str) -> impl Future<Output = Result<Lifeline, EngineError>> + Send;

    /// Returns a random identifier for something that is about to be created; nothing is asked for it.
    ///
    /// A creation whose labels have one already keeps it, so that whoever lost the answer can tell what it made.
    ///
    /// # Errors
    /// There are no random numbers here.
    fn identifier(&self) -> Result<String, EngineError>;

    /// Asks to be told what happens to what an owner has, and to what that may need.
    ///
    /// # Guarantees
    /// Whatever happens after the answer is noticed, unless it gets lost: engines drop notices in silence when there
    /// are many. So subscribe first, then list, and list again from time to time.
    ///
    /// # Errors
    /// The engine cannot be asked.
    fn subscribe(&self, owner: &Owner) -> impl Future<Output = Result<Notices, EngineError>> + Send;
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer, or the connection broke.
    #[error("the engine at {host} cannot be reached: {message}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// What the system said.
        message: String,
        /// Whether the socket refused us for want of permission.
        denied: bool,
        /// Whether the engine may have heard the request all the same.
        heard: bool,
    },
    /// No such object.
    #[error("{message}")]
    NotFound {
        /// What the engine said.
        message: String,
    },
    /// A name is taken, or the object is in a state that forbids it.
    #[error("{message}")]
    Conflict {
        /// What the engine said.
        message: String,
    },
    /// The engine refuses the request as it is; asking again will not help.
    #[error("{message}")]
    Refused {
        /// What the engine said.
        message: String,
    },
    /// The engine failed; asking again may help.
    #[error("{message}")]
    Failed {
        /// What the engine said.
        message: String,
    },
    /// Long work (pull, build) ended in failure.
    #[error("{message}")]
    Work {
        /// What the engine said.
        message: String,
        /// The line of the Dockerfile, counted from 1, where it is one's.
        line: Option<u32>,
        /// The last lines of its output.
        log: Vec<String>,
    },
    /// A build starts from an image that is not there and that no registry gives.
    #[error("it starts from {image}, which is not on the engine and cannot be pulled: {message}")]
    Absent {
        /// The image.
        image: String,
        /// The line of the Dockerfile that names it, counted from 1.
        line: Option<u32>,
        /// What the engine said.
        message: String,
    },
    /// The answer was not of the kind that the call has.
    #[error("the engine answered something else than was asked ({call})")]
    Unexpected {
        /// The call.
        call: String,
    },
}

impl EngineError {
    /// Says whether the same call may be sent again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { denied, .. } => !denied,
            Self::Failed { .. } => true,
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Refused { .. }
            | Self::Work { .. }
            | Self::Absent { .. }
            | Self::Unexpected { .. } => false,
        }
    }
}
