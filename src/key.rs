//! Keys and digests: canonical bytes to SHA-256. The only module that hashes.
//!
//! A *key* identifies the desired inputs of one resource; a *digest* identifies content of files and images.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod canonical;

/// The SHA-256 of one resource's canonical desired inputs, 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

/// The kind of resource a key is computed for; each has its own schema number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A manifest as a whole.
    Manifest,
    /// The image of a stage.
    Stage,
    /// The identity image of sandboxes.
    Identity,
    /// The harness volume.
    Harness,
    /// A container.
    Container,
    /// A network.
    Network,
    /// A data volume.
    Volume,
    /// What a phase leaves.
    Phase,
    /// A question to package managers.
    Inquiry,
}

impl KeyKind {
    /// Returns the word and the schema number that open the canonical bytes. The number changes only when old
    /// keys must not be found any more; a new field at its default is left out of the bytes instead.
    fn preamble(self) -> (&'static str, u32) {
        match self {
            Self::Manifest => ("manifest", 1),
            Self::Stage => ("stage", 1),
            Self::Identity => ("identity", 1),
            Self::Harness => ("harness", 1),
            Self::Container => ("container", 1),
            Self::Network => ("network", 1),
            Self::Volume => ("volume", 1),
            Self::Phase => ("phase", 1),
            Self::Inquiry => ("inquiry", 1),
        }
    }
}

impl Key {
    /// Computes the key of a resource from its inputs.
    pub fn of<T: Serialize>(kind: KeyKind, inputs: &T) -> Self {
        Self::of_canonical(kind, &canonical(inputs))
    }

    /// Computes the key of a resource from its inputs in canonical form.
    pub fn of_canonical(kind: KeyKind, inputs: &str) -> Self {
        let (word, schema) = kind.preamble();
        let mut hasher = Hasher::new();
        hasher.update(format!("[\"{word}\",{schema},").as_bytes());
        hasher.update(inputs.as_bytes());
        hasher.update(b"]");
        Self(hasher.finish())
    }

    /// Accepts a key read from a label; anything but 64 lower-case hexadecimal digits is no key.
    pub fn parse(text: &str) -> Option<Self> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(hexadecimal)).then(|| Self(text.to_owned()))
    }

    /// Returns the twelve digits used in names.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// Returns all 64 digits, as used in labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Renders inputs in canonical form: JSON without white space, the keys of every map sorted by their bytes.
///
/// What keys are computed from is texts, numbers, lists and maps of them: JSON can tell all of it.
pub fn canonical<T: Serialize + ?Sized>(inputs: &T) -> String {
    match canonical::write(inputs) {
        Ok(text) => text,
        Err(error) => unreachable!("what keys are computed from is JSON: {error}"),
    }
}

/// Returns the SHA-256 of bytes as 64 lower-case hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes content that arrives in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts with nothing hashed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns 64 lower-case hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(&self.bytes())
    }

    /// Returns the 32 bytes themselves.
    pub fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Returns bytes as lower-case hexadecimal digits, two for each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|four| char::from(b"0123456789abcdef"[usize::from(four)]));
    bytes.iter().flat_map(digits).collect()
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    /// Whatever serde tells.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Everything {
        texts: BTreeMap<&'static str, Option<u8>>,
        numbers: BTreeMap<i32, f64>,
        list: Vec<Choice>,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<bool>,
        a_pair: (char, ()),
    }

    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Choice {
        Nothing,
        JustThis(u64),
        Two(i8, String),
        Named { z: bool, a: &'static str },
    }

    #[test]
    fn canonical_bytes_are_those_of_the_same_as_a_value() {
        let everything = Everything {
            texts: [("\"", Some(1)), ("z", None), ("#", Some(2)), ("é\n", None)].into(),
            numbers: [(10, 0.5), (9, 1.0), (-1, f64::NAN)].into(),
            list: vec![
                Choice::Nothing,
                Choice::JustThis(u64::MAX),
                Choice::Two(-3, "a\\b\u{1}".to_owned()),
                Choice::Named { z: true, a: "" },
            ],
            absent: None,
            a_pair: ('"', ()),
        };
        assert_eq!(
            canonical(&everything),
            r##"{"aPair":["\"",null],"list":["nothing",{"just-this":18446744073709551615},{"two":[-3,"a\\b\u0001"]},{"named":{"a":"","z":true}}],"numbers":{"-1":null,"10":0.5,"9":1.0},"texts":{"\"":1,"#":2,"z":null,"é\n":null}}"##
        );
        assert_eq!(canonical(&json!(everything)), canonical(&everything));
    }

    #[test]
    fn canonical_bytes_sort_every_map() {
        let value = json!({"b": {"z": 1, "a": [true, null, "\"x\""]}, "a": 0.5});
        assert_eq!(
            canonical(&value),
            r#"{"a":0.5,"b":{"a":[true,null,"\"x\""],"z":1}}"#
        );
    }

    #[test]
    fn equal_inputs_have_equal_keys_whatever_their_order() {
        let one = Key::of(KeyKind::Stage, &json!({"a": 1, "b": 2}));
        let two = Key::of(KeyKind::Stage, &json!({"b": 2, "a": 1}));
        assert_eq!(one, two);
        assert_ne!(one, Key::of(KeyKind::Identity, &json!({"a": 1, "b": 2})));
        assert_eq!(one.short().len(), 12);
        assert_eq!(Key::parse(one.as_str()), Some(one));
    }

    #[test]
    fn the_project_of_the_documentation_hashes_as_documented() {
        assert_eq!(&digest(b"/srv/demo")[..8], "926574b4");
    }

    #[test]
    fn garbage_is_no_key() {
        for text in ["", "abc", &"G".repeat(64), &"A".repeat(64), &"a".repeat(63)] {
            assert_eq!(Key::parse(text), None);
        }
    }
}
