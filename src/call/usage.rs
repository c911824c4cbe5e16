//! How much room things take on an engine.

use std::collections::BTreeMap;

/// How much room things take on an engine, in bytes, where it can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What an image has that no other image has, by id.
    pub images: BTreeMap<String, u64>,
    /// The content of a volume, by name.
    pub volumes: BTreeMap<String, u64>,
    /// A container's own layer, by id.
    pub containers: BTreeMap<String, u64>,
}
