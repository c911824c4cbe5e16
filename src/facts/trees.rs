//! What lies on this host and goes into images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::whereabouts;
use crate::context::{ContextError, Digests, Tree};
use crate::manifest::Manifest;
use crate::manifest::load::Loaded;
use crate::manifest::stage::{Stage, StageName};

/// Reads the files and directories of phases, by the path that is written; what cannot be read is told with its field.
pub(super) fn read(
    manifest: &Manifest,
    digests: &Digests,
    note: &mut impl FnMut(&str, &ContextError),
) -> BTreeMap<PathBuf, Arc<Tree>> {
    let mut trees = BTreeMap::new();
    for name in StageName::ALL {
        let Some(Stage::Phases(phases)) = manifest.stage(name) else {
            continue;
        };
        for (field, path) in phases.sources() {
            match Tree::read(path, digests) {
                Ok(tree) => {
                    trees.insert(path.to_path_buf(), Arc::new(tree));
                }
                Err(error) => note(&format!("{name}.phases.{field}"), &error),
            }
        }
    }
    trees
}

/// Returns the files and contexts outside the project whose content the manifest uses, its own file aside.
pub(super) fn outside(loaded: &Loaded, project: &Path, ground: &Path) -> BTreeSet<String> {
    let source = &loaded.source;
    let contexts = StageName::ALL
        .into_iter()
        .flat_map(|name| match loaded.manifest.stage(name) {
            Some(Stage::Dockerfile(stage)) => vec![stage.context(name, project).to_path_buf()],
            Some(Stage::Phases(phases)) => phases.sources().map(|(_, path)| path.to_path_buf()).collect(),
            Some(Stage::Image { .. } | Stage::Builtin(_)) | None => Vec::new(),
        });
    let files = source
        .files()
        .iter()
        .filter(|file| *file != source.path())
        .cloned();
    files
        .chain(contexts)
        .map(|path| whereabouts(&path))
        .filter(|path| !path.starts_with(ground))
        .map(|path| path.display().to_string())
        .collect()
}
