//! What is wrong with phases that no phase can see alone.

use std::collections::BTreeSet;

use super::reading::{ROOT, Reading};
use super::words::is_account;
use crate::manifest::phase::PhaseName;
use crate::manifest::stage::StageName;
use crate::manifest::suggest;

impl Reading<'_> {
    /// Looks at what no phase can see alone.
    pub fn whole(&mut self) {
        let written = self.written;
        match (self.stage, &written.base, &written.dockerfile) {
            (StageName::Foundation, None, None) => {
                self.wrong(
                    "base",
                    "phases start from an image: `base: { image: debian:bookworm-slim }`",
                );
            }
            (StageName::Foundation, Some(_), Some(_)) => {
                self.wrong(
                    "base",
                    "phases start from an image or from a Dockerfile, and here are both",
                );
            }
            (StageName::Base | StageName::Extension, Some(_), _) => {
                let stage = self.stage;
                self.wrong(
                    "base",
                    format!("the phases of the {stage} start from the stage before it"),
                );
            }
            (StageName::Foundation, Some(_), None)
            | (StageName::Foundation, None, Some(_))
            | (StageName::Base | StageName::Extension, None, _) => {}
        }
        for (name, hooks) in &written.hooks {
            let field = format!("hooks.{name}");
            match PhaseName::parse(name) {
                None => {
                    let known = PhaseName::ALL.into_iter().map(PhaseName::as_str);
                    let near = suggest::nearest(name, known.clone());
                    let hint = near.map_or_else(
                        || format!("phases are {}", known.collect::<Vec<_>>().join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.wrong(&field, format!("`{name}` is no phase; {hint}"));
                }
                Some(PhaseName::Dockerfile | PhaseName::Base) if !hooks.before.is_empty() => {
                    self.wrong(
                        &field,
                        "before the base there is nothing that a command could run in",
                    );
                }
                Some(_) => {}
            }
        }
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for (index, user) in written.users.iter().enumerate() {
            let field = format!("users.{index}");
            if !is_account(&user.name) {
                self.wrong(&field, format!("`{}` is no name of a user", user.name));
            } else if user.name == ROOT || user.uid == Some(0) {
                self.wrong(&field, "root is there already");
            } else if !names.insert(&user.name) {
                self.wrong(&field, format!("there are two users `{}`", user.name));
            } else if user.uid.is_some_and(|uid| !numbers.insert(uid)) {
                self.wrong(&field, "there are two users of this number");
            }
            if let Some(group) = user.groups.iter().find(|group| !is_account(group)) {
                self.wrong(&field, format!("`{group}` is no name of a group"));
            }
            for path in user.shell.iter().chain(&user.home) {
                if !path.starts_with('/') || path.contains([':', '\n', '\0']) {
                    self.wrong(&field, format!("`{path}` is not an absolute path"));
                }
            }
        }
    }
}
