//! What is in a harness volume, compared with what an installer left there.

use std::collections::BTreeSet;

/// A container of somebody else's that mounts a harness volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUser {
    /// The engine's id.
    pub id: String,
    /// Its name on the engine.
    pub name: String,
    /// The command that tells whether it is at work.
    pub busy: Option<Vec<String>>,
}

/// What was found in a harness volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// What is not as it was installed, in the order of members and paths.
    pub damage: Vec<Damage>,
    /// The members that have to be made anew whatever is recorded of them, by the directories they are in.
    pub anew: BTreeSet<String>,
    /// The directories, by their paths in the volume, that an installer could not write to.
    pub reclaim: BTreeSet<String>,
    /// How many files there are.
    pub files: u64,
    /// How large they are together, in bytes.
    pub bytes: u64,
}

/// Something in a harness volume that is not as it was installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The member that it belongs to; `None`: to the set as a whole.
    pub member: Option<String>,
    /// Where it is, as seen from there.
    pub path: String,
    /// What it is: `sha256:…`, `mode 777`, `link to ../x`, `directory`; `None`: gone.
    pub from: Option<String>,
    /// What it should be; `None`: not there.
    pub to: Option<String>,
}

impl Content {
    /// Says whether everything is as it was installed.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }
}
