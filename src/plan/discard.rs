//! What goes with the layer of a container that is replaced or removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::{Call, FileChange};
use crate::observed::{self, Observed};
use crate::spec::ContainerSpec;
use crate::step::{Impact, Plan, Step, Work};

/// Where engines put the init that they bring along.
const INIT: &str = "docker-init";

/// Returns the id of the container whose layer a step discards.
fn discarded(step: &Step) -> Option<&str> {
    // What a replacement of ours left is no loss.
    if step.impact != Impact::Recreate {
        return None;
    }
    match &step.work {
        Work::Replace { old, .. } => Some(old.id()),
        Work::Guarded { calls, .. } => calls.iter().find_map(|call| match call {
            Call::RemoveContainer { container, .. } => Some(container.id()),
            _ => None,
        }),
        Work::Calls(_)
        | Work::Build { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_)
        | Work::Create(_)
        | Work::Start { .. } => None,
    }
}

/// Returns the containers whose layer a plan discards and of which nobody knows what is in it.
pub fn unread<'o>(plan: &Plan, observed: &'o Observed) -> Vec<&'o observed::Container> {
    let ids: BTreeSet<&str> = plan.steps.iter().filter_map(discarded).collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let containers = observed.containers.values();
    containers
        .filter(|container| {
            ids.contains(container.id.id())
                && container.started.is_some()
                && !container.spec.security.read_only
                && !observed.layers.contains_key(container.id.id())
        })
        .collect()
}

/// Notes with every step how many files it discards.
pub(super) fn mark(steps: &mut [Step], layers: &BTreeMap<String, usize>) {
    for step in steps {
        let files = discarded(step).and_then(|id| layers.get(id)).copied();
        step.discards = files.filter(|files| *files > 0);
    }
}

/// Counts the files that were made or changed since a container was started: mount points, the init and the
/// directories on the way to them are there from the start, and other directories are no files of anybody.
pub fn files(changes: &[FileChange], spec: &ContainerSpec) -> usize {
    let mut directories = BTreeSet::new();
    let paths = changes.iter().map(|change| change.path.as_str());
    for path in paths.chain(spec.mounts.keys().map(String::as_str)) {
        directories.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }
    let counts = |change: &&FileChange| {
        let path = change.path.as_str();
        let is_init = spec.init && path.ends_with(INIT);
        !change.removed && !is_init && !spec.mounts.contains_key(path) && !directories.contains(path)
    };
    changes.iter().filter(counts).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Mount;

    fn counted(lines: &[&str]) -> usize {
        let changes: Vec<FileChange> = lines
            .iter()
            .filter_map(|line| line.split_once(' '))
            .map(|(kind, path)| FileChange {
                path: path.to_owned(),
                removed: kind == "D",
            })
            .collect();
        let bind = Mount::Bind {
            source: "/srv/demo".to_owned(),
            read_only: false,
        };
        let spec = ContainerSpec {
            init: true,
            mounts: [("/srv/demo".to_owned(), bind)].into(),
            ..ContainerSpec::default()
        };
        files(&changes, &spec)
    }

    #[test]
    fn what_a_start_makes_is_no_file_of_anybody() {
        let start = [
            "C /usr",
            "C /usr/sbin",
            "A /usr/sbin/docker-init",
            "A /srv",
            "A /srv/demo",
        ];
        assert_eq!(counted(&start), 0);
        assert_eq!(counted(&["A /srv"]), 0, "on the way to a mount that was there");
        assert_eq!(counted(&[]), 0);
    }

    #[test]
    fn files_count_and_the_directories_they_are_in_do_not() {
        let changes = [
            "C /etc",
            "C /etc/motd",
            "D /etc/issue",
            "A /var/a",
            "A /var/a/b",
            "A /x",
        ];
        assert_eq!(counted(&changes), 3);
        assert_eq!(counted(&["C /etc", "D /etc/issue"]), 0);
    }
}
