//! [`Invocation`]: what every command starts from.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::output::Output;
use super::render::Style;
use super::viewpoint::Viewpoint;
use super::{Format, Global};
use crate::engine::docker::{DockerEngine, Target};
use crate::host::Host;
use crate::manifest::EngineAddress;
use crate::manifest::load::{self, LoadError, Loaded, STANDARD_INPUT};
use crate::prepare::{PrepareError, Prepared};

/// Who runs a command, with which options, and where the answer goes.
#[derive(Debug)]
pub struct Invocation {
    /// The options that every command has.
    pub global: Global,
    /// The host.
    pub host: Host,
    /// Where answers and talk go.
    pub output: Arc<Output>,
}

impl Invocation {
    /// Returns how things are shown to the person; `base` is the directory of the manifest.
    pub fn style<'a>(&'a self, base: &'a Path) -> Style<'a> {
        Style {
            layout: self.output.layout(),
            viewpoint: Viewpoint {
                directory: &self.host.directory,
                base,
            },
        }
    }

    /// Says whether the answer is one JSON document.
    pub fn is_json(&self) -> bool {
        self.output.format() == Format::Json
    }

    /// Returns the path of the manifest as the person gave it.
    fn path<'a>(&'a self, argument: Option<&'a Path>) -> Result<Option<&'a Path>, Failure> {
        match (self.global.file.as_deref(), argument) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "the manifest is named twice",
                "give it with --file or as the argument, not both",
            )),
            (file, argument) => Ok(file.or(argument)),
        }
    }

    /// Loads the manifest that is meant, with everything this host says about it.
    ///
    /// # Errors
    /// As [`load::find`] and [`Prepared::of`], or when it is named twice.
    pub fn prepare(&self, argument: Option<&Path>) -> Result<Prepared, Failure> {
        Ok(Prepared::of(self.load(argument)?, &self.host)?)
    }

    /// Says whether a manifest is the one that is found where none is named.
    pub fn finds(&self, path: &Path) -> bool {
        self.global.file.is_none() && load::find(&self.host).is_ok_and(|found| found == path)
    }

    /// Says whether there is no manifest here, and none is named.
    pub fn has_no_manifest(&self) -> bool {
        self.global.file.is_none() && matches!(load::find(&self.host), Err(LoadError::NotFound { .. }))
    }

    /// Makes a manifest of text that is in no file, with a lock that is.
    ///
    /// # Errors
    /// As [`Prepared::with_lock`].
    pub fn prepare_text(&self, text: &str, lock: PathBuf) -> Result<Prepared, Failure> {
        let loaded = load::parse(text, Path::new(STANDARD_INPUT), &self.host)?;
        Ok(Prepared::with_lock(loaded, &self.host, Some(lock))?)
    }

    /// Finds the engine that is meant: as the options say, else the manifest, else as Docker would choose.
    ///
    /// # Errors
    /// It is not known where the engine is. Whether it is there is not asked yet.
    pub fn engine(&self, manifest: &EngineAddress) -> Result<DockerEngine, Failure> {
        let manifest = match manifest {
            EngineAddress::Current => Target::Default,
            EngineAddress::Context(name) => Target::Context(name.clone()),
            EngineAddress::Host(uri) => Target::Host(uri.clone()),
        };
        let target = Target::choose(self.global.host.clone(), self.global.context.clone(), manifest);
        Ok(DockerEngine::connect(
            &target,
            &self.host.environment,
            Some(&self.host.home),
        )?)
    }

    /// Finds the engine of a manifest, as [`Invocation::engine`], and says whether it sees what containers are to bind.
    ///
    /// # Errors
    /// As [`Invocation::engine`], or for every bind on an engine that does not see this host's files.
    pub fn engine_of(&self, prepared: &Prepared) -> Result<DockerEngine, Failure> {
        let engine = self.engine(&prepared.loaded.manifest.engine.address)?;
        let problems = if engine.is_local() {
            Vec::new()
        } else {
            prepared.remote_problems(engine.host())
        };
        if problems.is_empty() {
            return Ok(engine);
        }
        let loaded = Box::new(prepared.loaded.clone());
        Err(PrepareError::Problems { problems, loaded }.into())
    }

    /// Returns a path as seen from the working directory, where it lies below that.
    pub fn seen<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.host.directory).unwrap_or(path)
    }

    fn load(&self, argument: Option<&Path>) -> Result<Loaded, Failure> {
        let path = match self.path(argument)? {
            Some(path) if path == Path::new(STANDARD_INPUT) => return Ok(self.standard_input()?),
            Some(path) => path.to_path_buf(),
            None => load::find(&self.host)?,
        };
        Ok(load::load(&path, &self.host)?)
    }

    fn standard_input(&self) -> Result<Loaded, LoadError> {
        let path = PathBuf::from(STANDARD_INPUT);
        let mut text = String::new();
        let read = std::io::stdin().take(load::LARGEST + 1).read_to_string(&mut text);
        match read {
            Err(cause) => Err(LoadError::Unreadable { path, cause }),
            Ok(_) => load::parse(&text, &path, &self.host),
        }
    }

    /// Returns the command that does the same again.
    pub fn again(&self, verb: &str, argument: Option<&Path>) -> String {
        match self.path(argument) {
            Ok(Some(path)) => format!("aishell {verb} -f {}", path.display()),
            Ok(None) | Err(_) => format!("aishell {verb}"),
        }
    }
}
