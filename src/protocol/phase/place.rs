//! Where files of a phase go: which parents an image lacks, whose what is made is, and what must be there.

use std::collections::{BTreeMap, BTreeSet};

use super::users::Users;
use crate::call::{Content, File, FileStatus, follow};
use crate::context::{EntryKind, Tree};
use crate::desired::phase::{Act, Expected, NewUser};
use crate::report::Failure;

/// How many links are followed.
const MOST_LINKS: usize = 16;

/// What is known of the paths of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    there: BTreeMap<String, FileStatus>,
    /// Where nothing is.
    absent: BTreeSet<String>,
    /// Directories that were made where nothing was: what is not known to be in them is not there.
    fresh: BTreeSet<String>,
    /// What a home has from its beginning, by path in it, once that is known.
    skeleton: Option<Vec<File>>,
}

impl Places {
    /// Takes in what there is at a path.
    pub fn saw(&mut self, path: String, status: Option<FileStatus>) {
        match status {
            Some(status) => drop(self.there.insert(path, status)),
            None => drop(self.absent.insert(path)),
        }
    }

    /// Takes in that files were unpacked; says whether all of them are where nothing of the image was before.
    pub fn made(&mut self, files: &[File]) -> bool {
        let mut apart = true;
        for File {
            path,
            uid,
            gid,
            mode,
            content,
        } in files
        {
            let path = format!("/{}", path.trim_matches('/'));
            // A parent of which nobody knows how it came about may be a link, or below one: then what is made is in
            // another place as well, where it was not before.
            let was_absent = self.is_absent(&path);
            let above = parent(&path);
            if above != "/" && !self.fresh.contains(above) {
                self.absent.clear();
                self.fresh.clear();
                apart = false;
            }
            apart &= was_absent || self.fresh.contains(above);
            let status = FileStatus {
                kind: match content {
                    Content::Directory => "directory",
                    Content::Link(_) => "link",
                    Content::Bytes(_) | Content::Host { .. } => "file",
                },
                uid: *uid,
                gid: *gid,
                mode: *mode,
                target: None,
            };
            if was_absent && *content == Content::Directory {
                self.fresh.insert(path.clone());
            }
            self.absent.remove(&path);
            self.there.insert(path, status);
        }
        apart
    }

    /// Says whether it is known that nothing is at a path.
    fn is_absent(&self, path: &str) -> bool {
        if path == "/" || self.there.contains_key(path) {
            return false;
        }
        let above = parent(path);
        self.absent.contains(path) || self.fresh.contains(above) || self.is_absent(above)
    }

    /// Takes in that something else was put into the image, no matter where: a home may begin otherwise now.
    pub fn forgets_skeleton(&mut self) {
        self.skeleton = None;
    }

    /// Takes in what a home has from its beginning.
    pub fn has_skeleton(&mut self, files: Vec<File>) {
        self.skeleton = Some(files);
    }

    /// Says whether that has to be looked up before an act can be done: it makes a home.
    pub fn lacks_skeleton(&self, act: &Act) -> bool {
        let makes_home = |users: &Vec<NewUser>| users.iter().any(|user| self.status(&user.home).is_none());
        self.skeleton.is_none() && matches!(act, Act::Users(users) if makes_home(users))
    }

    /// Returns a path that has to be looked at before an act can be done.
    pub fn unknown(&self, act: &Act, users: &Users) -> Result<Option<String>, Failure> {
        let paths: Vec<String> = match act {
            Act::Users(users) => users.iter().map(|user| user.home.clone()).collect(),
            Act::Directory { path, .. } => vec![resolve(path, users)?],
            Act::Copy { target, .. } => vec![resolve(target, users)?],
            Act::Verify(files) => {
                let mut unknown = files.iter();
                return Ok(unknown.find_map(|file| self.unseen(file, users)));
            }
            // What is to be fetched is a copy by then.
            Act::Fetch { .. } | Act::Run(_) => Vec::new(),
        };
        Ok(paths.iter().find_map(|path| self.unknown_above(path)))
    }

    /// Returns the first of a path and its parents of which it is not known whether it is there, up to one that is.
    fn unknown_above(&self, path: &str) -> Option<String> {
        let mut path = path;
        while path != "/" && !self.there.contains_key(path) {
            if !self.is_absent(path) {
                return Some(path.to_owned());
            }
            path = parent(path);
        }
        None
    }

    fn status(&self, path: &str) -> Option<&FileStatus> {
        self.there.get(path)
    }

    /// Returns what has to be unpacked for an act, and the users there are afterwards.
    pub fn files(&self, act: &Act, users: &Users) -> Result<(Vec<File>, Users), Failure> {
        let mut after = users.clone();
        let mut files = Vec::new();
        match act {
            Act::Users(new) => {
                let numbers = after.add(new)?;
                files.push(text("etc/passwd", 0o644, &after.passwd));
                files.push(text("etc/group", 0o644, &after.group));
                if let Some(shadow) = &after.shadow {
                    let gid = after.owner("root:shadow").map_or(0, |(_, gid)| gid);
                    files.push(File {
                        gid,
                        ..text("etc/shadow", 0o640, shadow)
                    });
                }
                for (user, owner) in new.iter().zip(numbers) {
                    if self.status(&user.home).is_none() {
                        self.parents(&user.home, (0, 0), &mut files);
                        files.push(directory(&user.home, owner, 0o755));
                        files.extend(self.skeleton.iter().flatten().map(|file| File {
                            path: format!("{}/{}", user.home.trim_matches('/'), file.path),
                            uid: owner.0,
                            gid: owner.1,
                            ..file.clone()
                        }));
                    }
                }
            }
            Act::Directory { path, owner } => {
                let path = resolve(path, users)?;
                let owner = numbers(owner.as_deref(), users)?;
                match self.status(&path) {
                    None if path == "/" => {}
                    None => {
                        self.parents(&path, owner, &mut files);
                        files.push(directory(&path, owner, 0o755));
                    }
                    Some(status) => match status.kind {
                        "directory" => files.push(directory(&path, owner, status.mode)),
                        // It leads to somebody's directory, and stays as it is.
                        "link" => {}
                        _ => {
                            return Err(Failure::new(format!(
                                "{path} is there in the image and is no directory"
                            )));
                        }
                    },
                }
            }
            Act::Copy {
                tree,
                digest: _,
                target,
                owner,
                mode,
            } => {
                let target = resolve(target, users)?;
                let owner = numbers(owner.as_deref(), users)?;
                self.fits(tree, &target)?;
                self.parents(&target, owner, &mut files);
                copy(tree, &target, owner, *mode, &mut files);
            }
            Act::Fetch { .. } | Act::Run(_) | Act::Verify(_) => {}
        }
        Ok((files, after))
    }

    /// Adds the directories above a path that are not there.
    fn parents(&self, path: &str, owner: (u32, u32), files: &mut Vec<File>) {
        let mut missing = Vec::new();
        let mut above = parent(path);
        while above != "/" && self.is_absent(above) {
            missing.push(above);
            above = parent(above);
        }
        let made = |path: &str, files: &[File]| files.iter().any(|file| file.path == path.trim_matches('/'));
        for path in missing.into_iter().rev() {
            if !made(path, files) {
                files.push(directory(path, owner, 0o755));
            }
        }
    }

    /// Says why a tree cannot be put at a path.
    fn fits(&self, tree: &Tree, target: &str) -> Result<(), Failure> {
        let Some(status) = self.status(target) else {
            return Ok(());
        };
        let source = tree.source.display();
        match (status.kind, tree.is_directory()) {
            ("directory", false) => Err(Failure::new(format!(
                "{target} is a directory in the image, and {source} is a file"
            ))
            .hint("a target that ends with `/` gets the file into it")),
            ("file" | "other", true) => Err(Failure::new(format!(
                "{target} is a file in the image, and {source} is a directory"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns where a path has to be looked at to say whether it is as it must be; links are followed.
    fn unseen(&self, file: &Expected, users: &Users) -> Option<String> {
        // Who does not exist has no files; that is told with the others.
        let Ok(mut path) = resolve(&file.path, users) else {
            return None;
        };
        for _ in 0..MOST_LINKS {
            match self.there.get(&path) {
                None if path == "/" || self.is_absent(&path) => return None,
                None => return Some(path),
                Some(FileStatus {
                    kind: "link",
                    target: Some(target),
                    ..
                }) => path = follow(&path, target),
                Some(_) => return None,
            }
        }
        None
    }

    /// Checks that files are as they must be.
    ///
    /// # Errors
    /// All that is not, at once.
    pub fn verify(&self, files: &[Expected], users: &Users) -> Result<(), Failure> {
        let wrong: Vec<String> = files.iter().filter_map(|file| self.wrong(file, users)).collect();
        match wrong.len() {
            0 => Ok(()),
            1 => Err(Failure::new(wrong.concat())),
            number => Err(Failure::new(format!(
                "{number} of {} files are not as they must be",
                files.len()
            ))
            .log(wrong)),
        }
    }

    fn wrong(&self, file: &Expected, users: &Users) -> Option<String> {
        let shown = &file.path;
        let mut path = match resolve(shown, users) {
            Ok(path) => path,
            Err(failure) => return Some(format!("{shown}: {}", failure.message)),
        };
        let mut links = 0;
        while let Some(FileStatus {
            kind: "link",
            target: Some(target),
            ..
        }) = self.status(&path)
        {
            links += 1;
            if links > MOST_LINKS {
                return Some(format!("{shown} is one of too many links"));
            }
            path = follow(&path, target);
        }
        let Some(status) = self.status(&path) else {
            return (path != "/").then(|| {
                if links > 0 {
                    format!("{shown} leads to {path}, which is not there")
                } else {
                    format!("{shown} is not there")
                }
            });
        };
        let mode = file.mode.filter(|mode| *mode != status.mode);
        if let Some(mode) = mode {
            return Some(format!(
                "{shown} has mode {:04o} and must have {mode:04o}",
                status.mode
            ));
        }
        let owner = file.owner.as_deref()?;
        match users.owner(owner) {
            Err(failure) => Some(format!("{shown}: {}", failure.message)),
            Ok((uid, gid)) => {
                let group = owner.contains(':').then_some(gid);
                let differs = uid != status.uid || group.is_some_and(|gid| gid != status.gid);
                differs.then(|| {
                    format!(
                        "{shown} belongs to {}:{} and must belong to {owner}",
                        status.uid, status.gid
                    )
                })
            }
        }
    }
}

/// Adds a tree at a path.
fn copy(tree: &Tree, target: &str, (uid, gid): (u32, u32), mode: Option<u32>, files: &mut Vec<File>) {
    for entry in &tree.entries {
        let path = if entry.path.as_os_str().is_empty() {
            target.to_owned()
        } else {
            format!("{}/{}", target.trim_end_matches('/'), entry.path.display())
        };
        let path = path.trim_matches('/').to_owned();
        if path.is_empty() {
            // Nobody makes the root.
            continue;
        }
        let (mode, content) = match &entry.kind {
            // Whoever may read a directory may enter it.
            EntryKind::Directory => (
                mode.map_or(entry.mode, |mode| mode | ((mode & 0o444) >> 2)),
                Content::Directory,
            ),
            EntryKind::File(digest) => {
                let source = if entry.path.as_os_str().is_empty() {
                    tree.source.clone()
                } else {
                    tree.source.join(&entry.path)
                };
                let content = Content::Host {
                    path: source,
                    digest: digest.clone(),
                };
                (mode.unwrap_or(entry.mode), content)
            }
            EntryKind::Link(target) => (0o777, Content::Link(target.clone())),
        };
        files.push(File {
            path,
            uid,
            gid,
            mode,
            content,
        });
    }
}

/// Returns an absolute path: `~name/` is that user's home.
fn resolve(path: &str, users: &Users) -> Result<String, Failure> {
    let Some(rest) = path.strip_prefix('~') else {
        return Ok(path.to_owned());
    };
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let home = users.home(name)?;
    Ok(format!("{}/{rest}", home.trim_end_matches('/')))
}

fn numbers(owner: Option<&str>, users: &Users) -> Result<(u32, u32), Failure> {
    owner.map_or(Ok((0, 0)), |owner| users.owner(owner))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

fn directory(path: &str, (uid, gid): (u32, u32), mode: u32) -> File {
    File {
        path: path.trim_matches('/').to_owned(),
        uid,
        gid,
        mode,
        content: Content::Directory,
    }
}

pub(super) fn text(path: &str, mode: u32, text: &str) -> File {
    File {
        path: path.to_owned(),
        uid: 0,
        gid: 0,
        mode,
        content: Content::Bytes(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(places: &Places, path: &str) -> Option<String> {
        places.unknown_above(path)
    }

    #[test]
    fn what_is_in_a_directory_that_was_just_made_need_not_be_asked() {
        let mut places = Places::default();
        assert_eq!(asks(&places, "/w/a/b"), Some("/w/a/b".to_owned()));
        places.saw("/w".to_owned(), None);
        assert_eq!(asks(&places, "/w/a/b"), None);
        assert!(places.made(&[directory("/w", (0, 0), 0o755), text("w/file", 0o644, "")]));
        assert_eq!(asks(&places, "/w/a/b"), None);
        assert_eq!(asks(&places, "/w/file"), None);
        assert_eq!(places.status("/w/file").map(|status| status.kind), Some("file"));
        let mut files = Vec::new();
        places.parents("/w/a/b", (1, 1), &mut files);
        assert_eq!(files, [directory("/w/a", (1, 1), 0o755)]);
        // Where it was there before nobody knows what is in it.
        assert!(!places.made(&[directory("/opt", (0, 0), 0o755)]));
        assert_eq!(asks(&places, "/opt/a"), Some("/opt/a".to_owned()));
    }

    #[test]
    fn what_is_made_below_what_may_be_a_link_may_be_anywhere() {
        let mut places = Places::default();
        places.saw("/w".to_owned(), None);
        places.saw("/else".to_owned(), None);
        assert!(places.made(&[directory("/w", (0, 0), 0o755)]));
        assert_eq!(asks(&places, "/else/file"), None);
        // It may lead to /w.
        assert!(!places.made(&[text("srv/link/file", 0o644, "")]));
        for path in ["/w/file", "/else/file"] {
            assert_eq!(asks(&places, path), Some(path.to_owned()));
        }
        assert!(places.status("/w").is_some());
        let link = File {
            content: Content::Link("/w".to_owned()),
            ..text("x", 0o777, "")
        };
        assert!(!places.made(&[link]));
        assert_eq!(asks(&places, "/x/file"), Some("/x/file".to_owned()));
    }
}
