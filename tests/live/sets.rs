//! Harness sets: what of them is made anew, and what is kept.

use crate::apply::version;
use crate::project::{Project, project, text};
use crate::raw;

/// Writes a manifest of harnesses with their versions, on whatever runtime the image has.
fn of(project: &Project, harnesses: &[(&str, &str)]) {
    let lines: Vec<String> = harnesses
        .iter()
        .map(|(name, version)| {
            format!("  {name}: {{ npm: {name}, version: {version}, bin: [{name}], runtime: image }}\n")
        })
        .collect();
    project.manifest(&format!(
        "harnesses:\n{}containers:\n  a: {{ harness: {}, stop: {{ timeout: 0 }} }}\n",
        lines.concat(),
        harnesses[0].0
    ));
}

/// Returns when a program of a harness was last written to: a copy says what its original says.
fn written(project: &Project, program: &str) -> String {
    let script = format!("stat -L -c %.9Y /tools/bin/{program}");
    raw::said(&project.object("a"), &["sh", "-c", &script])
}

/// Returns the volume of the harness set.
fn volume(project: &Project) -> String {
    let container = project.container("a");
    let mut mounts = container["Mounts"].as_array().into_iter().flatten();
    let tools = mounts.find(|mount| mount["Destination"] == "/tools");
    text(&tools.expect("a harness set")["Name"]).to_owned()
}

/// Removes what vouches for the set.
fn disown(project: &Project) {
    for container in raw::containers(&project.label()) {
        if container["Labels"]["aishell.kind"] == "receipt" {
            raw::delete(&format!("/containers/{}", text(&container["Id"])));
        }
    }
}

#[test]
fn members_that_did_not_change_are_copied_from_the_set_that_is_in_use() {
    let project = project();
    let [one, two] = [version(), version()];
    of(&project, &[("tool", &one), ("talker", &one), ("scribbler", &one)]);
    project.converge();
    let before: Vec<String> = ["tool", "talker"].map(|name| written(&project, name)).into();
    let old = volume(&project);

    of(&project, &[("tool", &two), ("talker", &one), ("scribbler", &one)]);
    project.converge();
    assert_ne!(volume(&project), old);
    assert_eq!(raw::said(&project.object("a"), &["tool"]), two);
    assert_eq!(raw::said(&project.object("a"), &["talker", "--version"]), one);
    assert_ne!(written(&project, "tool"), before[0]);
    assert_eq!(written(&project, "talker"), before[1]);
    project.settled();
}

#[test]
fn of_a_broken_set_only_the_broken_members_are_made_anew() {
    let project = project();
    let one = version();
    let names = ["tool", "kept", "other", "more"];
    of(&project, &names.map(|name| (name, one.as_str())));
    project.converge();
    let before = names.map(|name| written(&project, name));
    let volume = volume(&project);
    // Content, mode, and something that is gone; each without a trace in what the program says.
    let broken = [
        (
            "tool",
            "for file in /v/m/tool-*/bin/tool; do echo '# more' >>$file; done",
        ),
        ("other", "chmod 777 /v/m/other-*/bin/other"),
        ("more", "rm /v/m/more-*/.installed"),
    ];
    for (name, how) in broken {
        raw::beside(&volume, &project.name, &["sh", "-c", how]);
        disown(&project);
        let run = project.apply();
        assert_eq!(run.code, Some(0), "{name}: {run:#?}");
    }
    project.settled();
    for (name, before) in names.iter().zip(&before) {
        assert_eq!(raw::said(&project.object("a"), &[name]), one, "{name}");
        assert_eq!(&written(&project, name) == before, *name == "kept", "{name}");
    }
    let mode = raw::said(
        &project.object("a"),
        &["sh", "-c", "stat -L -c %a /tools/bin/other"],
    );
    assert_eq!(mode, "755");
}

/// Versions of everything in the catalogue that work together with this one.
const CATALOGUE: [(&str, &str); 6] = [
    ("claude", "2.1.330"),
    ("codex", "0.169.0"),
    ("gemini", "0.61.0"),
    ("opencode", "1.18.33"),
    ("openspec", "1.13.2"),
    ("pi", "0.87.1"),
];

#[test]
fn everything_in_the_catalogue_is_installed_and_runs() {
    let known: Vec<&str> = aishell::catalogue::entries()
        .keys()
        .map(aishell::name::HarnessName::as_str)
        .collect();
    assert_eq!(known, CATALOGUE.map(|(name, _)| name));
    let project = project();
    let lines = CATALOGUE.map(|(name, version)| format!("  {name}: {version}\n"));
    project.manifest_on(
        "{ builtin: {} }",
        &format!(
            "certificates: host\nharnesses:\n{}containers:\n  a: {{ harness: pi, stop: {{ timeout: 0 }} }}\n",
            lines.concat()
        ),
    );
    project.converge();
    let id = project.id("a");
    for (name, version) in CATALOGUE {
        for shell in [["bash", "-c"], ["bash", "-lc"], ["sh", "-c"], ["sh", "-lc"]] {
            let said = raw::said(&id, &[shell[0], shell[1], &format!("{name} --version")]);
            assert!(said.contains(version), "{shell:?} {name}: {said}");
        }
    }
    project.settled();
}
