use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;

use notify::event::AccessKind;
use notify::{EventKind, RecursiveMode, Watcher as _};

use super::*;
use crate::context::{Context, Tree};

const HOUR: i64 = 3600;

/// A context and a cache, and how late it is.
struct World {
    directory: tempfile::TempDir,
    late: i64,
}

fn world() -> World {
    let world = World {
        directory: tempfile::tempdir().expect("a directory"),
        late: HOUR,
    };
    fs::create_dir(world.root()).expect("a directory");
    world.write("Dockerfile", "FROM scratch\nCOPY . /");
    world
}

impl World {
    fn root(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache/digests/one")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root().join(name), text).expect("a file");
    }

    fn uid(&self) -> u32 {
        fs::metadata(self.root()).expect("a directory").uid()
    }

    fn digests(&self) -> Digests {
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(self.late);
        Digests::at(self.cache(), self.uid(), now)
    }

    /// Returns the digest of the context, and how many files were read for it.
    fn read(&self) -> (String, usize) {
        let digests = self.digests();
        let context = Context::read(
            &self.root(),
            &self.root().join("Dockerfile"),
            &BTreeSet::new(),
            &digests,
        );
        let read = digests.read();
        digests.keep(true);
        (context.expect("a context").digest, read)
    }
}

#[test]
fn what_did_not_change_is_not_opened_again() {
    let world = world();
    for number in 0..500 {
        world.write(&format!("file{number}"), "x");
    }
    let (first, read) = world.read();
    assert_eq!(read, 501);
    let (sender, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(sender).expect("a watcher");
    watcher
        .watch(&world.root(), RecursiveMode::Recursive)
        .expect("a directory to watch");
    // A context and a tree of the same files share what is known of them.
    assert_eq!(world.read(), (first.clone(), 0));
    let digests = world.digests();
    Tree::read(&world.root(), &digests).expect("a tree");
    assert_eq!(digests.read(), 0);
    fs::write(world.root().join("the end"), "").expect("a file");
    let mut opened = Vec::new();
    loop {
        let event = events.recv().expect("an event").expect("no error");
        if event.paths.iter().any(|path| path.ends_with("the end")) {
            break;
        }
        if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) {
            opened.extend(event.paths.into_iter().filter(|path| path.is_file()));
        }
    }
    // The text of the Dockerfile itself is always read.
    opened.retain(|path| !path.ends_with("Dockerfile"));
    assert_eq!(opened, Vec::<PathBuf>::new());
    world.write("file7", "y");
    fs::remove_file(world.root().join("the end")).expect("a file");
    let (changed, read) = world.read();
    assert_ne!(changed, first);
    assert_eq!(read, 1);
}

#[test]
fn what_was_changed_just_now_is_read_again_however_it_looks() {
    let mut world = world();
    world.late = 0;
    world.write("file", "one");
    let (first, read) = world.read();
    assert_eq!((world.read(), read), ((first, 2), 2));
    assert!(!world.cache().exists());
}

#[test]
fn a_file_that_looks_the_same_but_for_the_time_of_its_inode_is_read_again() {
    let world = world();
    world.write("file", "one");
    let (first, _) = world.read();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(world.root().join("file"))
        .expect("a file");
    let written = file.metadata().expect("metadata").modified().expect("a time");
    world.write("file", "two");
    file.set_modified(written).expect("a time");
    let (second, read) = world.read();
    assert_ne!(second, first);
    assert_eq!(read, 1);
}

#[test]
fn another_file_in_the_place_of_one_is_read() {
    let world = world();
    world.write("file", "one");
    world.write("other", "two");
    let (first, _) = world.read();
    fs::rename(world.root().join("other"), world.root().join("file")).expect("a file");
    let (second, read) = world.read();
    assert_ne!(second, first);
    assert_eq!(read, 1);
}

#[test]
fn garbage_and_what_others_could_write_is_nothing() {
    let world = world();
    world.write("file", "one");
    let (first, _) = world.read();
    let sound = fs::read(world.cache()).expect("a cache");
    assert_eq!(world.read(), (first.clone(), 0));
    let mut flipped = sound.clone();
    flipped[HEAD.len() + SUM + STAMP] ^= 1;
    for garbage in [
        &b""[..],
        b"x",
        &sound[..sound.len() - 1],
        &[sound.as_slice(), b"x"].concat(),
        &flipped,
        &vec![0; 4096],
    ] {
        fs::write(world.cache(), garbage).expect("a cache");
        assert_eq!(world.read(), (first.clone(), 2), "{} bytes", garbage.len());
        assert_eq!(fs::read(world.cache()).expect("a cache"), sound);
    }
    fs::set_permissions(world.cache(), fs::Permissions::from_mode(0o622)).expect("a mode");
    assert_eq!(world.read(), (first.clone(), 2));
    let others = Digests::at(world.cache(), world.uid() + 1, Timestamp::now());
    assert!(others.known.is_empty());
    // Where there is no place, everything is read.
    fs::remove_dir_all(world.cache().parent().expect("a directory")).expect("a directory");
    fs::write(world.cache().parent().expect("a directory"), "").expect("a file");
    assert_eq!(world.read(), (first.clone(), 2));
    assert_eq!(world.read(), (first, 2));
}

#[test]
fn what_is_kept_in_a_directory_that_is_read_would_change_it_and_is_not() {
    let mut world = world();
    let (first, _) = world.read();
    assert!(world.cache().exists());
    fs::remove_dir_all(world.directory.path().join("cache")).expect("a directory");
    std::os::unix::fs::symlink("context/.cache", world.directory.path().join("cache")).expect("a link");
    assert_eq!(world.read().0, first);
    fs::create_dir(world.root().join(".cache")).expect("a directory");
    let (second, _) = world.read();
    assert_eq!(world.read().0, second);
    world.late = 2 * HOUR;
    assert_eq!(world.read().0, second);
}

#[test]
fn what_is_not_asked_for_any_more_is_forgotten_unless_something_went_wrong() {
    let world = world();
    world.write("file", "one");
    world.read();
    let all = fs::read(world.cache()).expect("a cache").len();
    world.digests().keep(false);
    assert_eq!(fs::read(world.cache()).expect("a cache").len(), all);
    world.digests().keep(true);
    assert_eq!(fs::read(world.cache()).expect("a cache").len(), HEAD.len() + SUM);
}

#[test]
fn several_at_once_leave_one_whole_file_and_old_ones_go() {
    let world = world();
    for number in 0..40 {
        world.write(&format!("file{number}"), "x");
    }
    let (first, _) = world.read();
    for number in 0..KEPT + 9 {
        let name = world.cache().with_file_name(format!("old{number}"));
        fs::write(&name, "x").expect("a file");
        let old = fs::File::options().write(true).open(name).expect("a file");
        let long_ago = fs::metadata(world.cache())
            .expect("a cache")
            .modified()
            .expect("a time")
            - std::time::Duration::from_secs(HOUR.unsigned_abs());
        old.set_modified(long_ago).expect("a time");
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..10 {
                    world.digests().keep(true);
                    assert_eq!(world.read().0, first, "{number}");
                }
            });
        }
    });
    assert_eq!(world.read().0, first);
    assert_eq!(world.read(), (first, 0));
    let left = fs::read_dir(world.cache().parent().expect("a directory")).expect("a directory");
    assert!(left.count() <= KEPT);
}
