//! What is asked for when a command is run in a container.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;

/// A command to run in a running container besides its own.
#[derive(Clone, Default, PartialEq, Eq)]
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

/// Names variables without their values: the address of a proxy may have a password in it.
impl fmt::Debug for Exec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            container,
            words,
            user,
            workdir,
            env,
            secrets,
        } = self;
        formatter
            .debug_struct("Exec")
            .field("container", container)
            .field("words", words)
            .field("user", user)
            .field("workdir", workdir)
            .field("env", &env.keys().collect::<BTreeSet<_>>())
            .field("secrets", &secrets.keys().collect::<BTreeSet<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_variables_have_in_them_is_told_nobody() {
        let exec = Exec {
            env: [("HTTP_PROXY".to_owned(), "http://me:password@proxy".to_owned())].into(),
            ..Exec::default()
        };
        let told = format!("{exec:?}");
        assert!(
            told.contains("HTTP_PROXY") && !told.contains("password"),
            "{told}"
        );
    }
}
