//! YAML as a tree that knows the file, line and column of every key and value.
//!
//! Merging, checking and typing all work on this tree, which is why a message can always say where.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::place::{Mark, Problem};

/// The deepest nesting a manifest may have.
pub const DEEPEST: usize = 48;
/// The most values a manifest may have once its aliases are followed.
pub const MOST_VALUES: usize = 100_000;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is written.
    pub value: Value,
    /// Where it is written.
    pub mark: Mark,
}

/// What is written at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, with the spelling.
    Bool(bool, String),
    /// A number, with the spelling: `1.10` is a version as well.
    Number(serde_json::Number, String),
    /// Text, quotes removed.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order it was written.
    Map(Vec<Entry>),
}

/// One line of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub mark: Mark,
    /// What it stands for.
    pub value: Node,
}

impl Node {
    /// Reads one YAML document.
    ///
    /// # Errors
    /// The first thing that is not YAML, is written twice, or is larger than a manifest may be.
    pub fn parse(text: &str, file: &Arc<Path>) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEEPEST,
                flow_nesting_limit: DEEPEST,
                max_nodes: MOST_VALUES,
                max_recorded_anchor_events: MOST_VALUES,
                max_documents: 1,
                // Replayed values are counted; a team file may well use one anchor a hundred times.
                enforce_alias_anchor_ratio: false,
            },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_VALUES },
            emit_comments: false,
            strict_booleans: true,
            reject_unsupported_tags: true,
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
            with_snippet: false,
        };
        let draft = serde_saphyr::from_str_with_options::<Draft>(text, options);
        let source = Written { text, file };
        match draft {
            Ok(draft) => Ok(source.node(draft)),
            Err(error) => Err(source.problem(&error)),
        }
    }

    /// Returns the value under a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns the line of a map with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns the value under a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries
                .iter_mut()
                .find(|entry| entry.key == key)
                .map(|entry| &mut entry.value),
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Returns the lines of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) | Value::List(_) => &[],
        }
    }

    /// Returns the items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) | Value::Map(_) => &[],
        }
    }

    /// Returns a scalar as it was written; `None` for null, lists and maps.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Bool(_, text) | Value::Number(_, text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Tells whether nothing is written here.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Names the kind of value, as messages do.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(..) => "true or false",
            Value::Number(..) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Makes text at a place.
    pub fn written(text: impl Into<String>, mark: &Mark) -> Self {
        Self {
            value: Value::Text(text.into()),
            mark: mark.clone(),
        }
    }

    /// Makes a map at a place, with keys at the same place.
    pub fn map(entries: Vec<(&str, Node)>, mark: &Mark) -> Self {
        let entries = entries.into_iter().map(|(key, value)| Entry {
            key: key.to_owned(),
            mark: mark.clone(),
            value,
        });
        Self {
            value: Value::Map(entries.collect()),
            mark: mark.clone(),
        }
    }

    /// Removes every value that is written at one of some marks, or whose key is, and tells whether there was any.
    ///
    /// `touched` gathers the marks of what lost something: of the values, and of the keys they stand under.
    pub fn prune(&mut self, marks: &BTreeSet<Mark>, touched: &mut BTreeSet<Mark>) -> bool {
        let own = self.mark.clone();
        self.prune_below(marks, &own, touched)
    }

    fn prune_below(&mut self, marks: &BTreeSet<Mark>, key: &Mark, touched: &mut BTreeSet<Mark>) -> bool {
        let (before, after, below) = match &mut self.value {
            Value::List(items) => {
                let before = items.len();
                items.retain(|item| !marks.contains(&item.mark));
                let mut below = false;
                for item in items.iter_mut() {
                    below |= item.prune(marks, touched);
                }
                (before, items.len(), below)
            }
            Value::Map(entries) => {
                let before = entries.len();
                entries.retain(|entry| !marks.contains(&entry.mark) && !marks.contains(&entry.value.mark));
                let mut below = false;
                for entry in entries.iter_mut() {
                    below |= entry.value.prune_below(marks, &entry.mark, touched);
                }
                (before, entries.len(), below)
            }
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) => return false,
        };
        if before != after {
            touched.extend([self.mark.clone(), key.clone()]);
        }
        before != after || below
    }

    /// Removes every key whose value is nothing.
    pub fn strip_nulls(&mut self) {
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(Self::strip_nulls),
            Value::Map(entries) => {
                entries.retain(|entry| !entry.value.is_null());
                for entry in entries {
                    entry.value.strip_nulls();
                }
            }
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) => {}
        }
    }
}

/// What serde sees before spellings and files are filled in.
struct Draft(Spanned<Kind>);

enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Draft>),
    Map(Vec<(Spanned<Key>, Draft)>),
}

struct Key(String);

impl<'de> Deserialize<'de> for Draft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(serde_json::Number::from_f64(value).map_or_else(|| Kind::Text(value.to_string()), Kind::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }
}

/// One file's text, to turn locations into marks and spellings.
struct Written<'a> {
    text: &'a str,
    file: &'a Arc<Path>,
}

impl Written<'_> {
    fn node(&self, draft: Draft) -> Node {
        let Draft(Spanned { value, defined, .. }) = draft;
        let mark = self.mark(defined);
        let value = match value {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value, self.spelling(defined, value.to_string())),
            Kind::Number(number) => {
                let spelling = self.spelling(defined, number.to_string());
                Value::Number(number, spelling)
            }
            Kind::Text(text) => Value::Text(text),
            Kind::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Kind::Map(entries) => Value::Map(entries.into_iter().map(|entry| self.entry(entry)).collect()),
        };
        Node { value, mark }
    }

    fn entry(&self, (key, value): (Spanned<Key>, Draft)) -> Entry {
        let Spanned {
            value: Key(key),
            defined,
            ..
        } = key;
        Entry {
            key,
            mark: self.mark(defined),
            value: self.node(value),
        }
    }

    /// Returns the characters a location covers, or `otherwise` when it covers none.
    fn spelling(&self, location: Location, otherwise: String) -> String {
        match self.slice(location) {
            Some(text) if !text.trim().is_empty() => text.trim().to_owned(),
            _ => otherwise,
        }
    }

    fn slice(&self, location: Location) -> Option<&str> {
        let start = usize::try_from(location.span().byte_offset()?).ok()?;
        let length = usize::try_from(location.span().byte_len()?).ok()?;
        self.text.get(start..start.checked_add(length)?)
    }

    fn mark(&self, location: Location) -> Mark {
        let covered = self
            .slice(location)
            .and_then(|text| text.lines().next())
            .map_or(0, |line| line.chars().count());
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Mark {
            file: Arc::clone(self.file),
            line: small(location.line()),
            column: small(location.column()),
            length: u32::try_from(covered).unwrap_or(u32::MAX),
        }
    }

    fn problem(&self, error: &serde_saphyr::Error) -> Problem {
        use serde_saphyr::Error;
        let error = error.without_snippet();
        let mark = error.location().map(|location| self.mark(location));
        let message = match error {
            Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` is written twice"),
            Error::DuplicateMappingKey { .. } => "a key is written twice".to_owned(),
            Error::MultipleDocuments { .. } => {
                "a manifest is one YAML document, and here a second one begins".to_owned()
            }
            Error::Budget { breach, .. } => too_large(breach),
            Error::AliasReplayLimitExceeded { .. } => {
                format!("its aliases stand for more than {MOST_VALUES} values")
            }
            other => plain(&other.to_string()),
        };
        let tab = self.first_tab();
        let mut problem = Problem::new(message);
        if let Some(mark) = &mark {
            problem = problem.at(mark);
        }
        if let (Some(tab), Some(mark)) = (tab, &mark)
            && (tab.line == mark.line || tab.line == mark.line + 1)
        {
            return Problem::new("a tab cannot indent YAML")
                .at(&tab)
                .hint("indent with spaces");
        }
        problem
    }

    /// Returns the first tab that stands in an indentation.
    fn first_tab(&self) -> Option<Mark> {
        let indentation = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        self.text.lines().zip(1..).find_map(|(line, number)| {
            let column = line[..indentation(line)].find('\t')?;
            (!line.trim().is_empty()).then(|| Mark {
                file: Arc::clone(self.file),
                line: number,
                column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
                length: 1,
            })
        })
    }
}

fn too_large(breach: &serde_saphyr::budget::BudgetBreach) -> String {
    use serde_saphyr::budget::BudgetBreach;
    match breach {
        BudgetBreach::Depth { .. } => format!("it is nested more than {DEEPEST} levels deep"),
        BudgetBreach::Nodes { .. } | BudgetBreach::RecordedAnchorEvents { .. } => {
            format!("it stands for more than {MOST_VALUES} values")
        }
        BudgetBreach::Documents { .. } => "a manifest is one YAML document".to_owned(),
        other => format!("it is larger than a manifest may be: {other:?}"),
    }
}

/// Says what the parser says, without the position, which a problem carries, and in the words of a manifest.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    if message.contains("recursion limit") {
        return format!("it is nested more than {DEEPEST} levels deep");
    }
    if message.starts_with("budget breached") {
        return format!("it stands for more than {MOST_VALUES} values");
    }
    // Only keys are asked to be text.
    if message.contains("into string") || message.contains("expected string scalar") {
        return "a key is text".to_owned();
    }
    message.to_owned()
}
