//! Repositories on hosts that hang, and what of a repository is never done on this one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use aishell::fetch::FetchError;
use aishell::progress::Progress;
use aishell::remote::{Source, Store};

use super::{Wish, World, asked, runs, until};

fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn set(store: &mut Store, name: &str, value: impl ToString) {
    store.environment.insert(name.to_owned(), value.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_is_given_up_with_all_that_waits_for_it() {
    let world = World::new();
    let wishes = world.wishes();
    let mut store = world.store();
    store.patience = Duration::from_millis(500);
    world.server.stall(true);
    for wish in [&wishes[0], &wishes[3]] {
        let error = wish
            .grant(&store, &Progress::default())
            .await
            .expect_err("nobody answers");
        assert!(error.to_string().contains("git said nothing for"), "{error}");
        until("git is gone", || !runs(&world.server.url("a")));
    }
    world.server.stall(false);
    // By ssh, where nobody has said how long: what it says meanwhile is told.
    let ssh = world.path().join("ssh");
    let mark = world.path().join("mark").display().to_string();
    // A time that nobody else sleeps.
    let time = format!(
        "86399.{}",
        world
            .server
            .address("")
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    );
    program(&ssh, &format!("echo hello from {mark} >&2\nexec sleep {time}"));
    store.patience = Duration::from_secs(5);
    set(&mut store, "GIT_SSH_COMMAND", format!("{} {mark}", ssh.display()));
    let wish = Wish::Branch {
        url: "ssh://git@127.0.0.1:1/a.git".to_owned(),
    };
    let error = wish
        .grant(&store, &Progress::default())
        .await
        .expect_err("nobody answers");
    let failure = error.failure();
    assert!(failure.message.contains("git said nothing for"), "{failure:?}");
    assert_eq!(failure.log, [format!("hello from {mark}")]);
    until("ssh is gone", || !runs(&time));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_a_connection_for_the_next_one_does_not_hold_up_this_one() {
    let world = World::new();
    let wishes = world.wishes();
    let mut store = world.store();
    let (ssh, left) = (world.path().join("ssh"), world.path().join("left"));
    // As ssh does with ControlPersist: it stays, and so do the streams that it was given.
    let text = format!(
        "sleep 3600 </dev/null >/dev/null & echo $! >'{}'\nexec git-upload-pack '{}'",
        left.display(),
        world.server.path("a").display()
    );
    program(&ssh, &text);
    set(&mut store, "GIT_SSH_COMMAND", ssh.display());
    let wish = Wish::Branch {
        url: "ssh://git@127.0.0.1:1/a.git".to_owned(),
    };
    let found = wish
        .grant(&store, &Progress::default())
        .await
        .expect("it is there");
    let Wish::Clone { commit, .. } = &wishes[0] else {
        panic!("{wishes:?}")
    };
    assert_eq!(found, *commit);
    let left = fs::read_to_string(&left).expect("a file");
    let left = rustix::process::Pid::from_raw(left.trim().parse().expect("a number")).expect("a process");
    // It goes on, since git has ended well.
    rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_stay_empty_and_large_files_stay_pointers_whatever_this_host_has() {
    let world = World::new();
    let url = world.server.repository("a");
    let inner = world.server.repository("inner");
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12\n",
        aishell::key::digest(b"large")
    );
    let modules = format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {inner}\n");
    world.server.commit(
        "a",
        "main",
        &[
            (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"),
            ("large.bin", &pointer),
            (".gitmodules", &modules),
        ],
    );
    // Somebody has git-lfs, and wants submodules always.
    let (home, ran) = (world.path().join("home"), world.path().join("ran"));
    fs::create_dir(&home).expect("a directory");
    let filter = format!("touch {}; cat", ran.display());
    let text = format!(
        "[filter \"lfs\"]\n\tsmudge = {filter}\n\tprocess = {filter}\n\tclean = {filter}\n\trequired = true\n\
         [submodule]\n\trecurse = true\n[fetch]\n\trecurseSubmodules = true\n"
    );
    fs::write(home.join(".gitconfig"), text).expect("a file");
    let mut store = world.store();
    set(&mut store, "HOME", home.display());
    // A link to a commit of another repository, as git writes it for a submodule.
    let linked = world.server.git("inner", &["rev-parse", "main"]);
    let entry = format!("160000,{linked},inner");
    world.server.git("a", &["read-tree", "main"]);
    world
        .server
        .git("a", &["update-index", "--add", "--cacheinfo", &entry]);
    let tree = world.server.git("a", &["write-tree"]);
    let commit = world
        .server
        .git("a", &["commit-tree", "-p", "main", "-m", "linked", &tree]);
    world.server.git("a", &["update-ref", "refs/heads/main", &commit]);
    let source = Source::Repository {
        url: url.parse().expect("an address"),
        commit: commit.parse().expect("a commit"),
        branch: Some("main".parse().expect("a branch")),
        tag: None,
        depth: None,
    };
    let order = aishell::fetch::Order {
        source,
        store: std::sync::Arc::new(store),
    };
    let fetched: Result<_, FetchError> = aishell::fetch::fetch(&order, &Progress::default()).await;
    let fetched = fetched.expect("it is there");
    let root = &fetched.tree.source;
    assert_eq!(
        fs::read_to_string(root.join("large.bin")).expect("a file"),
        pointer
    );
    assert!(!ran.exists(), "nothing of this host is run");
    assert_eq!(fs::read_dir(root.join("inner")).expect("a directory").count(), 0);
    let status = asked(root, &["submodule", "status"]);
    assert_eq!(status.trim(), format!("-{linked} inner"));
}
