//! The JSON Schema of the manifest, generated from its types.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::Manifest;

/// Returns the JSON Schema of the manifest, as editors load it.
///
/// It is generated from the types. Nothing (`null`) is allowed for every key that may be missing, for it removes
/// what an earlier file says.
pub fn schema() -> Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_deserialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Manifest>();
    schema.insert("title".to_owned(), json!("Manifest of aishell"));
    let map = schema.ensure_object();
    map.values_mut().for_each(removable);
    optional_properties(map);
    schema
}

/// Lets everything below a schema that may be missing be nothing.
fn removable(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(removable);
            optional_properties(map);
        }
        Value::Array(items) => items.iter_mut().for_each(removable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn optional_properties(map: &mut Map<String, Value>) {
    let required: Vec<_> = match map.get("required") {
        Some(Value::Array(required)) => required
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(_) | None => Vec::new(),
    };
    if map.get("type") != Some(&json!("object")) {
        return;
    }
    for section in ["properties", "patternProperties"] {
        let Some(Value::Object(properties)) = map.get_mut(section) else {
            continue;
        };
        properties
            .iter_mut()
            .filter(|(key, _)| !required.contains(key))
            .for_each(|(_, schema)| or_null(schema));
    }
    if let Some(others @ Value::Object(_)) = map.get_mut("additionalProperties") {
        or_null(others);
    }
}

/// Lets a value be nothing as well.
fn or_null(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.get("default") == Some(&Value::Null) {
        map.remove("default");
    }
    let nothing = json!({ "type": "null" });
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        if !choices.contains(&nothing) {
            choices.push(nothing);
        }
        return;
    }
    let plain = !map.contains_key("enum") && !map.contains_key("const");
    match map.get_mut("type") {
        Some(Value::Array(kinds)) => {
            if !kinds.contains(&json!("null")) {
                kinds.push(json!("null"));
            }
        }
        Some(kind @ Value::String(_)) if plain => *kind = json!([kind, "null"]),
        _ => {
            let mut outer = Map::new();
            for key in ["description", "default"] {
                if let Some(value) = map.remove(key) {
                    outer.insert(key.to_owned(), value);
                }
            }
            let inner = Value::Object(std::mem::take(map));
            outer.insert("anyOf".to_owned(), json!([inner, nothing]));
            *map = outer;
        }
    }
}
