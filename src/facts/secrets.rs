//! Secrets that are read before anything is planned: those of containers themselves, and of commands of phases.

use std::collections::BTreeMap;

use super::Facts;
use crate::host::Host;
use crate::manifest::environment::EnvValue;
use crate::manifest::load::Loaded;
use crate::manifest::stage::{Stage, StageName};
use crate::name::VariableName;
use crate::secret::Secret;
use crate::secret::search::SHORTEST;

/// Secrets by variable, or why they cannot be had; none where one is missing and may be.
type Found = BTreeMap<String, Result<Option<Secret>, String>>;

/// Reads secrets, by container or by the field of a command. Commands of the host are not run: what they print is for
/// sessions alone.
pub(super) fn read(loaded: &Loaded, facts: &Facts, host: &Host) -> BTreeMap<String, Found> {
    let mut all = BTreeMap::new();
    let mut add = |name: String, found: Found| {
        if !found.is_empty() {
            all.insert(name, found);
        }
    };
    for (name, container) in &loaded.manifest.containers {
        let values = container.env.0.iter().filter(|(_, value)| value.is_exposed());
        add(name.as_str().to_owned(), of(values, facts, host));
    }
    for stage in StageName::ALL {
        let Some(Stage::Phases(phases)) = loaded.manifest.stage(stage) else {
            continue;
        };
        for (field, command) in phases.commands() {
            let mut found = of(command.env.0.iter(), facts, host);
            for value in found.values_mut() {
                let short = |secret: &Secret| secret.expose().len() < SHORTEST;
                if matches!(value, Ok(Some(secret)) if short(secret)) {
                    *value = Err(format!(
                        "it is shorter than {SHORTEST} characters, and could not be told from what is in images anyway"
                    ));
                }
            }
            add(format!("{stage}.phases.{field}"), found);
        }
    }
    all
}

fn of<'v>(
    values: impl Iterator<Item = (&'v VariableName, &'v EnvValue)>,
    facts: &Facts,
    host: &Host,
) -> Found {
    values
        .filter_map(|(variable, value)| {
            let variable = variable.as_str();
            let found = facts.source(value)?.read(variable, host)?;
            Some((variable.to_owned(), found.map_err(|error| error.to_string())))
        })
        .collect()
}
