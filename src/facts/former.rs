//! Who the owner of a manifest's objects was earlier.

use std::path::{Path, PathBuf};

use crate::context::canonical;
use crate::host::Host;
use crate::label::Former;
use crate::manifest::load::{Loaded, load, manifests_in};
use crate::manifest::place::Problem;
use crate::manifest::{Formerly, Manifest};
use crate::name::ManifestName;

/// Returns what is wrong with who the owner is said to have been: whoever is still there has what it has for itself, so
/// a copy of a project must not take it.
pub(super) fn wrong(loaded: &Loaded, host: &Host) -> Vec<Problem> {
    let Loaded { manifest, source } = loaded;
    let own = source.default_name();
    let own = manifest.name.as_ref().unwrap_or(&own);
    let one = |(index, former): (usize, &Formerly)| {
        let path = former.project.as_deref().unwrap_or(source.project());
        let name = former.name.as_ref().unwrap_or(own);
        let file = still_there(path, name, (source.path(), host))?;
        let message = format!(
            "manifest `{name}` of {} is still there, so what it has is its own: {}",
            path.display(),
            file.display()
        );
        let problem = Problem::new(message).hint(
            "take this out if the project is a copy; if it was moved or renamed, remove that file first",
        );
        Some(Problem {
            place: source.place(&format!("formerly.{index}")),
            ..problem
        })
    };
    manifest.formerly.iter().enumerate().filter_map(one).collect()
}

/// Returns the file in which a project has a manifest of a name, if that is another one; one that cannot be read may be.
fn still_there(project: &Path, name: &ManifestName, (own, host): (&Path, &Host)) -> Option<PathBuf> {
    let own = canonical(own).ok();
    let mut others = manifests_in(project)
        .into_iter()
        .filter(|file| canonical(file).ok() != own);
    others.find(|file| {
        load(file, host).is_ok_and(|other| {
            let Loaded { manifest, source } = other;
            let called = manifest.name.unwrap_or_else(|| source.default_name());
            called == *name && canonical(source.project()).ok() == canonical(project).ok()
        })
    })
}

/// Returns who the owner was earlier. What is gone has no canonical path any more, so it is taken as it is written.
pub(super) fn formerly(manifest: &Manifest, project: &Path, name: &str) -> Vec<Former> {
    let former = |former: &Formerly| {
        let path = former.project.as_deref().unwrap_or(project);
        Former {
            project: canonical(path)
                .unwrap_or_else(|_| path.to_owned())
                .display()
                .to_string(),
            manifest: former.name.as_ref().map_or(name, ManifestName::as_str).to_owned(),
        }
    };
    manifest.formerly.iter().map(former).collect()
}
