//! Whoever owns the project is whoever works in its sandboxes, whatever the image thinks of these numbers.

use std::os::unix::fs::MetadataExt as _;

use crate::project::Project;
use crate::raw;
use crate::support::BASE;

/// Owners, and what is special about each.
const OWNERS: [(&str, (u32, u32)); 7] = [
    ("root", (0, 0)),
    ("a service of the image", (33, 33)),
    ("a group of the image", (4242, 20)),
    ("a user of the image in a group of its own", (33, 4343)),
    ("somebody in the group of root", (4242, 0)),
    ("nobody", (65534, 65534)),
    ("a user that the image does not know", (4242, 4343)),
];

#[test]
fn whoever_owns_the_project_works_in_its_sandboxes() {
    raw::engine();
    for (what, owner) in OWNERS {
        let project = Project::on(BASE.to_owned());
        project.give_to(owner);
        project.manifest("containers:\n  a: { network: none }\n");
        project.converge();
        works(&project, what, owner);
    }
}

fn works(project: &Project, what: &str, (uid, gid): (u32, u32)) {
    let container = project.object("a");
    let shell = |script: &str| raw::said(&container, &["bash", "-c", script]);
    let numbers = format!("{uid}:{gid}");
    assert_eq!(shell("echo $(id -u):$(id -g)"), numbers, "{what}");
    // Names resolve, both ways and from the environment.
    let name = shell("id -un");
    assert_eq!(
        shell("whoami; echo $USER; logname 2>/dev/null || true"),
        format!("{name}\n{name}"),
        "{what}"
    );
    assert_ne!(shell("id -gn"), gid.to_string(), "{what}");
    assert_eq!(
        shell("getent passwd | awk -F: '{ print $3 }' | sort | uniq -d"),
        "",
        "{what}"
    );
    assert_eq!(
        shell("getent passwd | cut -d: -f1 | sort | uniq -d"),
        "",
        "{what}"
    );
    assert_eq!(shell("getent group | cut -d: -f1 | sort | uniq -d"), "", "{what}");
    // The home is one, and the same however one comes in.
    let home = shell("echo $HOME");
    assert_eq!(
        home,
        if uid == 0 {
            "/root".to_owned()
        } else {
            format!("/home/{name}")
        },
        "{what}"
    );
    assert_eq!(shell("getent passwd $(id -u) | cut -d: -f6"), home, "{what}");
    assert_eq!(raw::said(&container, &["bash", "-lc", "cd; pwd"]), home, "{what}");
    assert_eq!(
        shell("touch ~/.x ~/.y && stat -c %u:%g ~ ~/.x"),
        format!("{numbers}\n{numbers}"),
        "{what}"
    );
    // What is made in the project belongs to whoever owns it, and nothing else can be written to.
    shell("mkdir -p made/below && echo x > made/below/file && git --version >/dev/null 2>&1 || true");
    let made = project.path().join("made/below/file").metadata().expect("a file");
    assert_eq!((made.uid(), made.gid()), (uid, gid), "{what}");
    for place in ["/etc/x", "/usr/x", "/x"] {
        assert_ne!(
            raw::exec(&container, &["touch", place]).code,
            0,
            "{what}: {place}"
        );
    }
    let capabilities = shell("grep -E '^Cap(Eff|Prm|Bnd)|^NoNewPrivs' /proc/self/status");
    for line in capabilities.lines() {
        let (field, value) = line.split_once(':').expect("a field");
        let nothing = if field == "NoNewPrivs" {
            "1"
        } else {
            "0000000000000000"
        };
        assert_eq!(value.trim(), nothing, "{what}: {line}");
    }
    shell("rm -rf made");
}

#[test]
fn a_worktree_finds_its_repository_and_whose_commits_these_are() {
    raw::engine();
    let git = |directory: &std::path::Path, words: &[&str]| {
        let ended = std::process::Command::new("git")
            .args(words)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git");
        assert!(ended.status.success(), "{words:?}: {ended:?}");
    };
    let repository = tempfile::tempdir().expect("a directory");
    let main = repository.path().canonicalize().expect("a path").join("main");
    std::fs::create_dir(&main).expect("a directory");
    git(&main, &["init", "-q"]);
    let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
    git(
        &main,
        &[&identity[..], &["commit", "-q", "--allow-empty", "-m", "first"]].concat(),
    );
    git(&main, &["config", "user.email", "local@example.org"]);

    let mut project = Project::on(BASE.to_owned());
    let tree = project.path();
    git(
        &main,
        &["worktree", "add", "-q", "--detach", &tree.display().to_string()],
    );
    let home = repository.path().join("home");
    std::fs::create_dir(&home).expect("a directory");
    std::fs::write(home.join(".gitconfig"), "[user]\n\tname = Some Body\n").expect("a file");
    project.variable("HOME", &home.display().to_string());
    project.variable("GIT_CONFIG_NOSYSTEM", "1");
    project.manifest("containers:\n  a: { network: none }\n");
    let run = project.converge();
    let widens = run.json["steps"].to_string();
    let common = main.join(".git").display().to_string();
    assert!(widens.contains(&format!("{common} of the host")), "{widens}");
    let env = project.plain(&[
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "ls -d $0 && env | grep ^GIT_ | sort",
        &common,
    ]);
    assert_eq!(
        env.stdout,
        format!(
            "{common}\nGIT_AUTHOR_EMAIL=local@example.org\nGIT_AUTHOR_NAME=Some Body\n\
             GIT_COMMITTER_EMAIL=local@example.org\nGIT_COMMITTER_NAME=Some Body\nGIT_CONFIG_COUNT=1\n\
             GIT_CONFIG_KEY_0=safe.directory\nGIT_CONFIG_VALUE_0={}\n",
            tree.display()
        ),
        "{env:#?}"
    );

    // Somebody inside names another repository, which knows nothing of the project.
    let other = repository.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    git(&other, &["init", "-q"]);
    project.write(".git", &format!("gitdir: {}\n", other.join(".git").display()));
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    assert!(!diff.stdout.contains(&other.display().to_string()), "{diff:#?}");
}
