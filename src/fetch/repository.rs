//! Repositories: what their branches mean, and clones of them at a commit, made from a copy in the cache.
//!
//! The copy is bare, one for each repository and depth, and what was fetched into it completely has a name there. A
//! commit that has one is taken without asking anybody. A copy that is damaged is made anew.
#![expect(
    clippy::disallowed_methods,
    reason = "clones are put together here, in directories of our own"
)]

use std::fs;
use std::path::Path;

use super::cache::{Cache, Work, make, remove, unusable};
use super::git::{As, Git};
use super::{FetchError, GitError};
use crate::context::{Digests, EntryKind, Tree};
use crate::key;
use crate::lock::Revision;
use crate::progress::Progress;
use crate::remote::{Commit, RefName, RepositoryReference, RepositoryUrl, Store, Wanted};

/// Where copies name what they have completely.
const COMPLETE: &str = "refs/aishell/complete/";
/// Where copies put what they fetch by another name than its own.
const ASIDE: &str = "refs/aishell/aside";
/// What servers say that have a commit and do not give it to who asks for it by its number, and what git says of those
/// that do not have it.
const UNSAID: [&str; 6] = [
    "not our ref",
    "unadvertised object",
    "remote ref",
    "shallow",
    "unable to find",
    "Cannot obtain needed",
];

/// A commit of a repository, to be made a clone of.
pub(super) struct Clone<'a> {
    pub url: &'a RepositoryUrl,
    pub commit: &'a Commit,
    pub branch: Option<&'a RefName>,
    pub tag: Option<&'a RefName>,
    pub depth: Option<u32>,
}

/// A copy in the cache, nobody else's for now.
struct Copy<'a> {
    path: &'a Path,
    git: Git<'a>,
    lock: &'a fs::File,
}

/// Asks what a branch or tag means.
pub(super) async fn revision(
    reference: &RepositoryReference,
    cache: &Cache,
    store: &Store,
) -> Result<Revision, FetchError> {
    let work = cache.work()?;
    let progress = Progress::default();
    let git = git(&reference.url, work.path(), store, &progress).await?;
    let (names, what): (Vec<String>, _) = match &reference.wanted {
        Wanted::Default => (vec!["HEAD".to_owned()], "branch of its own"),
        Wanted::Branch(name) => (vec![format!("refs/heads/{name}")], "branch"),
        // A tag with a text of its own leads to its commit by a second line.
        Wanted::Tag(name) => (
            vec![format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")],
            "tag",
        ),
    };
    let mut words = vec!["ls-remote", "--symref", "--", reference.url.as_str()];
    words.extend(names.iter().map(String::as_str));
    let answer = git.run(As::Person, &words).await?;
    let lines = || answer.lines().filter_map(|line| line.split_once('\t'));
    let of = |name: &String| {
        let mut named = lines().filter(|(_, of)| of == name);
        named.find_map(|(commit, _)| commit.parse().ok())
    };
    let commit = names.iter().find_map(of);
    let Some(commit) = commit else {
        return Err(FetchError::NoSuchReference {
            reference: reference.clone(),
            what,
        });
    };
    let branch = match &reference.wanted {
        Wanted::Default => lines()
            .find_map(|(to, of)| {
                (of == "HEAD")
                    .then(|| to.strip_prefix("ref: refs/heads/"))
                    .flatten()
            })
            .and_then(|name| name.parse().ok()),
        Wanted::Branch(_) | Wanted::Tag(_) => None,
    };
    Ok(Revision { commit, branch })
}

/// Returns git for a repository: what it is reached by is asked of git's configuration first.
async fn git<'a>(
    url: &RepositoryUrl,
    directory: &'a Path,
    store: &'a Store,
    progress: &'a Progress,
) -> Result<Git<'a>, FetchError> {
    let mut git = Git {
        store,
        progress,
        directory,
        ssh: None,
    };
    if !url.as_str().starts_with("http") {
        match git.run(As::Person, &["config", "--get", "core.sshCommand"]).await {
            Ok(command) => git.ssh = Some(command.trim().to_owned()).filter(|command| !command.is_empty()),
            // There is none.
            Err(GitError::Failed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(git)
}

impl Clone<'_> {
    /// Makes the clone, and returns it with the directory it is in.
    pub async fn make(
        &self,
        cache: &Cache,
        store: &Store,
        progress: &Progress,
    ) -> Result<(Work, Tree), FetchError> {
        let depth = self
            .depth
            .map_or_else(|| "all".to_owned(), |depth| depth.to_string());
        let name = format!("{depth} {}", self.url);
        let name = &key::digest(name.as_bytes())[..16];
        let lock = cache.lock("git", name, progress).await?;
        let path = cache.path("git", name);
        let mut is_new = !path.join("HEAD").is_file();
        loop {
            if is_new {
                remove(&path).map_err(unusable(&path))?;
            }
            make(&path)?;
            let copy = Copy {
                path: &path,
                git: git(self.url, &path, store, progress).await?,
                lock: &lock,
            };
            let made = self.made_of(&copy, cache).await;
            match made {
                // A copy of which anything is missing is no reason to give up.
                Err(error) if !is_new && !copy.is_whole(self.commit).await => {
                    tracing::debug!(%error, "the copy is damaged");
                    progress.line("what the cache had is damaged, and is fetched anew");
                    is_new = true;
                }
                Err(error) => return Err(error),
                Ok(work) => {
                    let root = work.path().join("clone");
                    let tree =
                        tokio::task::spawn_blocking(move || Tree::read(&root, &Digests::default())).await;
                    let tree = tree.map_err(|error| unusable(&path)(std::io::Error::other(error)))??;
                    return Ok((work, plain(tree)));
                }
            }
        }
    }

    /// Makes the clone of a copy, which gets what it lacks first.
    async fn made_of(&self, copy: &Copy<'_>, cache: &Cache) -> Result<Work, FetchError> {
        copy.begin().await?;
        if !copy.has(self.commit).await {
            copy.git.progress.line(format!("fetching {}", self.url));
            self.fetch(copy).await?;
        }
        let work = cache.work()?;
        self.check_out(copy, work.path()).await?;
        Ok(work)
    }

    /// Fetches the commit into a copy.
    async fn fetch(&self, copy: &Copy<'_>) -> Result<(), FetchError> {
        let complete = format!("{COMPLETE}{}", self.commit);
        let by_number = copy
            .fetch(self.url, self.depth, &format!("+{}:{complete}", self.commit))
            .await;
        let error = match by_number {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.says(&UNSAID) {
            return Err(error.into());
        }
        // Older servers, and those that only have files, give what has a name.
        let named = match (self.tag, self.branch) {
            (Some(tag), _) => format!("+refs/tags/{tag}:{ASIDE}"),
            (None, Some(branch)) => format!("+refs/heads/{branch}:{ASIDE}"),
            (None, None) => format!("+refs/heads/*:{ASIDE}/*"),
        };
        for depth in [self.depth, None] {
            match copy.fetch(self.url, depth, &named).await {
                Err(error) if !error.says(&UNSAID) => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            let words = ["update-ref", &complete, self.commit.as_str()];
            if copy.git.run(As::Nobody, &words).await.is_ok() && copy.has(self.commit).await {
                return Ok(());
            }
        }
        Err(FetchError::NoSuchCommit {
            url: self.url.to_string(),
            commit: self.commit.to_string(),
        })
    }

    /// Puts the clone into a directory: the commit, its history as deep as is wanted, and what git needs to go on there.
    async fn check_out(&self, copy: &Copy<'_>, directory: &Path) -> Result<(), FetchError> {
        let root = directory.join("clone");
        make(&root)?;
        let git = Git {
            store: copy.git.store,
            progress: copy.git.progress,
            directory: &root,
            ssh: None,
        };
        let commit = self.commit.as_str();
        git.run(As::Nobody, &["init", "--quiet", "--template="]).await?;
        let from = format!("file://{}", copy.path.display());
        let depth = self.depth.map(|depth| format!("--depth={depth}"));
        let followed = self.branch.map(|branch| format!("refs/remotes/origin/{branch}"));
        let named = self.tag.map(|tag| format!("refs/tags/{tag}"));
        let reference = followed.or(named).unwrap_or_else(|| ASIDE.to_owned());
        let specification = format!("+{COMPLETE}{commit}:{reference}");
        let mut words = vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        words.extend(depth.as_deref());
        words.extend(["--", &from, &specification]);
        git.run(As::Nobody, &words).await?;
        match self.branch {
            Some(branch) => {
                let head = format!("refs/heads/{branch}");
                git.run(As::Nobody, &["update-ref", &head, commit]).await?;
                git.run(As::Nobody, &["symbolic-ref", "HEAD", &head]).await?;
            }
            None => {
                git.run(As::Nobody, &["update-ref", "--no-deref", "HEAD", commit])
                    .await?;
            }
        }
        if reference == ASIDE {
            git.run(As::Nobody, &["update-ref", "-d", ASIDE]).await?;
        }
        git.run(As::Nobody, &["read-tree", "--reset", "-u", "HEAD"])
            .await?;
        let own = root.join(".git");
        for left in ["logs", "hooks", "FETCH_HEAD", "ORIG_HEAD"] {
            let left = own.join(left);
            let _ = remove(&left).or_else(|_| fs::remove_file(&left));
        }
        let file = own.join("config");
        fs::write(&file, self.configuration()).map_err(unusable(&file))
    }

    /// Returns the configuration of the clone: where it comes from, and nothing of who fetched it.
    fn configuration(&self) -> String {
        let core = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";
        let url = self.url.public();
        let branch = self.branch.map(RefName::as_str);
        // What is shallow is of one branch, as git's own are.
        let followed = branch.filter(|_| self.depth.is_some()).unwrap_or("*");
        let remote = format!(
            "[remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/{followed}:refs/remotes/origin/{followed}\n"
        );
        let tracked = branch.map(|branch| {
            format!("[branch \"{branch}\"]\n\tremote = origin\n\tmerge = refs/heads/{branch}\n")
        });
        format!("{core}{remote}{}", tracked.unwrap_or_default())
    }
}

impl Copy<'_> {
    /// Makes it a repository, and removes what one that was killed left in it.
    async fn begin(&self) -> Result<(), FetchError> {
        if !self.path.join("HEAD").is_file() {
            self.git
                .run(As::Nobody, &["init", "--quiet", "--bare", "--template="])
                .await?;
        }
        sweep(self.path, 0);
        Ok(())
    }

    /// Says whether a commit is here, with all that belongs to it.
    async fn has(&self, commit: &Commit) -> bool {
        let name = format!("{COMPLETE}{commit}^{{tree}}");
        self.git
            .run(As::Nobody, &["rev-parse", "--quiet", "--verify", &name])
            .await
            .is_ok()
    }

    /// Says whether nothing is missing of what is here.
    async fn is_whole(&self, commit: &Commit) -> bool {
        let sound = self
            .git
            .run(As::Nobody, &["fsck", "--no-dangling", "--no-progress"])
            .await
            .is_ok();
        sound && (!self.named(commit) || self.has(commit).await)
    }

    fn named(&self, commit: &Commit) -> bool {
        self.path.join(COMPLETE).join(commit.as_str()).exists()
    }

    /// Fetches something from elsewhere.
    async fn fetch(&self, url: &RepositoryUrl, depth: Option<u32>, what: &str) -> Result<(), GitError> {
        let depth = depth.map(|depth| format!("--depth={depth}"));
        let mut words = vec![
            "fetch",
            "--progress",
            "--no-tags",
            "--no-prune",
            "--no-write-fetch-head",
            "--force",
        ];
        words.extend(depth.as_deref());
        words.extend(["--", url.as_str(), what]);
        self.git.run(As::Holding(self.lock), &words).await.map(|_| ())
    }
}

/// Removes the locks and halves of files that a git leaves that is killed. Nobody else is at work here.
fn sweep(directory: &Path, depth: usize) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if is_directory && depth < 8 && name.len() != 2 {
            sweep(&path, depth + 1);
        } else if !is_directory && (name.ends_with(".lock") || name.starts_with("tmp_")) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Gives what is in a tree the permissions that git knows, whatever those of new files are on this host.
fn plain(mut tree: Tree) -> Tree {
    for entry in &mut tree.entries {
        entry.mode = match entry.kind {
            EntryKind::Directory => 0o755,
            EntryKind::File(_) if entry.mode & 0o100 != 0 => 0o755,
            EntryKind::File(_) => 0o644,
            EntryKind::Link(_) => 0o777,
        };
    }
    tree
}
