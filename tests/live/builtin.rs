//! The foundation that ships with aishell, and harnesses on images that bring nothing to run them.

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{OWNER, Project, project, step, text, word};
use crate::raw;
use crate::support::BASE;

/// What the built-in foundation brings, and how each program says so.
const PROGRAMS: [&[&str]; 9] = [
    &["git", "--version"],
    &["curl", "--version"],
    &["rg", "--version"],
    &["jq", "--version"],
    &["less", "--version"],
    &["ps", "--version"],
    &["node", "--version"],
    &["npm", "--version"],
    &["tree", "--version"],
];

#[test]
fn the_built_in_foundation_brings_what_agents_reach_for() {
    raw::engine();
    let project = Project::on(raw::tiny());
    project.give_to(OWNER);
    let write = |packages: &str| {
        project.manifest_on(
            &format!("{{ builtin: {{ packages: [{packages}] }} }}"),
            "certificates: host\ncontainers: { shell: { command: [sleep, infinity] } }\n",
        );
    };
    write("tree");
    project.converge();
    let shell = project.object("shell");
    assert_eq!(raw::said(&shell, &["sh", "-c", "id -u; id -g; pwd"]), {
        let (uid, gid) = OWNER;
        format!("{uid}\n{gid}\n{}", project.path().display())
    });
    for program in PROGRAMS {
        let login = ["bash", "-lc", &program.join(" ")];
        for command in [program, &login] {
            assert!(!raw::said(&shell, command).is_empty(), "{command:?}");
        }
    }
    assert_ne!(raw::exec(&shell, &["sh", "-c", "command -v sudo"]).code, 0);
    let before = project.container("shell");

    // What the order of packages is, and who is named twice, makes no other image.
    write("tree, tree");
    assert_eq!(project.diff().code, Some(0));

    write("tree, no-such-package-at-all");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(
        &run.json,
        "image",
        &format!("aishell-{}:foundation-", project.name),
    )["error"];
    assert!(
        error["log"]
            .to_string()
            .contains("E: Unable to locate package no-such-package-at-all"),
        "{error:#}"
    );
    raw::same(&project.container("shell"), &before);
}

/// A version of the harness that is small, and one for which Debian's own Node.js would be too old.
const CLAUDE: &str = "2.1.112";

fn receipt(project: &Project, container: &str) -> Value {
    let text = raw::said(
        &project.object(container),
        &["cat", "/tools/.aishell/receipt.json"],
    );
    serde_json::from_str(&text).expect("a receipt")
}

/// Returns the digest over everything in the harness volume as it is now.
fn digest(project: &Project, container: &str) -> String {
    let all = "cd /tools && find m -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -c1-64";
    raw::said(&project.object(container), &["sh", "-c", all])
}

#[test]
fn a_harness_runs_on_an_image_that_brings_nothing_to_run_it() {
    raw::engine();
    let project = Project::on(BASE.to_owned());
    project.give_to(OWNER);
    // The second harness makes the set this test's alone.
    let marker = format!("m{}", word());
    let write = |runtime: &str| {
        project.manifest(&format!(
            "certificates: host\nharnesses:\n  claude: {CLAUDE}\n  {marker}: {{ npm: cowsay, version: 1.6.0, bin: \
             [cowsay], runtime: {runtime} }}\ncontainers: {{ claude: {{ harness: claude }} }}\n"
        ));
    };
    write("node");
    let diff = project.diff();
    let detail = text(&step(&diff.json, "volume", "aishell-harness-")["detail"]);
    assert!(
        detail.contains(", node 24.") && detail.contains("on the built-in foundation if this one has no npm"),
        "{detail}"
    );
    project.converge();
    let container = project.object("claude");
    for shell in [&["sh", "-c"][..], &["bash", "-lc"], &["env", "-i", "bash", "-lc"]] {
        let run = |program: &str| raw::said(&container, &[shell, &[program]].concat());
        assert!(run("claude --version").contains(CLAUDE));
        assert!(run("cowsay moo").contains("moo"));
        assert_eq!(run("command -v node"), "/tools/bin/node");
    }
    let receipt = receipt(&project, "claude");
    let integrity = receipt["members"][0]["integrity"].as_str().expect("npm says it");
    assert!(integrity.starts_with("sha512-"), "{receipt:#}");
    assert_eq!(receipt["digest"], digest(&project, "claude"));
    // What installed is not what runs: the sandbox is as small as its image.
    assert_ne!(raw::exec(&container, &["sh", "-c", "command -v npm"]).code, 0);
    let builtin = format!("aishell-{}:builtin-", project.name);
    let built = |image: &Value| image["RepoTags"].to_string().contains(&builtin);
    assert_eq!(
        raw::images(&project.label())
            .iter()
            .filter(|image| built(image))
            .count(),
        1
    );

    // One that needs the runtime is enough for the set to have it.
    write("image");
    assert_eq!(project.diff().code, Some(0));
}

#[test]
fn the_smallest_manifest_works() {
    raw::engine();
    let project = Project::on(raw::tiny());
    project.give_to(OWNER);
    // A name of its own makes the set this test's alone.
    let marker = format!("m{}", word());
    let manifest = |harness: &str| {
        project.write(
            "aishell.yaml",
            &format!(
                "apiVersion: aishell/v1\nname: {}\ncertificates: host\nharnesses: {{ {marker}: {harness} }}\ncontainers: {{ \
                 cow: {{ harness: {marker} }} }}\n",
                project.name
            ),
        );
    };
    manifest("{ npm: cowsay, version: 1.6.0, bin: [cowsay, cowthink] }");
    project.converge();
    let container = project.object("cow");
    let said = |command: &[&str]| raw::said(&container, command);
    assert!(said(&["bash", "-lc", "cowthink moo"]).contains("moo"));
    assert_eq!(
        said(&["sh", "-c", "command -v node; id -u"]),
        "/tools/bin/node\n4242"
    );

    // With the runtime of the image nothing else is in the set.
    manifest("{ npm: cowsay, version: 1.6.0, bin: [cowsay, cowthink], runtime: image }");
    project.converge();
    assert_eq!(
        receipt(&project, "cow")["members"]
            .as_array()
            .expect("members")
            .len(),
        1
    );
    let said = raw::said(
        &project.object("cow"),
        &["bash", "-lc", "cowsay moo; command -v node"],
    );
    assert!(
        said.contains("moo") && said.ends_with("/usr/local/bin/node"),
        "{said}"
    );
}

#[test]
fn a_program_that_never_says_its_version_fails_the_set_in_the_end() {
    let project = project();
    let version = version();
    let manifest = |package: &str| {
        format!(
            "harnesses:\n  tool: {{ npm: {package}, version: {version}, bin: [{package}], runtime: image }}\n\
             containers: {{ a: {{ harness: tool }} }}\n"
        )
    };
    project.manifest(&manifest("stubborn"));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "volume", "aishell-harness-")["error"];
    assert!(
        error["log"]
            .to_string()
            .contains("stubborn --version: no answer within 60 s"),
        "{error:#}"
    );
    project.manifest(&manifest("scribbler"));
    project.converge();
    assert_eq!(receipt(&project, "a")["files"], json!(3));
    assert_eq!(receipt(&project, "a")["digest"], digest(&project, "a"));
}

#[test]
fn what_an_image_has_in_the_place_of_the_set_does_not_get_into_it() {
    let project = project();
    project.write(
        "Dockerfile",
        &format!(
            "FROM {}\nRUN [\"sh\", \"-c\", \"mkdir /tools && echo stray > /tools/stray\"]\n",
            project.image
        ),
    );
    let version = version();
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        &format!(
            "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool] }}\ncontainers: {{ a: {{ harness: tool }} }}\n"
        ),
    );
    project.converge();
    let container = project.object("a");
    assert_eq!(raw::said(&container, &["tool"]), version);
    assert_eq!(raw::said(&container, &["ls", "/tools"]), "bin\nm");
}
