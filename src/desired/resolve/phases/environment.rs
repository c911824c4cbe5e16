//! The environment that a command of a phase has to itself.

use std::collections::BTreeMap;

use super::reading::Reading;
use crate::manifest::environment::EnvValue;
use crate::manifest::phases::PhaseCommand;
use crate::spec::Secrets;

impl Reading<'_> {
    /// Returns what a command is given: what anybody may see, and secrets.
    pub(super) fn environment(
        &mut self,
        field: &str,
        command: &PhaseCommand,
    ) -> (BTreeMap<String, String>, Secrets) {
        let literal = command.env.0.iter().filter_map(|(name, value)| match value {
            EnvValue::Literal(text) => Some((name.as_str().to_owned(), text.clone())),
            EnvValue::FromEnv { .. } | EnvValue::FromFile { .. } | EnvValue::FromCommand { .. } => None,
        });
        let mut secrets = Secrets::default();
        let whole = format!("{}.phases.{field}", self.stage);
        for (variable, found) in self.facts.exposed.get(&whole).into_iter().flatten() {
            let value = match found {
                Ok(value) => value.clone(),
                Err(reason) => {
                    self.lacks.insert(variable.clone(), reason.clone());
                    None
                }
            };
            secrets.insert(variable, value);
        }
        (literal.collect(), secrets)
    }
}
