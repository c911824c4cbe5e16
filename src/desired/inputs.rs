//! What a stage is made of, told apart, so that a change can be named: which file, which argument, which line.
//!
//! The key decides whether anything changed. This only explains it, and an image whose label says less is explained
//! with less.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::manifest::place::Place;

/// How many bytes the label of an image may have; every container that is made from it has it, too.
const LONGEST: usize = 4096;
/// How many lines of a Dockerfile are told apart.
const LINES: usize = 200;
/// The field of the Dockerfile's lines.
const DOCKERFILE: &str = "dockerfile";
/// What the fields of files begin with.
pub const CONTEXT: &str = "context/";
/// The field of the stage that it is made on.
pub const PARENT: &str = "parent";

/// The inputs of a stage, by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    fields: BTreeMap<String, (Value, Option<Place>)>,
    dockerfile: Option<(Place, Vec<String>)>,
}

/// One input that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub field: String,
    /// What it was.
    pub from: Value,
    /// What it is.
    pub to: Value,
    /// The line of the manifest or the Dockerfile that has it, or uses it.
    pub at: Option<Place>,
}

impl Inputs {
    /// Adds an input.
    pub fn add(&mut self, field: impl Into<String>, value: Value, place: Option<Place>) {
        self.fields.insert(field.into(), (value, place));
    }

    /// Adds the lines of the Dockerfile.
    pub fn dockerfile(&mut self, text: &str, start: Place) {
        let lines = text.lines().map(str::trim_end).map(str::to_owned);
        self.dockerfile = Some((start, lines.collect()));
    }

    /// Returns the value of the label; nothing, if there is nothing to tell apart.
    pub fn label(&self) -> Option<String> {
        let mut fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|(field, (value, _))| (field.clone(), value.clone()))
            .collect();
        if let Some((_, lines)) = &self.dockerfile
            && lines.len() <= LINES
        {
            let marks: Vec<String> = lines.iter().map(|line| mark(line)).collect();
            fields.insert(DOCKERFILE.to_owned(), json!(marks.join(" ")));
        }
        if fields.is_empty() {
            return None;
        }
        let text = Value::from(fields.clone()).to_string();
        if text.len() <= LONGEST {
            return Some(text);
        }
        fields.retain(|field, _| !field.starts_with(CONTEXT));
        let text = Value::from(fields).to_string();
        (text.len() <= LONGEST).then_some(text)
    }

    /// Returns what differs from an earlier state, as its label tells it.
    pub fn changes(&self, label: &str) -> Vec<Change> {
        let Ok(Value::Object(before)) = serde_json::from_str(label) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        if let (Some(Value::String(before)), Some((start, lines))) =
            (before.get(DOCKERFILE), &self.dockerfile)
        {
            changes.extend(line(before, start, lines));
        }
        // Who could not list its files does not say that it had none.
        let listed = before.keys().any(|field| field.starts_with(CONTEXT));
        let gone = before
            .iter()
            .filter(|(field, _)| !self.fields.contains_key(*field) && *field != DOCKERFILE);
        let gone = gone.map(|(field, from)| Change {
            field: field.clone(),
            from: from.clone(),
            to: Value::Null,
            at: None,
        });
        let now = self.fields.iter().filter_map(|(field, (to, at))| {
            let from = before.get(field).cloned().unwrap_or_default();
            let known = listed || !field.starts_with(CONTEXT);
            (from != *to && known).then(|| Change {
                field: field.clone(),
                from,
                to: to.clone(),
                at: at.clone(),
            })
        });
        let mut rest: Vec<Change> = now.chain(gone).collect();
        rest.sort_by(|one, other| one.field.cmp(&other.field));
        changes.extend(rest);
        changes
    }
}

/// Returns the first line that is not what it was.
fn line(before: &str, start: &Place, lines: &[String]) -> Option<Change> {
    let before: Vec<&str> = before.split_whitespace().collect();
    let same =
        |index: usize| lines.get(index).map(|line| mark(line)).as_deref() == before.get(index).copied();
    let first = (0..lines.len().max(before.len())).find(|index| !same(*index))?;
    let number = u32::try_from(first).unwrap_or(u32::MAX).saturating_add(1);
    let is_longer = lines.len() > before.len();
    let from = (first < before.len() && !is_longer).then(|| "another line".to_owned());
    let to = lines
        .get(first)
        .map(|line| line.chars().take(60).collect::<String>());
    Some(Change {
        field: DOCKERFILE.to_owned(),
        from: json!(from),
        to: json!(to),
        at: Some(Place {
            line: number,
            ..start.clone()
        }),
    })
}

/// Returns what tells a line from others.
fn mark(line: &str) -> String {
    crate::key::digest(line.as_bytes())[..4].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32) -> Place {
        Place {
            file: "/p/Dockerfile".into(),
            line,
            column: 1,
        }
    }

    fn inputs(dockerfile: &str, fields: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.dockerfile(dockerfile, place(1));
        for (field, value) in fields {
            inputs.add(*field, json!(value), Some(place(9)));
        }
        inputs
    }

    fn told(now: &Inputs, before: &Inputs) -> Vec<String> {
        let changes = now.changes(&before.label().expect("a label"));
        changes
            .into_iter()
            .map(|Change { field, from, to, at }| {
                let line = at.map_or(0, |place| place.line);
                format!("{field} {from} {to} {line}")
            })
            .collect()
    }

    #[test]
    fn every_change_is_named_with_its_line() {
        let before = inputs(
            "FROM a\nRUN x\n",
            &[("args.A", "1"), ("context/old", "aa"), ("parent", "p")],
        );
        assert_eq!(told(&before, &before), [""; 0]);
        let now = inputs(
            "FROM a\nRUN y\n",
            &[("args.A", "2"), ("context/new", "bb"), ("parent", "p")],
        );
        assert_eq!(
            told(&now, &before),
            [
                "dockerfile \"another line\" \"RUN y\" 2",
                "args.A \"1\" \"2\" 9",
                "context/new null \"bb\" 9",
                "context/old \"aa\" null 0",
            ]
        );
    }

    #[test]
    fn an_added_and_a_removed_line_are_told_where_they_are() {
        let (one, two) = (inputs("FROM a\n", &[]), inputs("FROM a\nRUN x\n", &[]));
        assert_eq!(told(&two, &one), ["dockerfile null \"RUN x\" 2"]);
        assert_eq!(told(&one, &two), ["dockerfile \"another line\" null 2"]);
    }

    #[test]
    fn a_label_that_would_be_too_long_leaves_the_files_out() {
        let many: Vec<String> = (0..200).map(|number| format!("context/{number:060}")).collect();
        let fields: Vec<(&str, &str)> = many.iter().map(|field| (field.as_str(), "aa")).collect();
        let before = inputs("FROM a\n", &fields);
        assert!(before.label().expect("a label").len() < LONGEST);
        assert_eq!(
            told(&inputs("FROM a\n", &[("context/x", "bb")]), &before),
            [""; 0]
        );
    }

    #[test]
    fn what_cannot_be_read_explains_nothing() {
        for label in ["", "[]", "{", "{\"dockerfile\":1}"] {
            assert_eq!(inputs("FROM a\n", &[]).changes(label), []);
        }
    }
}
