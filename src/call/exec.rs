//! What is asked for when a command is run in a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::secret::Secret;

/// A command to run in a running container besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Id or name of the container.
    pub container: String,
    /// Its words.
    pub words: Vec<String>,
    /// Who runs it; `None` is the container's user.
    pub user: Option<String>,
    /// Where it runs; `None` is the container's working directory.
    pub workdir: Option<String>,
    /// Environment besides the container's.
    pub env: BTreeMap<String, String>,
    /// Environment that nobody may see.
    pub secrets: Arc<BTreeMap<String, Secret>>,
}
