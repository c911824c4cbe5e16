//! The repository behind a worktree: a project that is one cannot be worked on without it.
//!
//! What the project says of it is written by whoever writes to the project, sandboxes too. So it is believed only if
//! the repository, which lies outside, says the same of the project.
#![expect(
    clippy::disallowed_methods,
    reason = "what git keeps beside a worktree is read here"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The largest of the files that lead from one to the other, in bytes.
const LARGEST: u64 = 16 * 1024;

/// Returns the directory that a worktree shares with its repository, if that lies outside; links resolved.
pub(super) fn common(project: &Path) -> Option<PathBuf> {
    let file = project.join(".git");
    let written = line(&file)?;
    let own = project.join(written.strip_prefix("gitdir:")?.trim());
    let own = fs::canonicalize(own).ok()?;
    let common = fs::canonicalize(own.join(line(&own.join("commondir"))?)).ok()?;
    if common.starts_with(project)
        || project.starts_with(&common)
        || !own.starts_with(common.join("worktrees"))
    {
        return None;
    }
    let back = fs::canonicalize(own.join(line(&own.join("gitdir"))?)).ok()?;
    let is_repository = common.join("HEAD").is_file() && common.join("objects").is_dir();
    (back == fs::canonicalize(&file).ok()? && is_repository).then_some(common)
}

/// Returns the line of a small file that is no link.
fn line(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    if !found.is_file() || found.len() > LARGEST {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        fn path(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn common(&self) -> Option<PathBuf> {
            common(&self.path("tree"))
        }
    }

    fn worktree() -> World {
        let world = World(tempfile::tempdir().unwrap());
        let root = world.path("");
        world.write("main/.git/HEAD", "ref: refs/heads/main\n");
        world.write("main/.git/objects/x", "");
        world.write("main/.git/worktrees/tree/commondir", "../..\n");
        world.write(
            "main/.git/worktrees/tree/gitdir",
            &format!("{}/tree/.git\n", root.display()),
        );
        world.write(
            "tree/.git",
            &format!("gitdir: {}/main/.git/worktrees/tree\n", root.display()),
        );
        world
    }

    #[test]
    fn a_worktree_needs_its_repository() {
        let world = worktree();
        assert_eq!(world.common(), Some(world.path("main/.git")));
        world.write("tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
        world.write("main/.git/worktrees/tree/gitdir", "../../../../tree/.git");
        assert_eq!(world.common(), Some(world.path("main/.git")));
        assert_eq!(common(&world.path("main")), None);
    }

    #[test]
    fn what_a_project_says_is_believed_only_if_the_repository_says_the_same() {
        let world = worktree();
        world.write("main/.git/worktrees/tree/gitdir", "/elsewhere/.git\n");
        assert_eq!(world.common(), None);
        let world = worktree();
        fs::remove_file(world.path("main/.git/HEAD")).unwrap();
        assert_eq!(world.common(), None);
        // A repository of somebody else, and what a sandbox could have made up.
        world.write("other/.git/HEAD", "");
        world.write("other/.git/objects/x", "");
        world.write(
            "tree/made/commondir",
            &world.path("other/.git").display().to_string(),
        );
        world.write("tree/made/gitdir", &world.path("tree/.git").display().to_string());
        world.write("tree/.git", "gitdir: made\n");
        assert_eq!(world.common(), None);
        for text in [
            "",
            "gitdir:",
            "gitdir: /",
            "gitdir: \0",
            "nonsense",
            "gitdir: .git",
        ] {
            world.write("tree/.git", text);
            assert_eq!(world.common(), None, "{text}");
        }
    }
}
