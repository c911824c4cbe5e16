//! `aishell init`: a manifest to start from.
#![expect(clippy::disallowed_methods, reason = "this command writes files")]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use crate::manifest::find;
use crate::manifest::load::{self, LoadError};
use crate::manifest::place::Problem;
use crate::name::ManifestName;

/// The manifest that is written, with `project` for its name.
const STARTER: &str = include_str!("../../manifests/starter.yaml");
/// The directory that is made.
const DIRECTORY: &str = ".aishell";
/// The manifest in it.
const MANIFEST: &str = "manifest.yaml";
/// The schema beside it, for editors.
const SCHEMA: &str = "manifest.schema.json";
/// What comes next.
const NEXT: [&str; 3] = ["aishell validate", "aishell diff", "aishell apply"];

/// Write a manifest to start from
///
/// Makes `.aishell/manifest.yaml` with comments, and the schema for editors beside it, in the root of the repository or
/// else here. Where there is a manifest already nothing is written.
#[derive(Debug, Args)]
pub struct Init {
    /// Overwrite `.aishell/manifest.yaml`
    #[arg(long)]
    force: bool,
}

impl Init {
    /// Writes the manifest.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let host = &invocation.host;
        let root = find::repository(&host.directory, Path::exists).unwrap_or(&host.directory);
        let directory = root.join(DIRECTORY);
        let manifest = directory.join(MANIFEST);
        let there = match load::find(host) {
            Ok(path) => vec![path],
            Err(LoadError::Ambiguous { candidates, .. }) => candidates,
            Err(_) => Vec::new(),
        };
        // Another one beside it would make two.
        if let Some(other) = there.iter().find(|path| !self.force || **path != manifest) {
            let message = format!("{} is there already", invocation.seen(other).display());
            let hint = if *other == manifest {
                "edit it, or write it anew with --force"
            } else {
                "edit it, or move it away first"
            };
            return Err(Failure::new(Exit::Usage, Problem::new(message).hint(hint)));
        }
        let name = ManifestName::of_directory(root);
        let text = STARTER.replacen("name: project", &format!("name: {name}"), 1);
        let mut schema = super::schema::Document::Manifest.schema().to_value().to_string();
        schema.push('\n');
        make(&directory).map_err(|error| unwritable(invocation, &directory, &error))?;
        for (file, text) in [(SCHEMA, &schema), (MANIFEST, &text)] {
            let path = directory.join(file);
            write(&path, text).map_err(|error| unwritable(invocation, &path, &error))?;
        }
        tell(invocation, &manifest, &name);
        Ok(Exit::Done)
    }
}

/// Makes the directory, or finds that it is one. A link could lead anywhere.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(directory)?.is_dir() {
                Ok(())
            } else {
                Err(io::Error::other("it is not a directory"))
            }
        }
        result => result,
    }
}

/// Puts a file in its place at once: whatever had the name is replaced, be it a link, and nobody sees half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = PathBuf::from(path);
    draft.set_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Nobody needs half of it.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn unwritable(invocation: &Invocation, path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be written: {error}", invocation.seen(path).display());
    Failure::new(Exit::Usage, Problem::new(message))
}

fn tell(invocation: &Invocation, manifest: &Path, name: &ManifestName) {
    let path = invocation.seen(manifest).display().to_string();
    if invocation.is_json() {
        invocation
            .output
            .document(&json::Starter::of(&path, name.as_str(), &NEXT));
    } else if !invocation.output.is_quiet() {
        let next = NEXT.map(|command| format!("  {command}\n")).concat();
        invocation.output.answer(&format!("wrote {path}; next:\n{next}"));
    }
}
