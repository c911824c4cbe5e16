//! Repositories in phases: fetched on the host, at the commit that the lock has, and nothing of who fetched them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::git::{GitServer, PASSWORD, USER};
use crate::phases::{done, within, write};
use crate::project::{Project, text};
use crate::raw;

/// Returns a project whose caches are its own.
pub fn apart() -> Project {
    apart_on(raw::tiny())
}

/// Returns such a project on an image.
pub fn apart_on(image: String) -> Project {
    let mut project = Project::on(image);
    let cache = project.path().join(".cache");
    project.variable("XDG_CACHE_HOME", &cache.display().to_string());
    project.variable("HOME", &project.path().display().to_string());
    project
}

/// Phases that fetch one repository.
fn phases(project: &Project, repo: &Value) -> Value {
    json!({
        "base": { "image": project.image },
        "users": [{ "name": "dev", "uid": 1234, "groups": [project.name] }],
        "repos": [repo],
        "final": { "user": "dev" },
    })
}

fn wants(project: &Project, repo: &Value) {
    write(project, &phases(project, repo), "containers: {}\n");
}

fn lock(project: &Project) -> String {
    fs::read_to_string(project.path().join("aishell.lock")).unwrap_or_default()
}

/// Returns the copies in the cache of a project.
fn copies(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path().join(".cache/aishell/git")).expect("a cache");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

#[test]
fn a_clone_is_at_the_commit_of_the_lock_and_says_nothing_of_who_fetched_it() {
    let (project, server) = (apart(), GitServer::start());
    let url = server.repository("a");
    server.commit(
        "a",
        "main",
        &[
            ("run*", "#!/bin/sh\n"),
            ("deep/link@", "../README"),
            ("deep/file", "x"),
        ],
    );
    let first = server.git("a", &["rev-parse", "main"]);
    wants(&project, &json!({ "url": url, "path": "/srv/a", "owner": "dev" }));
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    assert!(
        diff.json["unknown"].to_string().contains("is not pinned"),
        "{diff:#?}"
    );
    let run = project.converge();
    assert_eq!(run.json["pinned"][0]["to"], format!("{first} (main)"), "{run:#?}");
    assert!(lock(&project).contains(&first), "{}", lock(&project));
    let look = "cd /srv/a && cat .git/HEAD .git/refs/heads/main .git/config README deep/link && \
                for f in /srv /srv/a /srv/a/run /srv/a/deep/file /srv/a/deep/link /srv/a/.git/HEAD; do \
                find $f -maxdepth 0 -printf '%p %U:%G %m %y\\n'; done; ls -a .git";
    let said = within(&project, &["sh", "-c", look]);
    assert!(
        said.starts_with(&format!("ref: refs/heads/main\n{first}\n")),
        "{said}"
    );
    assert!(said.contains(&format!("url = {url}\n")), "{said}");
    assert!(
        said.contains(
            "/srv 1234:1234 755 d\n/srv/a 1234:1234 755 d\n/srv/a/run 1234:1234 755 f\n\
             /srv/a/deep/file 1234:1234 644 f\n/srv/a/deep/link 1234:1234 777 l\n/srv/a/.git/HEAD 1234:1234 644 f\n"
        ),
        "{said}"
    );
    for left in ["FETCH_HEAD", "ORIG_HEAD", "hooks", "logs", "aishell"] {
        assert!(!said.contains(left), "{left}: {said}");
    }

    // The branch moves on; what is pinned stays, and nobody is asked.
    let second = server.commit("a", "main", &[("README", "second\n")]);
    let asked = server.asked();
    project.settled();
    project.converge();
    assert_eq!(server.asked(), asked);
    let check = project.run(&["update", "--check"]);
    assert_eq!(
        (check.code, check.json["changes"][0]["to"].clone()),
        (Some(1), json!(format!("{second} (main)")))
    );
    let update = project.run(&["update", &url]);
    assert_eq!(update.json["written"], true, "{update:#?}");
    let diff = project.diff();
    assert_eq!(done(&diff.json), ["8-repos", "12-final"], "{diff:#?}");
    let because = &diff.json["steps"][0]["because"][0];
    assert_eq!(
        (
            text(&because["field"]),
            text(&because["from"]),
            text(&because["to"])
        ),
        ("repos.0.commit", &first[..12], &second[..12])
    );
    assert_eq!(because["at"]["line"], 3, "{diff:#?}");
    project.converge();
    assert_eq!(within(&project, &["cat", "/srv/a/README"]), "second");

    // Going back needs nobody.
    fs::write(
        project.path().join("aishell.lock"),
        lock(&project).replace(&second, &first),
    )
    .expect("a lock");
    project.converge();
    let run = project.run(&["apply", "--rebuild=repos"]);
    assert_eq!(
        (run.code, done(&run.json)),
        (Some(0), vec!["8-repos".to_owned(), "12-final".to_owned()]),
        "{run:#?}"
    );
    let others = project.path().join(".cache/aishell");
    let mode = fs::metadata(&others).expect("a cache").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let left = fs::read_dir(others.join("work")).expect("a directory").count();
    assert_eq!(left, 0, "what was put together is gone");
}

#[test]
fn depth_tag_and_commit_are_what_they_say() {
    let (project, server) = (apart(), GitServer::start());
    let url = server.repository("a");
    let first = server.git("a", &["rev-parse", "main"]);
    server.git("a", &["tag", "-a", "-m", "a tag with a text", "v1", &first]);
    for number in ["2", "3", "4"] {
        server.commit("a", "main", &[("number", number)]);
    }
    let last = server.git("a", &["rev-parse", "main"]);
    write(
        &project,
        &json!({
            "base": { "image": project.image },
            "setup": { "root": [format!("echo {} >/made", project.name)] },
            "repos": [
                { "url": url, "path": "/a/shallow", "branch": "main", "depth": 2 },
                { "url": url, "path": "/a/tagged", "tag": "v1" },
                { "url": url, "path": "/a/exact", "commit": first },
                { "url": url, "path": "/a/whole" },
            ],
        }),
        "containers: {}\n",
    );
    project.converge();
    let look = "cd /a && cat shallow/.git/HEAD tagged/.git/HEAD exact/.git/HEAD shallow/number whole/number && \
                cat tagged/.git/refs/tags/v1 && ls exact && cat shallow/.git/shallow && ls */.git/shallow";
    let said = within(&project, &["sh", "-c", look]);
    let third = server.git("a", &["rev-parse", "main~1"]);
    assert_eq!(
        said,
        format!("ref: refs/heads/main\n{first}\n{first}\n44{first}\nREADME\n{third}\nshallow/.git/shallow")
    );
    assert!(lock(&project).contains(&last), "{}", lock(&project));
}

#[test]
fn whoever_gits_configuration_says_is_let_in_and_nobody_else() {
    let (mut project, server) = (apart(), GitServer::start());
    let url = server.repository("a");
    server.guard();
    wants(&project, &json!({ "url": url, "path": "/srv/a" }));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let problem = &run.json["problems"][0];
    assert!(
        text(&problem["message"]).contains("could not read Username"),
        "{run:#?}"
    );
    assert!(text(&problem["hint"]).contains("credential helpers"), "{run:#?}");
    assert_eq!(problem["at"]["line"], 3);
    // A helper of the person's.
    let helper = format!(
        "[credential]\n\thelper = \"!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f\"\n"
    );
    project.write(".gitconfig", &helper);
    project.variable("GIT_TRACE", "1");
    let run = project.converge();
    assert!(
        !format!("{run:#?}{}", lock(&project)).contains(PASSWORD),
        "{run:#?}"
    );
    let said = within(&project, &["sh", "-c", "grep -r . /srv/a/.git/config; env"]);
    assert!(!said.contains(PASSWORD) && !said.contains(USER), "{said}");
}

/// Says whether any process has a text among its words.
pub fn runs(text: &str) -> bool {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let mut words = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    words.any(|words| String::from_utf8_lossy(&words).contains(text))
}

/// Returns a repository and a project that has it in its lock and not in its cache.
fn pinned(server: &GitServer) -> (Project, String) {
    let (project, url) = (apart(), server.repository("a"));
    wants(&project, &json!({ "url": url, "path": "/srv/a" }));
    let update = project.run(&["update"]);
    assert_eq!(update.code, Some(0), "{update:#?}");
    (project, url)
}

#[test]
fn whoever_ends_a_fetch_ends_git_and_the_next_apply_fetches() {
    let server = GitServer::start();
    let (project, url) = pinned(&server);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        server.stall(true);
        let child = project.begin(&["apply", "--progress", "plain"]);
        raw::until("git waits for the server", || {
            (server.waiting() > 0).then_some(())
        });
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, signal).expect("a signal");
        let ended = child.wait_with_output().expect("an end");
        if signal == rustix::process::Signal::INT {
            assert_eq!(ended.status.code(), Some(130), "{ended:?}");
            raw::until("git is gone", || (!runs(&url)).then_some(()));
        }
        project.unclaimed();
        assert_eq!(project.containers(), Vec::<String>::new());
        server.stall(false);
        raw::until("git is gone", || (!runs(&url)).then_some(()));
    }
    // As a git that was killed would leave it.
    let copy = &copies(&project)[0];
    fs::write(copy.join("shallow.lock"), "").expect("a file");
    fs::write(copy.join("packed-refs.lock"), "").expect("a file");
    project.converge();
    let left = fs::read_dir(project.path().join(".cache/aishell/work")).expect("a directory");
    assert_eq!(left.count(), 0);
}

/// Does something to a copy in the cache.
type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn a_copy_that_is_damaged_is_made_anew() {
    let server = GitServer::start();
    let (project, url) = pinned(&server);
    project.converge();
    let spoil = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a mode");
        fs::write(path, "garbage").expect("a file");
    };
    let objects = |copy: &Path| -> Vec<PathBuf> {
        let of = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
        let directories = of(copy.join("objects")).map(|entry| entry.path());
        let files = directories.flat_map(of).map(|entry| entry.path());
        files.filter(|path| path.is_file()).collect()
    };
    let damages: [(&str, Damage<'_>); 4] = [
        ("objects", &|copy| {
            for path in objects(copy) {
                spoil(&path);
            }
        }),
        ("the head", &|copy| {
            fs::remove_file(copy.join("HEAD")).expect("a file");
        }),
        ("the configuration", &|copy| spoil(&copy.join("config"))),
        ("no objects", &|copy| {
            fs::remove_dir_all(copy.join("objects")).expect("a directory");
        }),
    ];
    for (what, damage) in damages {
        damage(&copies(&project)[0]);
        let run = project.run(&["apply", "--rebuild=repos"]);
        assert_eq!(run.code, Some(0), "{what}: {run:#?}");
        assert_eq!(within(&project, &["cat", "/srv/a/README"]), "a", "{what}");
    }
    assert_eq!(copies(&project).len(), 1, "{url}");
}

#[test]
fn several_at_once_share_what_is_fetched() {
    let server = GitServer::start();
    let (one, url) = pinned(&server);
    let mut other = one.twin();
    for variable in ["XDG_CACHE_HOME", "HOME"] {
        let path = if variable == "HOME" {
            one.path()
        } else {
            one.path().join(".cache")
        };
        other.variable(variable, &path.display().to_string());
    }
    other.name = format!("{}b", one.name);
    wants(&other, &json!({ "url": url, "path": "/srv/other" }));
    other.write("aishell.lock", &lock(&one));
    let children = [&one, &other].map(|project| project.begin(&["apply", "--progress", "plain"]));
    for child in children {
        let ended = child.wait_with_output().expect("an end");
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(copies(&one).len(), 1);
    assert_eq!(within(&other, &["cat", "/srv/other/README"]), "a");
}

#[test]
fn what_cannot_be_fetched_is_told_with_its_line_and_what_was_before_stays() {
    let server = GitServer::start();
    let (mut project, url) = pinned(&server);
    // Nobody has such a branch, and nobody answers there: said while it is pinned, and nothing is made.
    let nobody = "http://127.0.0.1:1/a.git";
    for (repo, code, told) in [
        (
            json!({ "url": url, "path": "/a", "branch": "none" }),
            3,
            "has no such branch",
        ),
        (
            json!({ "url": url, "path": "/a", "tag": "none" }),
            3,
            "has no such tag",
        ),
        (json!({ "url": nobody, "path": "/a" }), 5, "127.0.0.1"),
        (json!({ "url": server.url("none"), "path": "/a" }), 5, "not found"),
    ] {
        wants(&project, &repo);
        let run = project.apply();
        assert_eq!(run.code, Some(code), "{told}: {run:#?}");
        let problem = &run.json["problems"][0];
        assert!(text(&problem["message"]).contains(told), "{told}: {run:#?}");
        assert_eq!(problem["at"]["line"], 3, "{told}: {run:#?}");
        assert_eq!(project.containers(), Vec::<String>::new());
    }
    // A commit that is not there, an owner that is not there: said by the phase.
    let commit = "12".repeat(20);
    for (repo, told) in [
        (
            json!({ "url": url, "path": "/a", "commit": commit }),
            format!("commit {commit} is not in {url}"),
        ),
        (
            json!({ "url": nobody, "path": "/a", "commit": commit }),
            "127.0.0.1".to_owned(),
        ),
        (
            json!({ "url": url, "path": "/a", "owner": "ghost" }),
            "the image has no user `ghost`".to_owned(),
        ),
        (
            json!({ "url": url, "path": "/usr/bin/cat" }),
            "is a file in the image".to_owned(),
        ),
    ] {
        wants(&project, &repo);
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        let steps = run.json["steps"].as_array().expect("steps");
        let failed = steps
            .iter()
            .find(|step| step["outcome"] == "failed")
            .expect("one");
        let message = text(&failed["error"]["message"]);
        assert!(
            message.starts_with("phase 8-repos: ") && message.contains(&told),
            "{told}: {failed:#}"
        );
        assert_eq!(done(&project.diff().json), ["8-repos", "12-final"], "{told}");
    }
    // Nobody to fetch with.
    let path = tempfile::tempdir().expect("a directory");
    project.variable("PATH", &path.path().display().to_string());
    wants(&project, &json!({ "url": url, "path": "/a", "branch": "main" }));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(
        run.json.to_string().contains("there is no git on this host"),
        "{run:#?}"
    );
}

#[test]
fn a_submodule_is_a_repository_of_its_own_in_the_other_one() {
    let (project, server) = (apart(), GitServer::start());
    let (outer, inner) = (server.repository("outer"), server.repository("inner"));
    let linked = server.git("inner", &["rev-parse", "main"]);
    let modules = format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {inner}\n");
    server.commit("outer", "main", &[(".gitmodules", &modules)]);
    server.git("outer", &["read-tree", "main"]);
    let entry = format!("160000,{linked},inner");
    server.git("outer", &["update-index", "--add", "--cacheinfo", &entry]);
    let tree = server.git("outer", &["write-tree"]);
    let commit = server.git("outer", &["commit-tree", "-p", "main", "-m", "linked", &tree]);
    server.git("outer", &["update-ref", "refs/heads/main", &commit]);
    let wants = |repos: Value| {
        let phases = json!({
            "base": { "image": project.image },
            "setup": { "root": [format!("echo {} >/made", project.name)] },
            "repos": repos,
        });
        write(&project, &phases, "containers: {}\n");
        project.converge();
    };
    let whole = json!({ "url": outer, "path": "/srv/outer" });
    wants(json!([whole]));
    let said = within(&project, &["sh", "-c", "ls /srv/outer; ls -a /srv/outer/inner"]);
    assert_eq!(said, "README\ninner\n.\n..");
    wants(json!([whole, { "url": inner, "path": "/srv/outer/inner", "commit": linked }]));
    let said = within(
        &project,
        &["sh", "-c", "cat /srv/outer/README /srv/outer/inner/README"],
    );
    assert_eq!(said, "outer\ninner");
}
