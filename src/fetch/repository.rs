//! Repositories: what their branches mean, and clones of them at a commit, made from a copy in the cache.
//!
//! The copy is bare, one for each repository and depth, and what was fetched into it completely has a name there. A
//! commit that has one is taken without asking anybody. A copy that is damaged is made anew. Whatever is taken out of a
//! copy is sent by one git to another, which computes the name of each object from its content, and looks for what is
//! missing: what was altered in a copy never gets into a clone.
#![expect(
    clippy::disallowed_methods,
    reason = "clones are put together here, in directories of our own"
)]

use std::collections::{BTreeMap, BTreeSet};
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
/// The configuration of a copy: nothing but what git needs. What git keeps to be quicker is not looked at, since
/// nobody checks that.
const OWN: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\tcommitGraph = false\n\t\
                   multiPackIndex = false\n[pack]\n\tuseBitmaps = false\n";
/// What there is at the top of a copy.
const PARTS: [&str; 6] = ["HEAD", "config", "objects", "packed-refs", "refs", "shallow"];
/// Where copies put what they fetch by another name than its own.
const ASIDE: &str = "refs/aishell/aside";
/// What is told of a copy that is made anew.
const DAMAGED: &str = "what the cache had is damaged, and is fetched anew";
/// What servers say that have a commit and do not give it to who asks for it by its number, and what git says of those
/// that do not have it.
const UNSAID: [&str; 7] = [
    "not our ref",
    "unadvertised object",
    "remote ref",
    "support shallow",
    "a shallow repository",
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
}

/// Asks what a branch or tag means.
pub(super) async fn revision(
    reference: &RepositoryReference,
    cache: &Cache,
    store: &Store,
) -> Result<Revision, FetchError> {
    let work = cache.work()?;
    let progress = Progress::default();
    let git = git(&reference.url, (work.path(), work.lock()), store, &progress).await?;
    let (names, what): (Vec<String>, _) = match &reference.wanted {
        Wanted::Default => (vec!["HEAD".to_owned()], "branch of its own"),
        Wanted::Branch(name) => (vec![format!("refs/heads/{name}")], "branch"),
        // A tag with a text of its own leads to its commit by a second line.
        Wanted::Tag(name) => (
            vec![format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")],
            "tag",
        ),
    };
    let listing = ["ls-remote", "--symref", "--", reference.url.as_str()];
    let wanted: Vec<&str> = listing
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut answer = git.ask(As::Person, &wanted).await?;
    let mut commit = named(&answer, &names);
    if commit.is_none() {
        // To git an answer that breaks off in its head is one without a body: who has nothing at all has said nothing.
        answer = git.ask(As::Person, &listing).await?;
        commit = named(&answer, &names);
    }
    let Some(commit) = commit else {
        let reference = reference.clone();
        return Err(match answer.trim() {
            "" => FetchError::Empty { url: reference.url },
            _ => FetchError::NoSuchReference { reference, what },
        });
    };
    let lines = || answer.lines().filter_map(|line| line.split_once('\t'));
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

/// Returns the commit of the first of some names that a list of them has.
fn named(list: &str, names: &[String]) -> Option<Commit> {
    names.iter().find_map(|name| {
        let lines = list.lines().filter_map(|line| line.split_once('\t'));
        let mut named = lines.filter(|(_, of)| of == name);
        named.find_map(|(commit, _)| commit.parse().ok())
    })
}

/// Returns git for a repository: what it is reached by is asked of git's configuration first.
async fn git<'a>(
    url: &RepositoryUrl,
    (directory, lock): (&'a Path, &'a fs::File),
    store: &'a Store,
    progress: &'a Progress,
) -> Result<Git<'a>, FetchError> {
    let mut git = Git {
        store,
        progress,
        directory,
        lock,
        ssh: None,
    };
    if !url.as_str().starts_with("http") {
        match git.ask(As::Person, &["config", "--get", "core.sshCommand"]).await {
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
        let mut is_new = false;
        loop {
            if is_new || !path.join("HEAD").is_file() || path.is_symlink() {
                is_new = true;
                remove(&path).map_err(unusable(&path))?;
            }
            make(&path)?;
            let copy = Copy {
                path: &path,
                git: git(self.url, (&path, &lock), store, progress).await?,
            };
            let begun = copy.begin().await;
            let is_there = !is_new && begun.is_ok() && copy.has(self.commit).await?;
            if !is_there && !is_new && copy.says(self.commit) {
                copy.git.progress.line(DAMAGED);
                is_new = true;
                continue;
            }
            let made = match begun {
                Ok(()) => self.made_of(&copy, is_there, cache).await,
                Err(error) => Err(error),
            };
            match made {
                // What the cache has is no reason to give up.
                Err(error) if !is_new && !is_of_this_host(&error) && (is_there || !copy.is_whole().await) => {
                    tracing::debug!(%error, "the copy is damaged");
                    progress.line(DAMAGED);
                    is_new = true;
                }
                Err(error) => return Err(error),
                Ok(work) => {
                    let root = work.path().to_owned();
                    let tree =
                        tokio::task::spawn_blocking(move || Tree::read(&root, &Digests::default())).await;
                    let tree = tree.map_err(|error| unusable(&path)(std::io::Error::other(error)))??;
                    return Ok((work, plain(tree)));
                }
            }
        }
    }

    /// Makes the clone of a copy, which gets what it lacks first.
    async fn made_of(&self, copy: &Copy<'_>, is_there: bool, cache: &Cache) -> Result<Work, FetchError> {
        if !is_there {
            copy.git.progress.line(format!("fetching {}", self.url));
            self.fetch(copy).await?;
        }
        let work = cache.work()?;
        let git = self.check_out(copy, &work).await?;
        if is_there && self.is_cut_short(copy, &git).await? {
            let log = vec!["the history in the cache is cut short".to_owned()];
            return Err(GitError::Failed { log }.into());
        }
        Ok(work)
    }

    /// Says whether a clone has less history than it should, which is the one thing that no object tells.
    async fn is_cut_short(&self, copy: &Copy<'_>, git: &Git<'_>) -> Result<bool, FetchError> {
        let Some(depth) = self.depth else {
            return Ok(copy.path.join("shallow").exists());
        };
        let Ok(ends) = fs::read_to_string(git.directory.join(".git/shallow")) else {
            return Ok(false);
        };
        let list = git.ask(As::Nobody, &["rev-list", "--parents", "HEAD"]).await?;
        let commits = list.lines().map(|line| line.split(' '));
        let parents: BTreeMap<&str, Vec<&str>> = commits
            .filter_map(|mut words| Some((words.next()?, words.collect())))
            .collect();
        // As many steps as there may be without coming to an end.
        let (mut reached, mut front) = (BTreeSet::new(), vec![self.commit.as_str()]);
        for _ in 1..depth {
            if front.iter().any(|commit| ends.lines().any(|end| end == *commit)) {
                return Ok(true);
            }
            let above = front.iter().filter_map(|commit| parents.get(commit)).flatten();
            front = above.copied().filter(|commit| reached.insert(*commit)).collect();
        }
        Ok(false)
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
            if copy.git.run(As::Nobody, &words).await.is_ok() && copy.has(self.commit).await? {
                return Ok(());
            }
        }
        Err(FetchError::NoSuchCommit {
            url: self.url.to_string(),
            commit: self.commit.to_string(),
        })
    }

    /// Puts the clone into a directory: the commit, its history as deep as is wanted, and what git needs to go on there.
    async fn check_out<'c>(&self, copy: &'c Copy<'_>, work: &'c Work) -> Result<Git<'c>, FetchError> {
        let root = work.path();
        make(root)?;
        let git = Git {
            store: copy.git.store,
            progress: copy.git.progress,
            directory: root,
            lock: work.lock(),
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
        fs::write(&file, self.configuration()).map_err(unusable(&file))?;
        Ok(git)
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
    /// Makes it a repository, and removes what one that was killed left in it, and what is none of ours.
    async fn begin(&self) -> Result<(), FetchError> {
        for entry in fs::read_dir(self.path).map_err(unusable(self.path))?.flatten() {
            if PARTS.iter().all(|part| *part != entry.file_name()) {
                let _ = remove(&entry.path());
            }
        }
        sweep(self.path);
        if !self.path.join("HEAD").is_file() {
            self.git
                .run(As::Nobody, &["init", "--quiet", "--bare", "--template="])
                .await?;
        }
        let file = self.path.join("config");
        if fs::read_to_string(&file).ok().as_deref() != Some(OWN) {
            remove(&file).map_err(unusable(&file))?;
            fs::write(&file, OWN).map_err(unusable(&file))?;
        }
        Ok(())
    }

    /// Says whether a commit is here, by the name of what is here completely.
    async fn has(&self, commit: &Commit) -> Result<bool, GitError> {
        let name = format!("{COMPLETE}{commit}^{{commit}}");
        let words = ["rev-parse", "--quiet", "--verify", &name];
        match self.git.ask(As::Nobody, &words).await {
            Ok(found) => Ok(found.trim() == commit.as_str()),
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says whether that name is here, whatever it stands for.
    fn says(&self, commit: &Commit) -> bool {
        self.path.join(COMPLETE).join(commit.as_str()).exists()
    }

    /// Says whether nothing is missing of what is here.
    async fn is_whole(&self) -> bool {
        let words = ["fsck", "--no-dangling", "--no-progress"];
        self.git.run(As::Nobody, &words).await.is_ok()
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
        self.git.run(As::Person, &words).await
    }
}

/// Removes the locks and halves of files that a git leaves that is killed. Nobody else is at work here.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep(&entry.path());
        } else if name.ends_with(".lock") || name.starts_with("tmp_") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Says whether something failed because there is no room, or nobody to do it, which is no fault of what is there.
fn is_of_this_host(error: &FetchError) -> bool {
    match error {
        FetchError::Git(GitError::Absent | GitError::Unrunnable(_)) => true,
        FetchError::Git(error) => error.says(&["No space left on device", "Disk quota exceeded"]),
        FetchError::Cache { cause, .. } => matches!(
            cause.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        ),
        _ => false,
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
