//! What gives a stage another key is what the engine's own builder would build anew for: one table, asked of both.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::project::{Project, project, text};
use crate::raw;

/// Writes what is built.
fn write(project: &Project) {
    let root = project.path().join("image");
    fs::create_dir_all(root.join("app/sub")).expect("directories");
    for (file, content) in [
        (".dockerignore", "**/*.log\n!app/keep.log\n"),
        ("app/code", "1"),
        ("app/tool", "1"),
        ("app/sub/deep", "1"),
        ("app/x.log", "1"),
        ("app/keep.log", "1"),
        ("beside", "1"),
    ] {
        fs::write(root.join(file), content).expect("a file");
    }
    symlink("code", root.join("app/link")).expect("a link");
    let (tiny, word) = (&project.image, &project.name);
    let dockerfile = format!(
        "FROM {tiny} AS first\nLABEL aishelltest={word}\nARG USED\nARG DECLARED\nCOPY app /app\nRUN echo {word} $USED >/said\n\
         FROM {tiny}\nLABEL aishelltest={word}\nCOPY --from=first /said /said\nCOPY --from=first /app /app\n"
    );
    fs::write(root.join("Dockerfile"), dockerfile).expect("a file");
}

fn args(used: &str, unknown: &str) -> Value {
    json!({ "USED": used, "UNKNOWN": unknown })
}

/// Returns what `docker build` makes of it.
fn theirs(project: &Project, args: &Value) -> String {
    let tag = format!("{}-theirs:1", project.name);
    let mut build = Command::new("docker");
    build.args(["build", "--quiet", "--tag", &tag]);
    for (name, value) in args.as_object().expect("arguments") {
        build.args(["--build-arg", &format!("{name}={}", text(value))]);
    }
    build.arg(project.path().join("image"));
    let ended = build
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .expect("the client of docker");
    assert!(ended.status.success(), "{ended:?}");
    text(&raw::get(&format!("/images/{tag}/json"))["Id"]).to_owned()
}

/// Returns the name that the image of the stage is to have, which ends with its key.
fn ours(project: &Project, args: &Value) -> String {
    project.manifest_on(
        &format!("{{ dockerfile: image/Dockerfile, args: {args} }}"),
        "containers:\n  a: { home: tmpfs, stop: { timeout: 1s } }\n",
    );
    let diff = project.diff();
    let steps = diff.json["steps"].as_array().into_iter().flatten();
    let mut names = steps.map(|step| text(&step["name"]).to_owned());
    names.find(|name| name.contains(":foundation-")).expect("a stage")
}

type Act = fn(&Path);

#[test]
fn a_key_changes_where_the_builder_of_the_engine_would_not_use_what_it_has() {
    let same = args("one", "one");
    let table: &[(&str, Value, Act)] = &[
        ("nothing", same.clone(), |_| {}),
        ("the content of a file", same.clone(), |root| {
            fs::write(root.join("app/code"), "2").expect("a file");
        }),
        ("the content of a file deep down", same.clone(), |root| {
            fs::write(root.join("app/sub/deep"), "2").expect("a file");
        }),
        ("the time of a file", same.clone(), |root| {
            fs::write(root.join("app/code"), "1").expect("a file");
        }),
        ("the mode of a file", same.clone(), |root| {
            fs::set_permissions(root.join("app/tool"), Permissions::from_mode(0o755)).expect("a mode");
        }),
        ("the mode of a directory", same.clone(), |root| {
            fs::set_permissions(root.join("app/sub"), Permissions::from_mode(0o700)).expect("a mode");
        }),
        ("where a link leads", same.clone(), |root| {
            fs::remove_file(root.join("app/link")).expect("a link");
            symlink("tool", root.join("app/link")).expect("a link");
        }),
        ("a file in the place of a link", same.clone(), |root| {
            fs::remove_file(root.join("app/link")).expect("a link");
            fs::write(root.join("app/link"), "1").expect("a file");
        }),
        ("an added file", same.clone(), |root| {
            fs::write(root.join("app/more"), "1").expect("a file");
        }),
        ("an added empty directory", same.clone(), |root| {
            fs::create_dir(root.join("app/empty")).expect("a directory");
        }),
        ("a removed file", same.clone(), |root| {
            fs::remove_file(root.join("app/tool")).expect("a file");
        }),
        ("another name of a file", same.clone(), |root| {
            fs::rename(root.join("app/tool"), root.join("app/device")).expect("a file");
        }),
        ("ignored files", same.clone(), |root| {
            fs::write(root.join("app/x.log"), "2").expect("a file");
            fs::write(root.join("app/sub/y.log"), "2").expect("a file");
        }),
        (
            "a file that is excepted from being ignored",
            same.clone(),
            |root| {
                fs::write(root.join("app/keep.log"), "2").expect("a file");
            },
        ),
        ("a pattern that ignores more", same.clone(), |root| {
            fs::write(root.join(".dockerignore"), "**/*.log\napp/tool\n").expect("a file");
        }),
        ("a file that nothing copies", same.clone(), |root| {
            fs::write(root.join("beside"), "2").expect("a file");
        }),
        ("an argument that is used", args("two", "one"), |_| {}),
        ("an argument that nothing declares", args("one", "two"), |_| {}),
        (
            "a proxy",
            json!({ "USED": "one", "UNKNOWN": "one", "HTTP_PROXY": "http://127.0.0.1:1" }),
            |_| {},
        ),
        ("an instruction", same.clone(), |root| {
            let dockerfile = fs::read_to_string(root.join("Dockerfile")).expect("a file");
            fs::write(root.join("Dockerfile"), format!("{dockerfile}USER 1\n")).expect("a file");
        }),
    ];
    let project = project();
    let mut wrong = Vec::new();
    for (what, args, act) in table {
        let root = project.path().join("image");
        let _ = fs::remove_dir_all(&root);
        write(&project);
        let before = (theirs(&project, &same), ours(&project, &same));
        act(&root);
        let after = (theirs(&project, args), ours(&project, args));
        let (their, our) = (before.0 != after.0, before.1 != after.1);
        if their != our {
            wrong.push(format!("{what}: the builder says {their}, the key {our}"));
        }
    }
    raw::delete(&format!("/images/{}-theirs:1", project.name));
    assert_eq!(wrong, Vec::<String>::new());
}
