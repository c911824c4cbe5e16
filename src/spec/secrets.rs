//! [`Secrets`]: variables of a container whose values nobody may see.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::{Class, Difference, Texts};
use crate::secret::{REDACTED, Secret};

/// Variables with secrets, by name. Only the names are ever written down, so values are in no key and no label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Option<Secret>>);

impl Secrets {
    /// Adds a variable; no value is one that this host cannot know.
    pub fn insert(&mut self, name: &str, value: Option<Secret>) {
        self.0.insert(name.to_owned(), value);
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether a variable is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the variables whose values are known.
    pub fn known(&self) -> impl Iterator<Item = (&str, &Secret)> {
        let variables = self.0.iter();
        variables.filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)))
    }

    /// Returns what differs from these to others, given the variables that are no secrets on either side. What is
    /// not known does not differ.
    pub(super) fn differences(&self, to: &Self, from_env: &Texts<'_>, to_env: &Texts<'_>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut differs = |name: &str, from: Value, to: Value| {
            differences.push(Difference {
                field: format!("env.{name}"),
                from,
                to,
                class: Class::Create,
            });
        };
        for (name, value) in &self.0 {
            match (value, to.0.get(name)) {
                (Some(before), Some(Some(after))) if before != after => {
                    differs(name, json!(REDACTED), json!(REDACTED));
                }
                (_, Some(_)) => {}
                (_, None) => differs(name, json!(REDACTED), to_env.value(name)),
            }
        }
        for (name, value) in &to.0 {
            if value.is_some() && !self.0.contains_key(name) {
                differs(name, from_env.value(name), json!(REDACTED));
            }
        }
        differences
    }
}

impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.keys())
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(Self(names.into_iter().map(|name| (name, None)).collect()))
    }
}
