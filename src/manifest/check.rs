//! A tree against the schema: every violation at once, each with its place and a suggestion.
//!
//! The schema is the one generated from the types, so there is nothing here to keep in step with them. What a text
//! has to look like (a size, a port) is left to the types, whose words are better than a pattern's.

use std::sync::LazyLock;

use serde_json::{Map, Value as Json};

use super::node::{Entry, Node, Value};
use super::place::{Mark, Problem};
use super::suggest;

/// Something wrong with a tree, and what to remove to be rid of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is said about it.
    pub problem: Problem,
    /// The mark of the value or key it is about.
    pub mark: Mark,
}

impl Fault {
    /// Makes a fault of the value or key at a mark.
    pub fn at(mark: &Mark, message: impl Into<String>) -> Self {
        Self {
            problem: Problem::new(message).at(mark),
            mark: mark.clone(),
        }
    }

    /// Says what would help.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem = self.problem.hint(hint);
        self
    }
}

static SCHEMA: LazyLock<Json> = LazyLock::new(|| super::schema().to_value());

/// Checks one file: everything but what is missing, for another file may have it. Nothing (`null`) fits everywhere,
/// for it removes what an earlier file says.
pub fn written(tree: &Node) -> Vec<Fault> {
    let mut check = Check {
        schema: &SCHEMA,
        faults: Vec::new(),
    };
    check.visit(
        tree,
        &SCHEMA,
        &Around {
            key: None,
            mark: &tree.mark,
        },
    );
    check.faults
}

/// Checks a merged tree for what is missing.
pub fn complete(tree: &Node) -> Vec<Fault> {
    let mut check = Check {
        schema: &SCHEMA,
        faults: Vec::new(),
    };
    check.missing(
        tree,
        &SCHEMA,
        &Around {
            key: None,
            mark: &tree.mark,
        },
    );
    check.faults
}

/// The key around a value, for messages.
#[derive(Clone, Copy)]
struct Around<'a> {
    key: Option<&'a str>,
    mark: &'a Mark,
}

struct Check<'s> {
    schema: &'s Json,
    faults: Vec<Fault>,
}

impl<'s> Check<'s> {
    /// Follows references and chooses the form that fits the kind of value.
    fn choose(&self, node: &Node, schema: &'s Json) -> Option<&'s Json> {
        if let Some(definition) = self.definition(schema) {
            return self.choose(node, definition);
        }
        match choices(schema) {
            Some(choices) => choices.iter().find_map(|choice| self.choose(node, choice)),
            None => kinds(schema)
                .is_none_or(|kinds| kinds.contains(&kind(node)))
                .then_some(schema),
        }
    }

    /// Counts the forms a value may have.
    fn forms(&self, schema: &'s Json) -> usize {
        if let Some(definition) = self.definition(schema) {
            return self.forms(definition);
        }
        match choices(schema) {
            Some(choices) => choices.iter().map(|choice| self.forms(choice)).sum(),
            None => usize::from(kinds(schema) != Some(vec!["null"])),
        }
    }

    fn definition(&self, schema: &'s Json) -> Option<&'s Json> {
        let reference = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.schema.pointer(reference)
    }

    fn visit(&mut self, node: &Node, schema: &'s Json, around: &Around<'_>) {
        let forms = self.forms(schema);
        let Some(schema) = self.choose(node, schema) else {
            return self.faults.push(self.unfitting(node, schema, around));
        };
        if let Some(words) = words(schema) {
            return self.word(node, &words, forms, around);
        }
        match &node.value {
            Value::Map(_) => self.map(node, schema, around),
            Value::List(items) => {
                let Some(schema) = schema.get("items") else { return };
                for item in items {
                    self.visit(
                        item,
                        schema,
                        &Around {
                            key: around.key,
                            mark: &item.mark,
                        },
                    );
                }
            }
            Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) => {}
        }
    }

    fn map(&mut self, node: &Node, schema: &'s Json, around: &Around<'_>) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = others(schema);
        for entry in node.entries() {
            let known = properties.and_then(|properties| properties.get(&entry.key));
            let inside = Around {
                key: Some(&entry.key),
                mark: &entry.mark,
            };
            match (known, others) {
                (None, Some(Json::Bool(false))) => self.unknown(entry, properties, around),
                _ if entry.value.is_null() => {}
                (Some(schema), _) | (None, Some(schema)) => self.visit(&entry.value, schema, &inside),
                (None, None) => {}
            }
        }
    }

    fn unknown(&mut self, entry: &Entry, properties: Option<&'s Map<String, Json>>, around: &Around<'_>) {
        let message = match around.key {
            Some(key) => format!("unknown key `{}` in `{key}`", entry.key),
            None => format!("unknown key `{}`", entry.key),
        };
        let known = properties
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str));
        let mut fault = Fault::at(&entry.mark, message);
        fault.problem.hint = suggest::for_key(&entry.key, known);
        self.faults.push(fault);
    }

    fn word(&mut self, node: &Node, words: &[&str], forms: usize, around: &Around<'_>) {
        let Some(text) = node.text().filter(|text| !words.contains(text)) else {
            return;
        };
        let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        let message = match around.key {
            Some("apiVersion") => format!("apiVersion `{text}` is not known to this aishell"),
            Some(key) => format!("`{key}` cannot be `{text}`"),
            None => format!("`{text}` is not expected here"),
        };
        let hint = match suggest::nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            // The type knows what else it could be.
            None if forms > 1 => return,
            None if words.len() == 1 => format!("it is {}", listed.join("")),
            None => format!("it is one of {}", listed.join(", ")),
        };
        self.faults.push(Fault::at(&node.mark, message).hint(hint));
    }

    /// Says what was expected instead of a value of the wrong kind.
    fn unfitting(&self, node: &Node, schema: &'s Json, around: &Around<'_>) -> Fault {
        let mut expected = Vec::new();
        self.expected(schema, &mut expected);
        let expected = match expected.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => "something else".to_owned(),
        };
        let found = match node.text() {
            Some(text) if text.chars().count() <= 40 => format!("{} (`{text}`)", node.kind()),
            Some(_) | None => node.kind().to_owned(),
        };
        let message = match around.key {
            Some(key) => format!("`{key}`: expected {expected}, found {found}"),
            None => format!("a manifest is a map, not {}", node.kind()),
        };
        // A list or map that begins on the next line is shown at its key.
        let mark = if node.text().is_some() {
            &node.mark
        } else {
            around.mark
        };
        let fault = Fault::at(mark, message);
        match (
            &node.value,
            expected.contains("text"),
            expected.contains("a list"),
        ) {
            (Value::Number(_, text) | Value::Bool(_, text), true, _) => {
                fault.hint(format!("quote it: \"{text}\""))
            }
            (Value::Text(text), false, true) if !text.contains([' ', '\n']) => {
                fault.hint(format!("write it as a list: [{text}]"))
            }
            (Value::Text(text), false, true)
                if !text.contains(['\n', '"', '\'', '[', ',', '{', '#', ':', '$']) =>
            {
                fault.hint(format!(
                    "write it as a list: [{}]",
                    text.split_whitespace().collect::<Vec<_>>().join(", ")
                ))
            }
            _ => fault,
        }
    }

    fn expected(&self, schema: &'s Json, into: &mut Vec<&'static str>) {
        if let Some(definition) = self.definition(schema) {
            return self.expected(definition, into);
        }
        if let Some(choices) = choices(schema) {
            return choices.iter().for_each(|choice| self.expected(choice, into));
        }
        let names = kinds(schema)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|kind| match kind {
                "string" => Some("text"),
                "number" | "integer" => Some("a number"),
                "boolean" => Some("true or false"),
                "array" => Some("a list"),
                "object" => Some("a map"),
                _ => None,
            });
        for name in names {
            if !into.contains(&name) {
                into.push(name);
            }
        }
    }

    fn missing(&mut self, node: &Node, schema: &'s Json, around: &Around<'_>) {
        let Some(schema) = self.choose(node, schema) else {
            return;
        };
        if let (Value::List(items), Some(schema)) = (&node.value, schema.get("items")) {
            for item in items {
                self.missing(
                    item,
                    schema,
                    &Around {
                        key: around.key,
                        mark: &item.mark,
                    },
                );
            }
        }
        let Value::Map(entries) = &node.value else { return };
        let required = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str);
        for key in required.filter(|key| node.get(key).is_none_or(Node::is_null)) {
            let message = match around.key {
                Some(around) => format!("`{around}` needs `{key}`"),
                None if key == "apiVersion" => "`apiVersion` is missing".to_owned(),
                None => format!("`{key}` is missing"),
            };
            let fault = Fault::at(around.mark, message);
            self.faults.push(if key == "apiVersion" {
                fault.hint("begin with `apiVersion: aishell/v1`")
            } else {
                fault
            });
        }
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = others(schema);
        for entry in entries {
            let schema = properties
                .and_then(|properties| properties.get(&entry.key))
                .or(others);
            if let Some(schema) = schema {
                self.missing(
                    &entry.value,
                    schema,
                    &Around {
                        key: Some(&entry.key),
                        mark: &entry.mark,
                    },
                );
            }
        }
    }
}

/// Returns the forms a value may have, when it may have several.
fn choices(schema: &Json) -> Option<&Vec<Json>> {
    if words(schema).is_some() {
        return None;
    }
    ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array())
}

/// Returns the words a text may be, when it is one of a few.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    let choices = schema.get("oneOf")?.as_array()?;
    choices
        .iter()
        .map(words)
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat())
}

/// Returns the kinds a schema allows; `None` when it says nothing about them.
fn kinds(schema: &Json) -> Option<Vec<&str>> {
    if words(schema).is_some() {
        return Some(vec!["string"]);
    }
    let mut kinds: Vec<_> = match schema.get("type")? {
        Json::String(kind) => vec![kind.as_str()],
        Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => return None,
    };
    if kinds.contains(&"number") {
        kinds.push("integer");
    }
    Some(kinds)
}

/// Returns the schema of keys that are not named one by one. Whether such a key is well-formed is for its type to say.
fn others(schema: &Json) -> Option<&Json> {
    let patterns = schema.get("patternProperties").and_then(Json::as_object);
    let pattern = patterns.and_then(|patterns| patterns.values().next());
    pattern.or(schema.get("additionalProperties"))
}

/// Returns the kind of a value in the words of a schema.
fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(..) => "boolean",
        Value::Number(number, _) if number.is_f64() => "number",
        Value::Number(..) => "integer",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}
