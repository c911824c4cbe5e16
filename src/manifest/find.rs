//! Where a manifest is looked for. What is there is asked of the caller.

use std::path::{Path, PathBuf};

/// The files a directory may have as its manifest. More than one is an error, never a precedence: whoever can write the
/// project must not be able to outrank the file its owner wrote.
const CANDIDATES: [&str; 4] = [
    ".aishell/manifest.yaml",
    ".sandbox/manifest.yaml",
    "aishell.yaml",
    "manifest.yaml",
];

/// Returns the directories that are searched: `start`, and upwards to the root of the outermost repository it is in, so
/// that a `.git` that somebody put on the way hides nothing.
///
/// Outside a repository only `start` is searched: what lies above it may be anybody's.
pub fn directories(start: &Path, exists: impl Fn(&Path) -> bool) -> Vec<&Path> {
    let roots = start
        .ancestors()
        .filter(|directory| exists(&directory.join(".git")));
    match roots.last() {
        Some(root) => start
            .ancestors()
            .take_while(|directory| directory.starts_with(root))
            .collect(),
        None => vec![start],
    }
}

/// Returns the root of the repository a directory is in.
pub fn repository(start: &Path, exists: impl Fn(&Path) -> bool) -> Option<&Path> {
    start
        .ancestors()
        .find(|directory| exists(&directory.join(".git")))
}

/// Returns the paths at which a directory may have a manifest.
pub fn places(directory: &Path) -> impl Iterator<Item = PathBuf> {
    CANDIDATES.iter().map(|name| directory.join(name))
}

/// Returns the manifests in a directory, those that turn out to be no files among them: they are in the way of nobody
/// unnoticed.
pub fn candidates(
    directory: &Path,
    exists: impl Fn(&Path) -> bool,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<PathBuf> {
    let paths = CANDIDATES.iter().map(|name| (*name, directory.join(name)));
    let ours =
        |name: &str, path: &Path| name != "manifest.yaml" || read(path).is_some_and(|text| is_ours(&text));
    paths
        .filter(|(name, path)| exists(path) && ours(name, path))
        .map(|(_, path)| path)
        .collect()
}

/// Tells whether a text says that it is a manifest of aishell: other tools have a `manifest.yaml` too.
fn is_ours(text: &str) -> bool {
    let value = |line: &str| {
        let value = line
            .strip_prefix("apiVersion:")
            .or(line.strip_prefix("\"apiVersion\":"))?;
        Some(
            value
                .trim()
                .trim_start_matches(['"', '\''])
                .starts_with("aishell/"),
        )
    };
    text.lines().find_map(value).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_at_the_repository_root() {
        let repository = |path: &Path| path == Path::new("/srv/project/.git");
        let found = directories(Path::new("/srv/project/a/b"), repository);
        assert_eq!(
            found,
            ["/srv/project/a/b", "/srv/project/a", "/srv/project"].map(Path::new)
        );
        let planted = |path: &Path| repository(path) || path == Path::new("/srv/project/a/.git");
        assert_eq!(directories(Path::new("/srv/project/a/b"), planted).len(), 3);
        assert_eq!(
            directories(Path::new("/srv/other/a"), repository),
            [Path::new("/srv/other/a")]
        );
    }

    #[test]
    fn a_plain_manifest_yaml_counts_only_when_it_is_ours() {
        let here = |text: &'static str| {
            candidates(
                Path::new("/p"),
                |path| {
                    path.ends_with("manifest.yaml")
                        && !path.ends_with(".aishell/manifest.yaml")
                        && !path.ends_with(".sandbox/manifest.yaml")
                },
                move |_| Some(text.to_owned()),
            )
        };
        assert_eq!(
            here("# x\napiVersion: aishell/v1\n"),
            [Path::new("/p/manifest.yaml")]
        );
        assert_eq!(here("apiVersion: 'aishell/v1'\n").len(), 1);
        assert!(here("apiVersion: apps/v1\n").is_empty());
        assert!(here("name: x\n").is_empty());
    }
}
