//! The stages of an image: foundation, base, extension.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::builtin::Builtin;
use super::form::{Scalar, schema_of_fields};
use super::phases::Phases;
use crate::written::written_as_text;

/// How one stage of the image is made: exactly one of `image`, `dockerfile`, `phases`, `builtin`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "StageFields")]
pub enum Stage {
    /// An image that exists.
    Image {
        /// The reference.
        image: ImageReference,
        /// When it is pulled.
        pull: Pull,
    },
    /// An image that is built from a Dockerfile.
    Dockerfile(DockerfileStage),
    /// An image that is built in ordered phases.
    Phases(Box<Phases>),
    /// The foundation that ships with aishell.
    Builtin(Builtin),
}

/// A stage that is built from a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileStage {
    /// The Dockerfile, absolute.
    pub dockerfile: PathBuf,
    /// The build context, absolute; `None` is the Dockerfile's directory, and for the extension the project.
    pub context: Option<PathBuf>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The build target; `None` is the last one.
    pub target: Option<String>,
    /// When the images it starts from are pulled.
    pub pull: Pull,
}

impl Stage {
    /// Returns the Dockerfile that it is made of, or that its phases start from, with the field that has it.
    pub fn built(&self) -> Option<(Cow<'_, DockerfileStage>, &'static str)> {
        match self {
            Self::Dockerfile(stage) => Some((Cow::Borrowed(stage), "dockerfile")),
            Self::Phases(phases) => Some((Cow::Owned(phases.dockerfile()?), "phases.dockerfile")),
            Self::Image { .. } | Self::Builtin(_) => None,
        }
    }
}

impl DockerfileStage {
    /// Returns the context: as written, else the Dockerfile's directory, and for the extension the project.
    pub fn context<'a>(&'a self, stage: StageName, project: &'a Path) -> &'a Path {
        let default = || match stage {
            StageName::Foundation | StageName::Base => self.dockerfile.parent().unwrap_or(Path::new("/")),
            StageName::Extension => project,
        };
        self.context.as_deref().unwrap_or_else(default)
    }
}

/// How one stage of the image is made: exactly one of `image`, `dockerfile`, `phases`, `builtin`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StageFields {
    /// An image reference, as in `debian:bookworm-slim`. What it meant goes to `aishell.lock`.
    image: Option<ImageReference>,
    /// When images are pulled: `missing` (default), `always`, `never`. Goes with `image`, which `always` asks its registry
    /// for at each apply, and with `dockerfile`, whose base images it is about when that is built.
    pull: Option<Pull>,
    /// The path of a Dockerfile. Its `FROM aishell:foundation` or `FROM aishell:base` means the previous stage.
    dockerfile: Option<PathBuf>,
    /// The build context; default: the Dockerfile's directory, for the extension the project.
    context: Option<PathBuf>,
    /// Build arguments.
    #[schemars(with = "Option<BTreeMap<String, Scalar>>")]
    args: Option<BTreeMap<String, String>>,
    /// The build target; default: the last one.
    target: Option<String>,
    /// Ordered phases, each of which leaves a snapshot.
    phases: Option<Box<Phases>>,
    /// The foundation that ships with aishell.
    builtin: Option<Builtin>,
}

schema_of_fields!(Stage, StageFields);

impl TryFrom<StageFields> for Stage {
    type Error = String;

    fn try_from(fields: StageFields) -> Result<Self, String> {
        let StageFields {
            image,
            pull,
            dockerfile,
            context,
            args,
            target,
            phases,
            builtin,
        } = fields;
        let building = [
            ("context", context.is_some()),
            ("args", args.is_some()),
            ("target", target.is_some()),
        ];
        let extra = |allowed_pull: bool| {
            let pull = [("pull", pull.is_some() && !allowed_pull)];
            building
                .into_iter()
                .chain(pull)
                .find(|(_, given)| *given)
                .map(|(key, _)| key)
        };
        let refuse =
            |key: &str, stage: &str| Err(format!("`{key}` goes with `dockerfile`, not with `{stage}`"));
        match (image, dockerfile, phases, builtin) {
            (Some(image), None, None, None) => match extra(true) {
                Some(key) => refuse(key, "image"),
                None => Ok(Self::Image {
                    image,
                    pull: pull.unwrap_or_default(),
                }),
            },
            (None, Some(dockerfile), None, None) => Ok(Self::Dockerfile(DockerfileStage {
                dockerfile,
                context,
                args: args.unwrap_or_default(),
                target,
                pull: pull.unwrap_or_default(),
            })),
            (None, None, Some(phases), None) => match extra(false) {
                Some(key) => refuse(key, "phases"),
                None => Ok(Self::Phases(phases)),
            },
            (None, None, None, Some(builtin)) => match extra(false) {
                Some(key) => refuse(key, "builtin"),
                None => Ok(Self::Builtin(builtin)),
            },
            (None, None, None, None) => {
                Err("a stage needs one of `image`, `dockerfile`, `phases`, `builtin`".into())
            }
            (image, dockerfile, phases, builtin) => {
                let given = [
                    ("`image`", image.is_some()),
                    ("`dockerfile`", dockerfile.is_some()),
                    ("`phases`", phases.is_some()),
                    ("`builtin`", builtin.is_some()),
                ];
                let given: Vec<_> = given
                    .into_iter()
                    .filter(|(_, given)| *given)
                    .map(|(key, _)| key)
                    .collect();
                Err(format!(
                    "a stage has exactly one of `image`, `dockerfile`, `phases`, `builtin`; here are {}",
                    given.join(" and ")
                ))
            }
        }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// When the engine does not have it (default).
    #[default]
    Missing,
    /// At each apply; what a build starts from: whenever it is built.
    Always,
    /// Never: it has to be there.
    Never,
}

/// A stage by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// The first stage.
    Foundation,
    /// The personal or team layer.
    Base,
    /// The project layer.
    Extension,
}

impl StageName {
    /// Every stage, each after the one it is made on.
    pub const ALL: [Self; 3] = [Self::Foundation, Self::Base, Self::Extension];

    /// Returns the word manifests use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foundation => "foundation",
            Self::Base => "base",
            Self::Extension => "extension",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reference to an image: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference(String);

impl ImageReference {
    /// Returns the reference as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the reference without tag and digest.
    pub fn repository(&self) -> &str {
        let name = self.0.split('@').next().unwrap_or(&self.0);
        match name.rsplit_once(':') {
            // A port is no tag.
            Some((repository, tag)) if !tag.contains('/') => repository,
            Some(_) | None => name,
        }
    }

    /// Returns the digest, when the reference has one.
    pub fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }
}

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{reference}` is not an image reference: {reason}")]
pub struct ReferenceError {
    reference: String,
    reason: &'static str,
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason| {
            Err(ReferenceError {
                reference: text.to_owned(),
                reason,
            })
        };
        if text.len() > 512 {
            return wrong("it is too long");
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
            let digits = hexadecimal
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if hexadecimal.len() != 64 || !digits {
                return wrong("the digest after `@` is `sha256:` and 64 lower-case hexadecimal digits");
            }
        }
        let slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match name[slash..].split_once(':') {
            Some((last, tag)) => (&name[..slash + last.len()], Some(tag)),
            None => (name, None),
        };
        if let Some(tag) = tag {
            let first = tag
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let rest = tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
            if !first || !rest || tag.len() > 128 {
                return wrong("the tag after `:` is letters, digits, `_`, `.` and `-`");
            }
        }
        let mut parts: Vec<_> = path.split('/').collect();
        if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
            let registry = parts.remove(0);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
            if registry.is_empty() || !registry.bytes().all(allowed) {
                return wrong("the registry before the first `/` is a host name, perhaps with a port");
            }
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase())
            && parts
                .iter()
                .any(|part| part.bytes().any(|b| b.is_ascii_uppercase()))
        {
            return wrong("the repository is lower-case");
        }
        let component = |part: &&str| {
            let edge = |byte: Option<u8>| {
                byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            let inner =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
        };
        if !parts.iter().all(component) {
            return wrong("write it as `repository:tag`, with a registry before it if it needs one");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(ImageReference, "ImageReference", {
    "description": "A reference to an image: `[registry/]repository[:tag][@digest]`.",
    "type": "string",
    "pattern": "^[a-zA-Z0-9][a-zA-Z0-9._:/@\\[\\]-]*$",
    "maxLength": 512
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_have_the_usual_shape() {
        let digest = format!("debian@sha256:{}", "a".repeat(64));
        for good in [
            "debian",
            "debian:bookworm-slim",
            "library/debian",
            "localhost:5000/a/b:1",
            "ghcr.io/x/y_z",
            &digest,
            "aishell-local/base:1",
        ] {
            assert!(good.parse::<ImageReference>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Debian",
            "debian:",
            "debian:a b",
            "/debian",
            "debian/",
            "a@sha256:1",
            "debian:-x",
            "a//b",
            "häuser",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
