//! What stands in a lock, as text: digests, versions, packages.

use std::fmt;
use std::str::FromStr;

use crate::manifest::harness::{Requirement, is_npm_package};
use crate::manifest::python::{is_python_package, is_python_version};
use crate::written::written_as_text;

/// Makes a newtype of text that is checked once.
macro_rules! text {
    ($(#[$attribute:meta])* $name:ident, $title:literal, $valid:expr, $why:literal, $schema:tt) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(format!(concat!("`{}` is not ", $why), shown))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        written_as_text!($name, $title, $schema);
    };
}

text! {
    /// The digest of an image in its registry.
    ImageDigest,
    "ImageDigest",
    |text| text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }),
    "a digest: `sha256:` and 64 lower-case hexadecimal digits",
    { "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }
}

text! {
    /// A complete version.
    LockedVersion,
    "LockedVersion",
    |text| matches!(text.parse(), Ok(Requirement::Exact(_))) || is_python_version(text),
    "a complete version as in 1.2.3",
    { "type": "string" }
}

text! {
    /// The name of an npm package.
    NpmPackage,
    "NpmPackage",
    is_npm_package,
    "the name of an npm package",
    { "type": "string" }
}

text! {
    /// The name of a Python package, perhaps with extras.
    PythonPackage,
    "PythonPackage",
    is_python_package,
    "the name of a Python package",
    { "type": "string" }
}

text! {
    /// The name of a file in an index of packages.
    FileName,
    "FileName",
    |text| !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'),
    "the name of a file",
    { "type": "string", "pattern": "^[!-.0-~]{1,255}$" }
}

text! {
    /// What a package is made of, as package managers write it: `sha512-` and the digest in base 64.
    Integrity,
    "Integrity",
    |text| !text.is_empty() && text.len() <= 1024 && text.split(' ').all(is_hash),
    "an integrity as in `sha512-…`",
    { "type": "string", "pattern": "^(sha1|sha256|sha384|sha512)-[A-Za-z0-9+/]+=*( .*)?$" }
}

fn is_hash(text: &str) -> bool {
    let Some((algorithm, digest)) = text.split_once('-') else {
        return false;
    };
    // Characters of the digest in base 64, padding included.
    let length = match algorithm {
        "sha1" => 28,
        "sha256" => 44,
        "sha384" => 64,
        "sha512" => 88,
        _ => return false,
    };
    let letters = digest.trim_end_matches('=');
    digest.len() == length
        && length - letters.len() <= 2
        && letters
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}
