//! Where a session begins: where its caller stands, as far as the container sees that. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::spec::Mount;

/// Returns the path inside by which a container sees a directory of the host; `None` if it does not.
pub fn seen(directory: &Path, mounts: &BTreeMap<String, Mount>) -> Option<String> {
    let bound = mounts.iter().filter_map(|(target, mount)| match mount {
        Mount::Bind { source, .. } => {
            let rest = directory.strip_prefix(source).ok()?;
            Some((
                Path::new(source).components().count(),
                Path::new(target).join(rest),
            ))
        }
        Mount::Volume { .. } | Mount::Tmpfs { .. } => None,
    });
    // The nearest one counts.
    let (depth, inside) = bound.max_by_key(|(depth, _)| *depth)?;
    let covers = |target: &str| inside.starts_with(target);
    let nearest = mounts.iter().filter(|(target, _)| covers(target));
    let (_, mount) = nearest.max_by_key(|(target, _)| Path::new(target).components().count())?;
    // Something else may lie over it there.
    let is_it =
        matches!(mount, Mount::Bind { source, .. } if Path::new(source).components().count() == depth);
    is_it.then(|| plain(&inside))
}

/// Returns an absolute path for one that may be relative to another.
pub fn inside(path: &str, base: Option<&str>) -> String {
    plain(&Path::new(base.unwrap_or("/")).join(path))
}

/// Takes `.` and `..` out of an absolute path, as a shell does.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> BTreeMap<String, Mount> {
        let bind = |source: &str| Mount::Bind {
            source: source.to_owned(),
            read_only: false,
        };
        let tmpfs = || Mount::Tmpfs {
            options: String::new(),
        };
        [
            ("/srv/demo", bind("/srv/demo")),
            ("/srv/demo/cache", tmpfs()),
            ("/srv/demo/.aishell", bind("/srv/demo/.aishell")),
            ("/data", bind("/var/data")),
            ("/tmp", tmpfs()),
        ]
        .into_iter()
        .map(|(target, mount)| (target.to_owned(), mount))
        .collect()
    }

    #[test]
    fn a_session_begins_where_its_caller_stands() {
        for (directory, expected) in [
            ("/srv/demo", Some("/srv/demo")),
            ("/srv/demo/src/x", Some("/srv/demo/src/x")),
            ("/srv/demo/.aishell", Some("/srv/demo/.aishell")),
            ("/var/data/1", Some("/data/1")),
            ("/srv/demo/cache/x", None),
            ("/srv/demolition", None),
            ("/tmp", None),
        ] {
            let found = seen(Path::new(directory), &mounts());
            assert_eq!(found.as_deref(), expected, "{directory}");
        }
    }

    #[test]
    fn a_relative_directory_is_below_that_of_the_container() {
        assert_eq!(inside("src/../x", Some("/work")), "/work/x");
        assert_eq!(inside("/etc", Some("/work")), "/etc");
        assert_eq!(inside("../../..", None), "/");
    }
}
