//! Schemas are what they say: fresh, and true of the documents.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::command::aishell;

/// Every document that has a schema.
pub const DOCUMENTS: [&str; 15] = [
    "manifest",
    "plan",
    "report",
    "update",
    "status",
    "starter",
    "validation",
    "garbage",
    "list",
    "phases",
    "diagnosis",
    "error",
    "lock",
    "saved-plan",
    "events",
];

fn file(document: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{document}.schema.json"))
}

/// Returns the schema of a document.
pub fn schema(document: &str) -> Value {
    let text = fs::read_to_string(file(document)).expect("a schema");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn schemas_are_fresh() {
    for document in DOCUMENTS {
        let generated = aishell(&format!("schema {document}")).answers(0);
        let stored = fs::read_to_string(file(document)).unwrap_or_default();
        assert!(
            generated == stored,
            "schemas/{document}.schema.json is not what the types say; write it anew with: \
             cargo run -- schema {document} > schemas/{document}.schema.json"
        );
    }
}

#[test]
fn the_schema_of_the_manifest_is_the_default() {
    assert_eq!(
        aishell("schema").answers(0),
        aishell("schema manifest").answers(0)
    );
}

/// Returns where a value is not as a schema says; only what generated schemas use is understood.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else { return };
    let mut wrong = |what: String| found.push(format!("{path}: {what}"));
    if let Some(types) = schema.get("type") {
        let is = |name: &Value| match name.as_str() {
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some("null") => value.is_null(),
            Some(_) | None => false,
        };
        let fits = types
            .as_array()
            .map_or_else(|| is(types), |types| types.iter().any(is));
        if !fits {
            wrong(format!("{value} is not {types}"));
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        wrong(format!("{value} is not {}", schema["const"]));
    }
    if schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|values| !values.contains(value))
    {
        wrong(format!("{value} is not one of {}", schema["enum"]));
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .expect("a definition");
        check(root, target, value, path, found);
    }
    for (word, least, most) in [("anyOf", 1, usize::MAX), ("oneOf", 1, 1)] {
        let Some(choices) = schema.get(word).and_then(Value::as_array) else {
            continue;
        };
        let fitting = choices
            .iter()
            .filter(|choice| {
                let mut inner = Vec::new();
                check(root, choice, value, path, &mut inner);
                inner.is_empty()
            })
            .count();
        if !(least..=most).contains(&fitting) {
            found.push(format!("{path}: {value} fits {fitting} choices of {word}"));
        }
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(
                root,
                schema.get("items").unwrap_or(&Value::Bool(true)),
                item,
                &format!("{path}[{index}]"),
                found,
            );
        }
    }
    let Some(fields) = value.as_object() else { return };
    let properties = schema.get("properties").and_then(Value::as_object);
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if !fields.contains_key(name.as_str().expect("a name")) {
            found.push(format!("{path}: {name} is missing"));
        }
    }
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, field) in fields {
        match properties.and_then(|properties| properties.get(name)) {
            Some(property) => check(root, property, field, &format!("{path}.{name}"), found),
            None if closed => {
                found.push(format!("{path}: {name} is not described"));
            }
            None => {}
        }
    }
}

#[test]
fn the_check_notices_what_is_wrong() {
    let schema = schema("error");
    let problems = |text: &str| violations(&schema, &serde_json::from_str(text).expect("JSON"));
    let good = r#"{"apiVersion":"aishell/v1","kind":"Error","code":4,"problems":[{"message":"m"}]}"#;
    assert_eq!(problems(good), [""; 0]);
    for (from, to) in [
        ("aishell/v1", "aishell/v2"),
        ("\"code\":4", "\"code\":\"4\""),
        ("\"message\":\"m\"", "\"text\":\"m\""),
        ("\"kind\":\"Error\",", ""),
    ] {
        assert!(!problems(&good.replace(from, to)).is_empty(), "{to} is accepted");
    }
}
