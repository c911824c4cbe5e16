//! Mounts: host paths, data volumes and memory in a container.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::form::{self, Absent, Form, formed};
use crate::name::VolumeName;
use crate::units::{FileMode, Memory};
use crate::written::written_as_text;

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// The path on the host, absolute.
        source: PathBuf,
        /// The path in the container.
        target: Target,
        /// Whether the container may only read it.
        read_only: bool,
        /// What is made when the source is missing; `None` makes that an error.
        create: Option<Create>,
    },
    /// A data volume of the manifest.
    Volume {
        /// Its name.
        volume: VolumeName,
        /// The path in the container.
        target: Target,
        /// Whether the container may only read it.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// The path in the container.
        target: Target,
        /// How much it may hold; `None` is what the engine allows.
        size: Option<Memory>,
        /// The permissions of its directory; `None` is 1777.
        mode: Option<FileMode>,
    },
}

impl Mount {
    /// Returns the path in the container.
    pub fn target(&self) -> &Target {
        match self {
            Self::Bind { target, .. } | Self::Volume { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// What is made when a source is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    /// An empty directory, owned by the project's owner.
    Directory,
}

/// A path in a container: absolute, or below the home of its user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An absolute path without `.` and `..`.
    Absolute(PathBuf),
    /// A path below the home of the container's user; empty is the home itself.
    Home(PathBuf),
}

impl Target {
    /// Returns the absolute path for a container whose user lives in `home`.
    pub fn in_home(&self, home: &Path) -> PathBuf {
        match self {
            Self::Absolute(path) => path.clone(),
            Self::Home(path) if path.as_os_str().is_empty() => home.to_path_buf(),
            Self::Home(path) => home.join(path),
        }
    }
}

/// Why a text is no path in a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path in a container: {reason}")]
pub struct TargetError {
    path: String,
    reason: &'static str,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = |reason| {
            Err(TargetError {
                path: text.to_owned(),
                reason,
            })
        };
        let (rest, home) = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, true),
            Some(_) => return wrong("`~` stands for the home of the container's user alone"),
            None if text.starts_with('/') => (text, false),
            None => return wrong("it starts with `/` or `~/`"),
        };
        if rest.contains('\0') {
            return wrong("it contains a NUL character");
        }
        let mut path = if home { PathBuf::new() } else { PathBuf::from("/") };
        for part in rest.split('/') {
            match part {
                "" | "." => {}
                ".." => return wrong("`..` is not allowed in it"),
                part => path.push(part),
            }
        }
        Ok(if home {
            Self::Home(path)
        } else {
            Self::Absolute(path)
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(path) => write!(f, "{}", path.display()),
            Self::Home(path) if path.as_os_str().is_empty() => f.write_str("~"),
            Self::Home(path) => write!(f, "~/{}", path.display()),
        }
    }
}

written_as_text!(Target, "Target", {
    "description": "A path in the container; `~/` is the home of its user.",
    "type": "string",
    "pattern": "^(/|~$|~/)"
});

/// The parts of a mount written as `SOURCE`, `SOURCE:TARGET`, `SOURCE:TARGET:ro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short<'a> {
    /// The path on the host, as written.
    pub source: &'a str,
    /// The path in the container; `None` is the same path.
    pub target: Option<&'a str>,
    /// Whether the container may only read it.
    pub read_only: bool,
}

impl<'a> Short<'a> {
    /// Takes the text apart.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a mount; write SOURCE, SOURCE:TARGET or SOURCE:TARGET:ro");
        let mut parts = text.split(':');
        let source = parts
            .next()
            .filter(|source| !source.is_empty())
            .ok_or_else(wrong)?;
        let target = parts.next();
        let mode = parts.next();
        if target == Some("") || parts.next().is_some() {
            return Err(wrong());
        }
        let read_only = match (target, mode) {
            (_, None | Some("rw")) => false,
            (_, Some("ro")) => true,
            (_, Some(_)) => return Err(wrong()),
        };
        if let Some(word @ ("ro" | "rw")) = target {
            return Err(format!("`{text}` is not a mount; write SOURCE:TARGET:{word}"));
        }
        Ok(Self {
            source,
            target,
            read_only,
        })
    }
}

/// The fields of a mount.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountFields {
    /// A file or directory of the host; `~` and `$VAR` expand.
    source: Option<PathBuf>,
    /// The path in the container; default: the same path.
    target: Option<Target>,
    /// Whether the container may only read it; default: false.
    read_only: Option<bool>,
    /// What is made when the source is missing; default: that is an error.
    create: Option<Create>,
    /// A data volume of the manifest, by name; it is never removed without consent.
    volume: Option<VolumeName>,
    /// Memory, mounted at this path in the container.
    tmpfs: Option<Target>,
    /// How much a `tmpfs` may hold; default: what the engine allows.
    size: Option<Memory>,
    /// The permissions of a `tmpfs`; default: "1777".
    mode: Option<FileMode>,
}

impl Form for Mount {
    const EXPECTED: &'static str = "SOURCE:TARGET, or a map with `source`, `volume` or `tmpfs`";
    type Map = MountFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        let Short {
            source,
            target,
            read_only,
        } = Short::parse(text)?;
        let target = target
            .unwrap_or(source)
            .parse()
            .map_err(|error: TargetError| error.to_string())?;
        Ok(Self::Bind {
            source: source.into(),
            target,
            read_only,
            create: None,
        })
    }

    fn from_map(fields: MountFields) -> Result<Self, String> {
        let MountFields {
            source,
            target,
            read_only,
            create,
            volume,
            tmpfs,
            size,
            mode,
        } = fields;
        let given = [
            ("readOnly", read_only.is_some(), tmpfs.is_none()),
            ("create", create.is_some(), source.is_some()),
            ("size", size.is_some(), tmpfs.is_some()),
            ("mode", mode.is_some(), tmpfs.is_some()),
            ("target", target.is_some(), tmpfs.is_none()),
        ];
        let misplaced = given
            .into_iter()
            .find(|(_, given, fitting)| *given && !fitting)
            .map(|(key, ..)| key);
        let read_only = read_only.unwrap_or(false);
        let mount = match (source, volume, tmpfs) {
            (Some(source), None, None) => {
                let same = || {
                    source
                        .to_string_lossy()
                        .parse()
                        .map_err(|error: TargetError| error.to_string())
                };
                let target = target.map_or_else(same, Ok)?;
                Self::Bind {
                    source,
                    target,
                    read_only,
                    create,
                }
            }
            (None, Some(volume), None) => {
                let target = target.ok_or("a `volume` needs a `target`")?;
                Self::Volume {
                    volume,
                    target,
                    read_only,
                }
            }
            (None, None, Some(target)) => Self::Tmpfs { target, size, mode },
            _ => return Err("a mount has exactly one of `source`, `volume`, `tmpfs`".into()),
        };
        match (misplaced, &mount) {
            (None, _) => Ok(mount),
            (Some("target"), _) => {
                Err("`tmpfs` is the path in the container already; `target` does not go with it".into())
            }
            (Some(key), Self::Bind { .. }) => Err(format!("`{key}` does not go with `source`")),
            (Some(key), Self::Volume { .. }) => Err(format!("`{key}` does not go with `volume`")),
            (Some(key), Self::Tmpfs { .. }) => Err(format!("`{key}` does not go with `tmpfs`")),
        }
    }
}

formed!(Mount);

impl JsonSchema for Mount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mount".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<String>(),
            generator.subschema_for::<MountFields>(),
        ];
        form::one_of(
            "`SOURCE`, `SOURCE:TARGET`, `SOURCE:TARGET:ro`, or a map with one of `source`, `volume`, `tmpfs`.",
            choices,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_normalised() {
        assert_eq!("/a//b/./c/".parse(), Ok(Target::Absolute("/a/b/c".into())));
        assert_eq!("~/.cache".parse(), Ok(Target::Home(".cache".into())));
        assert_eq!(
            "~".parse::<Target>().unwrap().in_home(Path::new("/home/me")),
            Path::new("/home/me")
        );
        for bad in ["", "a", "./a", "/a/../b", "~me/x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn short_mounts_have_up_to_three_parts() {
        assert_eq!(
            Short::parse("/a"),
            Ok(Short {
                source: "/a",
                target: None,
                read_only: false
            })
        );
        assert_eq!(
            Short::parse("./a:/b:ro"),
            Ok(Short {
                source: "./a",
                target: Some("/b"),
                read_only: true
            })
        );
        for bad in ["", ":/b", "/a:", "/a:ro", "/a:/b:z", "/a:/b:ro:x"] {
            assert!(Short::parse(bad).is_err(), "{bad}");
        }
    }
}
