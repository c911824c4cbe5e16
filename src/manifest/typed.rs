//! The way from a tree to a type: a serde deserialiser over [`Node`] whose errors say where.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::check::Fault;
use super::node::{Entry, Node, Value};
use super::place::Mark;

/// Why a tree is not the type it should be, with the place once it is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeError {
    message: String,
    mark: Option<Mark>,
}

impl TypeError {
    fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }
}

impl de::Error for TypeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            mark: None,
        }
    }
}

/// The most problems one pass reports.
const MOST_PROBLEMS: usize = 50;

/// A tree as a type, as far as it is one.
pub struct Typed<T> {
    /// The type; `None` when not even the rest of the tree is one.
    pub value: Option<T>,
    /// The tree without everything that is wrong.
    pub tree: Node,
    /// What is wrong besides what was known.
    pub faults: Vec<Fault>,
}

/// Makes a type of a tree, and says everything that keeps it from being one.
///
/// serde stops at the first error, so the offending value is removed and the rest tried again. `known` is what is
/// known to be wrong already: it is removed first, and nothing is said about what is missing because of it.
pub fn typed<T: de::DeserializeOwned>(mut tree: Node, known: &[Fault]) -> Typed<T> {
    let known: BTreeSet<_> = known.iter().map(|fault| fault.mark.clone()).collect();
    let mut touched = known.clone();
    tree.prune(&known, &mut touched);
    let mut faults = Vec::new();
    for _ in 0..MOST_PROBLEMS {
        let error = match T::deserialize(&tree) {
            Ok(value) => {
                return Typed {
                    value: Some(value),
                    tree,
                    faults,
                };
            }
            Err(error) => error,
        };
        let mark = error.mark.unwrap_or_else(|| tree.mark.clone());
        if !touched.contains(&mark) {
            faults.push(Fault::at(&mark, error.message));
        }
        if !tree.prune(&BTreeSet::from([mark]), &mut touched) {
            break;
        }
    }
    Typed {
        value: None,
        tree,
        faults,
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        let result = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value, _) => visitor.visit_bool(*value),
            Value::Number(number, text) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => visitor.visit_borrowed_str(text),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            // A fault of a map as a whole is shown at its key, by the map around it.
            Value::Map(entries) => {
                return visitor.visit_map(Entries {
                    rest: entries.iter(),
                    current: None,
                });
            }
        };
        result.map_err(|error| error.at(&self.mark))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.text() {
            Some(text) => visitor
                .visit_borrowed_str(text)
                .map_err(|error: TypeError| error.at(&self.mark)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        let variant = Variant { node: self };
        visitor
            .visit_enum(variant)
            .map_err(|error: TypeError| error.at(&self.mark))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TypeError> {
        let Some(item) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(item)
            .map(Some)
            .map_err(|error| error.at(&item.mark))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypeError> {
        self.current = self.rest.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, TypeError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.at(&entry.mark))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TypeError> {
        let Some(entry) = self.current else {
            return Err(de::Error::custom("a value without a key"));
        };
        seed.deserialize(&entry.value)
            .map_err(|error| error.at(&entry.mark))
    }
}

struct Variant<'de> {
    node: &'de Node,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TypeError> {
        let Some(text) = self.node.text() else {
            return Err(de::Error::custom(format!(
                "expected a word, found {}",
                self.node.kind()
            )));
        };
        let word: StrDeserializer<'_, TypeError> = text.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, TypeError> {
        Err(de::Error::custom("a word was expected"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TypeError> {
        Err(de::Error::custom("a word was expected"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, TypeError> {
        Err(de::Error::custom("a word was expected"))
    }
}
