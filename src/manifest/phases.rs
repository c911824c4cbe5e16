//! The phases of a stage, as they are written.
//!
//! Their meaning, order and keys belong to resolving; here is only their shape.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::form::{self, Absent, Form, Scalar, formed};
use super::stage::{DockerfileStage, ImageReference, Pull};
use crate::units::FileMode;

mod command;

pub use command::{PhaseCommand, PhaseTest};

mod fetched;

pub use fetched::{PhaseRepo, PhaseTool};

/// The ordered phases of a stage.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Phases {
    /// Phase 0: a Dockerfile to start from, instead of `base.image`.
    pub dockerfile: Option<PhaseDockerfile>,
    /// Phase 1: the image to start from.
    pub base: Option<PhaseBase>,
    /// Phase 2: users to create.
    pub users: Vec<PhaseUser>,
    /// Phase 3: environment; `${VAR}`, `${VAR:-default}` and `$$` are resolved in dependency order.
    #[serde(deserialize_with = "form::variables")]
    #[schemars(with = "form::Variables")]
    pub env: BTreeMap<String, String>,
    /// Phase 4: the working directory.
    pub workdir: Option<PhaseWorkdir>,
    /// Phase 5: a directory of layered files.
    pub habitat: Option<PhaseHabitat>,
    /// Phase 6: files and directories from the host.
    pub files: Vec<PhaseFile>,
    /// Phase 7: packages and commands.
    pub setup: Option<PhaseSetup>,
    /// Phase 8: git repositories, fetched on the host.
    #[serde(alias = "repositories")]
    pub repos: Vec<PhaseRepo>,
    /// Phase 9: tools, downloaded and checked on the host.
    pub tools: Vec<PhaseTool>,
    /// Phase 10: files that must be there; leaves no snapshot.
    pub verify: Option<PhaseVerify>,
    /// Phase 11: commands that must succeed; leaves no snapshot.
    pub test: Vec<PhaseTest>,
    /// Phase 12: how the image runs.
    #[serde(rename = "final")]
    pub finish: Option<PhaseFinal>,
    /// Commands before and after a phase, by its name.
    pub hooks: BTreeMap<String, PhaseHooks>,
}

impl Phases {
    /// Returns the files and directories of this host that it names, with the field that does.
    pub fn sources(&self) -> impl Iterator<Item = (String, &Path)> {
        let layers = self.habitat.iter().flat_map(|habitat| &habitat.layers);
        let layers = layers.map(|(name, path)| (format!("habitat.layers.{name}"), path.as_path()));
        let files = self.files.iter().enumerate();
        let files = files.map(|(index, file)| (format!("files.{index}.source"), file.source.as_path()));
        let tests = self.test.iter().enumerate();
        let tests = tests.filter_map(|(index, test)| match test {
            PhaseTest::File(file) => Some((format!("test.{index}.file"), file.as_path())),
            PhaseTest::Command(_) => None,
        });
        layers.chain(files).chain(tests)
    }

    /// Returns the Dockerfile that they start from, as a stage would have it.
    pub fn dockerfile(&self) -> Option<DockerfileStage> {
        self.dockerfile.as_ref().map(|written| DockerfileStage {
            dockerfile: written.path.clone(),
            context: written.context.clone().or_else(|| {
                let own = written.path.parent();
                own.map(Path::to_path_buf)
            }),
            args: written.args.clone(),
            target: written.target.clone(),
            pull: Pull::default(),
        })
    }

    /// Returns every command, with the field that has it.
    pub fn commands(&self) -> impl Iterator<Item = (String, &PhaseCommand)> {
        let setup = self.setup.iter().flat_map(|setup| {
            let root = setup.root.iter().enumerate();
            let root = root.map(|(index, one)| (format!("setup.root.{index}"), one));
            let user = setup.user.iter().enumerate();
            root.chain(user.map(|(index, one)| (format!("setup.user.{index}"), one)))
        });
        let tests = self.test.iter().enumerate();
        let tests = tests.filter_map(|(index, test)| match test {
            PhaseTest::Command(command) => Some((format!("test.{index}"), command)),
            PhaseTest::File(_) => None,
        });
        let hooks = self.hooks.iter().flat_map(|(phase, hooks)| {
            let of = move |when: &'static str, at: usize| format!("hooks.{phase}.{when}.{at}");
            let before = hooks.before.iter().enumerate();
            let before = before.map(move |(index, one)| (of("before", index), one));
            let of = move |when: &'static str, at: usize| format!("hooks.{phase}.{when}.{at}");
            let after = hooks.after.iter().enumerate();
            before.chain(after.map(move |(index, one)| (of("after", index), one)))
        });
        setup.chain(tests).chain(hooks)
    }
}

/// A Dockerfile to start from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseDockerfile {
    /// The Dockerfile.
    pub path: PathBuf,
    /// The build context; default: the Dockerfile's directory.
    pub context: Option<PathBuf>,
    /// Build arguments.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub args: BTreeMap<String, String>,
    /// The build target; default: the last one.
    pub target: Option<String>,
}

/// The image to start from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseBase {
    /// An image reference.
    pub image: ImageReference,
}

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseUser {
    /// The name.
    pub name: String,
    /// The user id; default: the next free one.
    pub uid: Option<u32>,
    /// The group id; default: that of the user.
    pub gid: Option<u32>,
    /// Additional groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The login shell; default: `/bin/sh`.
    pub shell: Option<String>,
    /// The home directory; default: `/home/NAME`.
    pub home: Option<String>,
}

/// The working directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseWorkdir {
    /// Its path in the image.
    pub path: String,
    /// Whose it is; default: root.
    pub owner: Option<String>,
}

/// A directory of layered files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseHabitat {
    /// Its path in the image.
    pub path: String,
    /// The directories in it, lowest layer first.
    #[serde(default)]
    pub dirs: Vec<String>,
    /// What is copied into a directory, by its name.
    #[serde(default)]
    pub layers: BTreeMap<String, PathBuf>,
    /// Whose it is; default: root.
    pub owner: Option<String>,
}

/// A file or directory from the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseFile {
    /// The file or directory on the host.
    pub source: PathBuf,
    /// Its path in the image; `~name/` is that user's home.
    pub target: String,
    /// Whose it is; default: root.
    pub owner: Option<String>,
    /// Its permissions; default: those of the source.
    pub mode: Option<FileMode>,
}

/// Packages and commands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhaseSetup {
    /// Packages by their manager.
    pub packages: Packages,
    /// Commands run as root.
    pub root: Vec<PhaseCommand>,
    /// Commands run as the user.
    pub user: Vec<PhaseCommand>,
}

/// Packages by their manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Packages {
    /// Debian packages.
    pub apt: Vec<String>,
    /// npm packages, perhaps with a version, as in `typescript@5`.
    pub npm: Vec<String>,
    /// Python packages, perhaps with a version.
    pub pip: Vec<String>,
}

/// What must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhaseVerify {
    /// Files that must be there.
    pub files: Vec<VerifyFile>,
}

/// A file that must be there: its path, or its path with mode and owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyFile {
    /// Its path in the image.
    pub path: String,
    /// The permissions it must have.
    pub mode: Option<FileMode>,
    /// Whose it must be.
    pub owner: Option<String>,
}

/// The fields of a file that must be there.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyFileFields {
    /// Its path in the image.
    path: String,
    /// The permissions it must have.
    mode: Option<FileMode>,
    /// Whose it must be.
    owner: Option<String>,
}

impl Form for VerifyFile {
    const EXPECTED: &'static str = "a path or a map with `path`";
    type Map = VerifyFileFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self {
            path: text.to_owned(),
            mode: None,
            owner: None,
        })
    }

    fn from_map(VerifyFileFields { path, mode, owner }: VerifyFileFields) -> Result<Self, String> {
        Ok(Self { path, mode, owner })
    }
}

impl JsonSchema for VerifyFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VerifyFile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<String>(),
            generator.subschema_for::<VerifyFileFields>(),
        ];
        form::one_of("A file that must be there: its path, or a map.", choices)
    }
}

formed!(VerifyFile);

/// How the image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhaseFinal {
    /// The user; default: the first of `users`, else root.
    pub user: Option<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// Environment added last.
    #[serde(deserialize_with = "form::variables")]
    #[schemars(with = "form::Variables")]
    pub env: BTreeMap<String, String>,
    /// The entrypoint; default: the image's.
    #[schemars(with = "Option<Vec<Scalar>>")]
    pub entrypoint: Option<Vec<String>>,
    /// The command; default: the image's.
    #[schemars(with = "Option<Vec<Scalar>>")]
    pub command: Option<Vec<String>>,
}

/// Commands around a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhaseHooks {
    /// Commands before it.
    pub before: Vec<PhaseCommand>,
    /// Commands after it.
    pub after: Vec<PhaseCommand>,
}
