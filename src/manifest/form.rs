//! Types with a short and a long way to be written: text, a list, or a map.
//!
//! Each form is read by its own function, so that a message is about the form that was chosen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A type that may be written as text, as a list or as a map.
pub trait Form: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// The fields of the map form.
    type Map: de::DeserializeOwned;
    /// The items of the list form.
    type Item: de::DeserializeOwned;

    /// Reads the text form.
    fn from_text(text: &str) -> Result<Self, String> {
        Err(format!("expected {}, found `{text}`", Self::EXPECTED))
    }

    /// Reads the list form.
    fn from_list(_: Vec<Self::Item>) -> Result<Self, String> {
        Err(format!("expected {}, found a list", Self::EXPECTED))
    }

    /// Reads the map form.
    fn from_map(_: Self::Map) -> Result<Self, String> {
        Err(format!("expected {}, found a map", Self::EXPECTED))
    }
}

/// The fields or items of a form that a type does not have.
#[derive(serde::Deserialize)]
pub struct Absent;

/// Reads a type that has forms.
pub fn deserialize<'de, T: Form, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    // Asking for text keeps the spelling of numbers; the deserialiser offers lists and maps all the same.
    deserializer.deserialize_str(FormVisitor(PhantomData))
}

struct FormVisitor<T>(PhantomData<T>);

impl<'de, T: Form> Visitor<'de> for FormVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<T, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        T::from_list(items).map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        let map = T::Map::deserialize(MapAccessDeserializer::new(access))?;
        T::from_map(map).map_err(de::Error::custom)
    }
}

/// Gives a [`Form`] its `Deserialize`.
macro_rules! formed {
    ($($name:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::manifest::form::deserialize(deserializer)
            }
        }
    )*};
}

pub(crate) use formed;

/// Text for which a number, `true` or `false` is as good: it is taken as it is spelled.
pub struct Scalar;

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text; a number, `true` or `false` is taken as it is spelled.",
            "type": ["string", "number", "boolean"]
        })
    }
}

/// Makes the schema of a choice, with its description.
pub fn one_of(description: &str, choices: Vec<Schema>) -> Schema {
    json_schema!({ "description": description, "anyOf": choices })
}

/// Makes the schema of some fixed words.
pub fn words(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "enum": words })
}

/// Environment variables as a map, or as a list of `NAME=value`.
pub struct Variables(BTreeMap<String, String>);

impl Form for Variables {
    const EXPECTED: &'static str = "a map or a list of NAME=value";
    type Map = BTreeMap<String, String>;
    type Item = String;

    fn from_list(items: Vec<String>) -> Result<Self, String> {
        let split = |item: String| match item.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("expected NAME=value, found `{item}`")),
        };
        items.into_iter().map(split).collect::<Result<_, _>>().map(Self)
    }

    fn from_map(map: BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self(map))
    }
}

impl JsonSchema for Variables {
    fn schema_name() -> Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<BTreeMap<String, Scalar>>();
        let list = generator.subschema_for::<Vec<String>>();
        one_of(
            "Environment variables as a map, or as a list of `NAME=value`.",
            vec![map, list],
        )
    }
}

/// Reads environment variables in either form.
pub fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    deserialize::<Variables, D>(deserializer).map(|Variables(map)| map)
}

/// Gives a type the schema of the fields it is made of.
macro_rules! schema_of_fields {
    ($name:ident, $fields:ty) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$fields as schemars::JsonSchema>::json_schema(generator)
            }
        }
    };
}

pub(crate) use schema_of_fields;
