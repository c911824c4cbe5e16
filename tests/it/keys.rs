//! What gives a stage another key: whatever `docker build` would build anew for, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use aishell::desired::Desired;
use aishell::host::Host;
use aishell::manifest::load::parse;
use aishell::observed::Observed;
use aishell::prepare::Prepared;
use aishell::reconcile::Intent as _;

const DOCKERFILE: &str = "FROM debian\nARG USED\nCOPY app /app\nRUN echo $USED\n";
const EXTENSION: &str = "FROM aishell:foundation\nRUN true\n";

fn write(root: &Path) {
    fs::create_dir_all(root.join("image/app")).expect("a directory");
    for (file, text) in [
        ("image/Dockerfile", DOCKERFILE),
        ("image/.dockerignore", "**/*.log\n"),
        ("image/app/code", "1"),
        ("image/app/tool", "1"),
        ("image/app/x.log", "1"),
        ("image/beside", "1"),
        ("Dockerfile", EXTENSION),
    ] {
        fs::write(root.join(file), text).expect("a file");
    }
    symlink("code", root.join("image/app/link")).expect("a link");
}

fn desired(root: &Path, args: &str) -> Desired {
    let host = Host::detect().expect("a host");
    let text = format!(
        "apiVersion: aishell/v1\nname: demo\nfoundation: {{ dockerfile: image/Dockerfile, args: {args} }}\n\
         extension: {{ dockerfile: Dockerfile }}\ncontainers: {{ a: {{}} }}\n",
    );
    let loaded = parse(&text, &root.join("aishell.yaml"), &host).expect("a manifest");
    let prepared = Prepared::of(loaded, &host).expect("a manifest without problems");
    prepared.resolve(&Observed::default())
}

/// Returns the keys of the foundation, and of the extension that is made on it.
fn keys(root: &Path, args: &str) -> [String; 2] {
    let desired = desired(root, args);
    ["foundation", "extension"].map(|stage| {
        let key = desired.stages[stage].key.known().expect("a key");
        key.as_str().to_owned()
    })
}

#[test]
fn an_argument_that_no_instruction_knows_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    write(root);
    let args = "{ USED: one, UNUSED: one, http_proxy: x, BUILDKIT_INLINE_CACHE: \"1\" }";
    let notes = desired(root, args).notes;
    let said = "foundation (image/Dockerfile): argument UNUSED: no ARG of the file declares it";
    let about = notes.iter().filter(|note| note.contains("argument"));
    assert_eq!(about.collect::<Vec<_>>(), [said]);
}

#[test]
fn a_key_changes_with_what_an_image_is_made_of() {
    type Act = fn(&Path);
    let same = "{ USED: one, UNUSED: one }";
    let table: &[(&str, bool, &str, Act)] = &[
        ("nothing", false, same, |_| {}),
        ("the content of a file", true, same, |root| {
            fs::write(root.join("image/app/code"), "2").expect("a file");
        }),
        ("the time of a file", false, same, |root| {
            fs::write(root.join("image/app/code"), "1").expect("a file");
        }),
        ("the mode of a file", true, same, |root| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(root.join("image/app/tool"), mode).expect("a mode");
        }),
        ("the target of a link", true, same, |root| {
            fs::remove_file(root.join("image/app/link")).expect("a link");
            symlink("tool", root.join("image/app/link")).expect("a link");
        }),
        ("an added file", true, same, |root| {
            fs::write(root.join("image/app/more"), "1").expect("a file");
        }),
        ("an added directory", true, same, |root| {
            fs::create_dir(root.join("image/app/empty")).expect("a directory");
        }),
        ("a removed file", true, same, |root| {
            fs::remove_file(root.join("image/app/tool")).expect("a file");
        }),
        ("an ignored file", false, same, |root| {
            fs::write(root.join("image/app/x.log"), "2").expect("a file");
            fs::write(root.join("image/app/y.log"), "2").expect("a file");
        }),
        ("a file that is never copied", false, same, |root| {
            fs::write(root.join("image/beside"), "2").expect("a file");
        }),
        ("a pattern that leaves out more", true, same, |root| {
            fs::write(root.join("image/.dockerignore"), "**/*.log\n**/tool\n").expect("a file");
        }),
        ("the Dockerfile", true, same, |root| {
            fs::write(root.join("image/Dockerfile"), format!("{DOCKERFILE}USER 1\n")).expect("a file");
        }),
        ("an argument", true, "{ USED: two, UNUSED: one }", |_| {}),
        (
            "an argument that no ARG declares",
            false,
            "{ USED: one, UNUSED: two }",
            |_| {},
        ),
        (
            "a proxy",
            false,
            "{ USED: one, HTTP_PROXY: \"http://p\" }",
            |_| {},
        ),
    ];
    for (what, changes, args, act) in table {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        write(root);
        let before = keys(root, same);
        act(root);
        let after = keys(root, args);
        assert_eq!(before[0] != after[0], *changes, "{what}");
        // What is made on it is made of it.
        assert_eq!(before[1] != after[1], *changes, "{what}, for the extension");
    }
}
