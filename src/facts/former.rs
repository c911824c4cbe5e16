//! Who the owner of a manifest's objects was earlier.

use std::path::Path;

use crate::context::canonical;
use crate::label::Former;
use crate::manifest::{Formerly, Manifest};
use crate::name::ManifestName;

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
