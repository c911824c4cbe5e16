//! [`Notice`]: what an engine says about itself without being asked.

use futures_util::stream::BoxStream;

use super::EngineError;

/// Something that happened on the engine. It says where to look, never what is there: notices get lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A container of the owner came, changed or went.
    Container {
        /// Its id.
        id: String,
    },
    /// A process that somebody had started in a container of the owner ended.
    SessionEnded {
        /// The id of the container.
        id: String,
    },
    /// A network came or went, or a container was attached or detached.
    Network {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// The id of the container that was attached or detached.
        container: Option<String>,
    },
    /// A volume came or went.
    Volume {
        /// Its name.
        name: String,
    },
    /// An image came or went, or one of its tags.
    Image {
        /// Its id, or a reference of it.
        id: String,
        /// The reference, where there is one.
        name: String,
    },
}

/// Notices as they come. The end of the stream, or an error in it, means that whatever happens from then on is unseen.
pub type Notices = BoxStream<'static, Result<Notice, EngineError>>;
