//! What was altered in the cache by hand is never used, and does not stay: whatever is fetched is what it was.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use aishell::progress::Progress;
use aishell::remote::Store;

use super::{World, asked, becomes_clean, is_clean};

/// What is done to a copy of a repository or a download, and what else there is.
struct Entry<'a> {
    path: &'a Path,
    commit: &'a str,
    /// The commit before it.
    before: &'a str,
    /// A file that has what should be here, elsewhere.
    same: &'a Path,
}

/// Something done by hand.
type Deed = (&'static str, fn(&Entry<'_>));

fn write(path: &Path, text: impl AsRef<[u8]>) {
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
}

fn take_away(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("a directory");
    } else {
        fs::remove_file(path).expect("a file");
    }
}

/// Returns every file with an object, or several, in it.
fn objects(copy: &Path) -> Vec<PathBuf> {
    let of = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = of(copy.join("objects")).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = directories.flat_map(of).map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Replaces what every object has by something that is made of it.
fn alter(copy: &Path, change: fn(Vec<u8>) -> Vec<u8>) {
    for path in objects(copy) {
        let content = fs::read(&path).expect("a file");
        write(&path, change(content));
    }
}

/// Turns a byte in the middle over.
fn turned(mut content: Vec<u8>) -> Vec<u8> {
    let middle = content.len() / 2;
    content[middle] ^= 0xff;
    content
}

fn complete(entry: &Entry<'_>) -> PathBuf {
    entry.path.join("refs/aishell/complete").join(entry.commit)
}

const COPIES: &[Deed] = &[
    ("garbage for objects", |entry| {
        alter(entry.path, |_| b"garbage".to_vec());
    }),
    ("halves of objects", |entry| {
        alter(entry.path, |content| content[..content.len() / 2].to_vec());
    }),
    ("empty objects", |entry| alter(entry.path, |_| Vec::new())),
    ("objects with another byte", |entry| alter(entry.path, turned)),
    ("each object another one", |entry| {
        let all = objects(entry.path);
        let contents: Vec<Vec<u8>> = all.iter().map(|path| fs::read(path).expect("a file")).collect();
        for (path, content) in all.iter().zip(contents.iter().cycle().skip(1)) {
            write(path, content);
        }
    }),
    ("a pack with another byte", |entry| {
        asked(entry.path, &["repack", "-a", "-d", "-q"]);
        alter(entry.path, turned);
    }),
    ("half a pack", |entry| {
        asked(entry.path, &["repack", "-a", "-d", "-q"]);
        alter(entry.path, |content| content[..content.len() / 2].to_vec());
    }),
    ("no objects", |entry| take_away(&entry.path.join("objects"))),
    ("objects elsewhere", |entry| {
        take_away(&entry.path.join("objects"));
        write(&entry.path.join("objects/info/alternates"), "/nowhere\n");
    }),
    ("no head", |entry| take_away(&entry.path.join("HEAD"))),
    ("another head", |entry| write(&entry.path.join("HEAD"), "garbage")),
    ("no configuration", |entry| take_away(&entry.path.join("config"))),
    ("a broken configuration", |entry| {
        write(&entry.path.join("config"), "[");
    }),
    ("a configuration that leads elsewhere", |entry| {
        let text = "[core]\n\tbare = true\n\tworktree = /nowhere\n[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://\n";
        write(&entry.path.join("config"), text);
        take_away(&complete(entry));
    }),
    ("a configuration that is a directory", |entry| {
        take_away(&entry.path.join("config"));
        write(&entry.path.join("config/x"), "");
    }),
    ("another commit by that name", |entry| {
        write(&complete(entry), format!("{}\n", entry.before));
    }),
    ("garbage by that name", |entry| {
        write(&complete(entry), "garbage\n");
    }),
    ("nothing by that name", |entry| write(&complete(entry), "")),
    ("no names", |entry| take_away(&entry.path.join("refs"))),
    ("broken names", |entry| {
        write(&entry.path.join("packed-refs"), "garbage\n");
    }),
    ("another commit instead", |entry| {
        let path = entry.path.join("refs/replace").join(entry.commit);
        write(&path, format!("{}\n", entry.before));
    }),
    ("no history", |entry| {
        write(&entry.path.join("shallow"), format!("{}\n", entry.commit));
    }),
    ("another history", |entry| {
        write(&entry.path.join("info/grafts"), format!("{}\n", entry.commit));
    }),
    ("a hook", |entry| {
        let hook = entry.path.join("hooks/reference-transaction");
        write(&hook, "#!/bin/sh\nexit 1\n");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    }),
    ("elsewhere", |entry| {
        write(&entry.path.join("commondir"), "/nowhere\n");
    }),
    ("locks and halves", |entry| {
        for left in [
            "shallow",
            "packed-refs",
            "config",
            "HEAD",
            "refs/aishell/complete/x/y",
        ] {
            write(&entry.path.join(format!("{left}.lock")), "");
        }
        write(&complete(entry).with_extension("lock"), "");
        for left in ["ab/tmp_obj_x", "pack/tmp_pack_x", "pack/tmp_idx_x"] {
            write(&entry.path.join("objects").join(left), "half");
        }
    }),
    ("a file", |entry| {
        take_away(entry.path);
        write(entry.path, "garbage");
    }),
    ("an empty directory", |entry| {
        take_away(entry.path);
        fs::create_dir(entry.path).expect("a directory");
    }),
    ("a link", |entry| {
        let elsewhere = entry.path.with_extension("elsewhere");
        fs::rename(entry.path, &elsewhere).expect("a directory");
        symlink(&elsewhere, entry.path).expect("a link");
        alter(&elsewhere, |_| b"garbage".to_vec());
    }),
];

const DOWNLOADS: &[Deed] = &[
    ("garbage", |entry| write(entry.path, "garbage")),
    ("nothing", |entry| write(entry.path, "")),
    ("half", |entry| {
        let content = fs::read(entry.path).expect("a file");
        write(entry.path, &content[..content.len() / 2]);
    }),
    ("more", |entry| {
        let content = fs::read(entry.path).expect("a file");
        write(entry.path, [content, b"x".to_vec()].concat());
    }),
    ("another byte", |entry| {
        write(entry.path, turned(fs::read(entry.path).expect("a file")));
    }),
    ("a directory", |entry| {
        take_away(entry.path);
        write(&entry.path.join("x"), "");
    }),
    ("a link", |entry| {
        take_away(entry.path);
        symlink(entry.same, entry.path).expect("a link");
    }),
    ("a link to nowhere", |entry| {
        take_away(entry.path);
        symlink("/nowhere/at/all", entry.path).expect("a link");
    }),
    ("a pipe", |entry| {
        take_away(entry.path);
        let made = std::process::Command::new("mkfifo").arg(entry.path).status();
        assert!(made.expect("mkfifo").success());
    }),
];

/// Returns the one entry of a kind.
fn entry(store: &Store, kind: &str) -> PathBuf {
    let entries = fs::read_dir(store.directory.join(kind)).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_none());
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_in_the_cache_is_never_used_and_does_not_stay() {
    let world = World::new();
    let wishes = world.wishes();
    let [commit, before] = ["main", "main~1"].map(|name| world.server.git("a", &["rev-parse", name]));
    let same = world.path().join("same");
    fs::write(&same, "#!/bin/sh\n".repeat(5000)).expect("a file");
    let rows = [
        (&wishes[0], "git", COPIES),
        (&wishes[1], "git", COPIES),
        (&wishes[2], "downloads", DOWNLOADS),
    ];
    for (wish, kind, deeds) in rows {
        let store = world.store();
        let expected = wish
            .grant(&store, &Progress::default())
            .await
            .expect("it is there");
        for (name, deed) in deeds {
            let what = format!("{name}: {wish:?}");
            let path = entry(&store, kind);
            deed(&Entry {
                path: &path,
                commit: &commit,
                before: &before,
                same: &same,
            });
            let granted = wish.grant(&store, &Progress::default()).await.expect(&what);
            assert_eq!(granted, expected, "{what}");
            let _ = fs::remove_dir_all(path.with_extension("elsewhere"));
            is_clean(&store, &what);
            // It is whole again: nobody is asked.
            let asked = world.server.asked();
            let again = wish.grant(&store, &Progress::default()).await.expect(&what);
            assert_eq!((again, world.server.asked()), (granted, asked), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_in_the_cache_goes_when_nobody_has_it() {
    let world = World::new();
    let store = world.store();
    let wish = &world.wishes()[2];
    wish.grant(&store, &Progress::default())
        .await
        .expect("it is there");
    let work = store.directory.join("work");
    // With nobody's lock, with a lock that nobody has, with one that somebody has.
    for name in ["0", "1", "2"] {
        write(&work.join(name).join("clone/half"), "");
    }
    write(&work.join("file"), "");
    let (free, held) = (work.join("1.lock"), work.join("2.lock"));
    write(&free, "");
    let file = File::create(&held).expect("a file");
    file.lock().expect("a lock");
    wish.grant(&store, &Progress::default())
        .await
        .expect("it is there");
    let left = || {
        let entries = fs::read_dir(&work).expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left(), ["2", "2.lock"]);
    drop(file);
    becomes_clean(&store, wish, "nobody has it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_fetch_with_is_told_and_costs_nothing_that_was_fetched() {
    let world = World::new();
    let wish = &world.wishes()[0];
    let store = world.store();
    let expected = wish
        .grant(&store, &Progress::default())
        .await
        .expect("it is there");
    let mut without = store.clone();
    let nothing = world.path().display().to_string();
    without.environment.insert("PATH".to_owned(), nothing);
    let error = wish
        .grant(&without, &Progress::default())
        .await
        .expect_err("no git");
    assert_eq!(error.to_string(), "there is no git on this host");
    let asked = world.server.asked();
    let granted = wish
        .grant(&store, &Progress::default())
        .await
        .expect("it is there");
    assert_eq!((granted, world.server.asked()), (expected, asked));
}
