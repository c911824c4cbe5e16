//! Names that were checked once, where they entered, and are trusted after.
//!
//! Every name here is a newtype around its text whose only way in is [`FromStr`] (or deserialisation, which uses it).
//! What does not live here: how names are combined into names of engine objects.

use std::fmt;
use std::str::FromStr;

use crate::written::written_as_text;

/// The words `aishell` takes as commands; no container may be called like one.
///
/// Harness names (`claude`, `codex` …) are commands too, but a container may carry them: `aishell claude` opens it.
pub const COMMAND_WORDS: &[&str] = &[
    "apply",
    "attach",
    "completions",
    "delete",
    "diff",
    "doctor",
    "down",
    "exec",
    "export",
    "help",
    "import",
    "init",
    "logs",
    "man",
    "phases",
    "plan",
    "prune",
    "ps",
    "restart",
    "run",
    "schema",
    "start",
    "status",
    "stop",
    "up",
    "update",
    "validate",
    "watch",
];

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty.
    #[error("{what} is empty")]
    Empty {
        /// What was being named.
        what: &'static str,
    },
    /// The text has more characters than the name may have.
    #[error("{what} `{name}` is {length} characters long; at most {most} are allowed")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// The text as it was given.
        name: String,
        /// Its length in characters.
        length: usize,
        /// The greatest length allowed.
        most: usize,
    },
    /// A character stands where it may not.
    #[error("{what} `{name}` is not allowed: {rule}")]
    Shape {
        /// What was being named.
        what: &'static str,
        /// The text as it was given.
        name: String,
        /// What the name has to look like.
        rule: &'static str,
    },
    /// The word already means something else.
    #[error("{what} `{name}` is reserved: {reason}")]
    Reserved {
        /// What was being named.
        what: &'static str,
        /// The text as it was given.
        name: String,
        /// Why it is not available.
        reason: &'static str,
    },
}

/// What one kind of name looks like; the single source for the parser and the schema.
struct Rule {
    what: &'static str,
    most: usize,
    pattern: &'static str,
    wording: &'static str,
    first: fn(char) -> bool,
    middle: fn(char) -> bool,
    last: fn(char) -> bool,
    reserved: fn(&str) -> Option<&'static str>,
}

const LOWER: fn(char) -> bool = |c| c.is_ascii_lowercase() || c.is_ascii_digit();
const HEXADECIMAL: fn(char) -> bool = |c| matches!(c, '0'..='9' | 'a'..='f');
const LOWER_DASH: fn(char) -> bool = |c| LOWER(c) || c == '-';
const LOWER_DASH_UNDERSCORE: fn(char) -> bool = |c| LOWER(c) || c == '-' || c == '_';
const NOTHING: fn(&str) -> Option<&'static str> = |_| None;

const MANIFEST: Rule = Rule {
    what: "name",
    most: 31,
    pattern: "^[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?$",
    wording: "use lower-case letters, digits and `-`, with a letter or digit at both ends",
    first: LOWER,
    middle: LOWER_DASH,
    last: LOWER,
    reserved: NOTHING,
};

const CONTAINER: Rule = Rule {
    what: "container name",
    most: 46,
    pattern: "^[a-z0-9][a-z0-9_-]{0,45}$",
    wording: "use lower-case letters, digits, `-` and `_`, with a letter or digit first",
    first: LOWER,
    middle: LOWER_DASH_UNDERSCORE,
    last: LOWER_DASH_UNDERSCORE,
    reserved: |name| {
        COMMAND_WORDS
            .contains(&name)
            .then_some("it is a command of aishell")
    },
};

const HARNESS: Rule = Rule {
    what: "harness name",
    most: 46,
    pattern: "^[a-z0-9][a-z0-9_-]{0,45}$",
    wording: "use lower-case letters, digits, `-` and `_`, with a letter or digit first",
    first: LOWER,
    middle: LOWER_DASH_UNDERSCORE,
    last: LOWER_DASH_UNDERSCORE,
    reserved: |name| {
        COMMAND_WORDS
            .contains(&name)
            .then_some("it is a command of aishell")
    },
};

const VOLUME: Rule = Rule {
    what: "volume name",
    most: 46,
    pattern: "^[a-z0-9][a-z0-9_-]{0,45}$",
    wording: "use lower-case letters, digits, `-` and `_`, with a letter or digit first",
    first: LOWER,
    middle: LOWER_DASH_UNDERSCORE,
    last: LOWER_DASH_UNDERSCORE,
    reserved: |name| {
        (name == "home" || name.ends_with("-home")).then_some("home volumes of containers are named so")
    },
};

const VARIABLE: Rule = Rule {
    what: "variable name",
    most: 255,
    pattern: "^[^=\\s\\x00]+$",
    wording: "it has no `=` and no white space",
    first: |c| c != '=' && !c.is_whitespace() && !c.is_control(),
    middle: |c| c != '=' && !c.is_whitespace() && !c.is_control(),
    last: |c| c != '=' && !c.is_whitespace() && !c.is_control(),
    reserved: NOTHING,
};

const PROJECT_HASH: Rule = Rule {
    what: "project hash",
    most: 8,
    pattern: "^[0-9a-f]{8}$",
    wording: "it is eight lower-case hexadecimal digits",
    first: HEXADECIMAL,
    middle: HEXADECIMAL,
    last: HEXADECIMAL,
    reserved: |name| (name.len() < 8).then_some("it is too short"),
};

impl Rule {
    fn check(&self, name: &str) -> Result<(), NameError> {
        let what = self.what;
        let length = name.chars().count();
        let mut characters = name.chars();
        let Some(first) = characters.next() else {
            return Err(NameError::Empty { what });
        };
        let last = characters.next_back();
        let shaped = (self.first)(first) && characters.all(self.middle) && last.is_none_or(self.last);
        if !shaped {
            return Err(NameError::Shape {
                what,
                name: shortened(name),
                rule: self.wording,
            });
        }
        if length > self.most {
            return Err(NameError::TooLong {
                what,
                name: shortened(name),
                length,
                most: self.most,
            });
        }
        match (self.reserved)(name) {
            Some(reason) => Err(NameError::Reserved {
                what,
                name: name.to_owned(),
                reason,
            }),
            None => Ok(()),
        }
    }
}

/// Keeps a name that is far too long from filling the screen.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 60 {
        return name.to_owned();
    }
    let mut text: String = name.chars().take(57).collect();
    text.push_str("...");
    text
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $title:literal, $rule:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $rule.check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        written_as_text!($name, $title, { "type": "string", "pattern": $rule.pattern, "maxLength": $rule.most });
    )*};
}

names! {
    /// The name of a manifest: what tells its objects from those of other manifests of the same project.
    ManifestName = "ManifestName", MANIFEST;
    /// The name of a container, as the manifest and every command spell it.
    ContainerName = "ContainerName", CONTAINER;
    /// The name of a harness, as the manifest and every command spell it.
    HarnessName = "HarnessName", HARNESS;
    /// The name of a data volume, as the manifest spells it.
    VolumeName = "VolumeName", VOLUME;
    /// The name of an environment variable.
    VariableName = "VariableName", VARIABLE;
    /// The eight hexadecimal digits that stand for a project directory in names of engine objects.
    ProjectHash = "ProjectHash", PROJECT_HASH;
}

impl ManifestName {
    /// Makes the name a directory gives a manifest that does not name itself.
    ///
    /// Letters become lower case, everything that may not stand in a name becomes `-`, and the length is cut.
    /// A directory without a single usable character (`/`, say) is called `sandbox`.
    pub fn of_directory(directory: &std::path::Path) -> Self {
        let name = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let mut text = String::new();
        for character in name.chars() {
            let character = if LOWER(character) { character } else { '-' };
            if !(character == '-' && (text.is_empty() || text.ends_with('-'))) {
                text.push(character);
            }
        }
        text.truncate(MANIFEST.most);
        let text = text.trim_end_matches('-');
        Self(if text.is_empty() {
            "sandbox".to_owned()
        } else {
            text.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn names_follow_their_rules() {
        for good in ["a", "payments", "a-b", "0", "a234567890123456789012345678901"] {
            assert_eq!(good.parse::<ManifestName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "ä",
            "a2345678901234567890123456789012",
        ] {
            assert!(bad.parse::<ManifestName>().is_err(), "{bad}");
        }
        assert!("a_b-".parse::<ContainerName>().is_ok());
        assert!("1234abcd".parse::<ProjectHash>().is_ok());
        assert!("1234ABCD".parse::<ProjectHash>().is_err());
        assert!("1234abc".parse::<ProjectHash>().is_err());
    }

    #[test]
    fn a_refused_name_says_what_is_allowed() {
        let refused = |text: &str| text.parse::<ContainerName>().unwrap_err().to_string();
        insta::assert_snapshot!(refused("Reviewer"), @"container name `Reviewer` is not allowed: use lower-case letters, digits, `-` and `_`, with a letter or digit first");
        insta::assert_snapshot!(refused(&"a".repeat(47)), @"container name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is 47 characters long; at most 46 are allowed");
        insta::assert_snapshot!(refused("apply"), @"container name `apply` is reserved: it is a command of aishell");
        insta::assert_snapshot!(refused(""), @"container name is empty");
    }

    #[test]
    fn home_volumes_keep_their_names_to_themselves() {
        assert!("home".parse::<VolumeName>().is_err());
        assert!("reviewer-home".parse::<VolumeName>().is_err());
        assert!("cache".parse::<VolumeName>().is_ok());
    }

    #[test]
    fn a_directory_gives_a_usable_name() {
        let name = |path: &str| ManifestName::of_directory(Path::new(path)).to_string();
        assert_eq!(name("/srv/My Project (2)"), "my-project-2");
        assert_eq!(name("/"), "sandbox");
        assert_eq!(name("/srv/___"), "sandbox");
        assert_eq!(name(&format!("/srv/{}-b", "a".repeat(30))), "a".repeat(30));
    }
}
