//! Manifests that are fine, wrong, or not there.

use serde_json::Value;

use super::command::{MANIFEST, aishell, aishell_without_privileges};

const WRONG: &str = "\
apiVersion: aishell/v1
foundation: { image: 'debian:bookworm-slim' }
contaners: {}
containers:
  api:
    resources: { memory: 4q }
    environment: { MODE: safe }
";

#[test]
fn a_valid_manifest_is_said_to_be_so() {
    insta::assert_snapshot!(aishell("validate").manifest().answers(0), @r"
    aishell.yaml is valid: 1 container, 0 harnesses
    ");
}

#[test]
fn every_manifest_that_comes_along_is_valid() {
    let examples = ["kinds", "quickstart"];
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut found: Vec<String> = std::fs::read_dir(&directory)
        .expect("manifests")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        // What is no manifest, and what `init` writes.
        .filter(|name| !["harnesses", "starter"].contains(&name.as_str()))
        .collect();
    found.sort();
    assert_eq!(found, examples);
    for name in examples {
        let text = std::fs::read_to_string(directory.join(format!("{name}.yaml"))).expect("text");
        let said = aishell("validate").file("aishell.yaml", &text).answers(0);
        assert!(said.starts_with("aishell.yaml is valid: "), "{name}: {said}");
    }
    let kinds = aishell("validate").file(
        "aishell.yaml",
        &std::fs::read_to_string(directory.join("kinds.yaml")).expect("text"),
    );
    assert_eq!(
        kinds.answers(0),
        "aishell.yaml is valid: 1 container, 4 harnesses\n"
    );
}

#[test]
fn what_cannot_be_read_of_a_context_is_said_with_the_line_that_wants_it() {
    let with = |foundation: &str, locked: &str| {
        let manifest = format!(
            "apiVersion: aishell/v1\nname: demo\nfoundation: {foundation}\ncontainers: {{ a: {{}} }}\n"
        );
        aishell_without_privileges("validate")
            .file("aishell.yaml", &manifest)
            .file("image/Dockerfile", "FROM scratch\nCOPY . /\n")
            .file("image/below/secret", "x")
            .locked(locked)
    };
    let dockerfile = "{ dockerfile: image/Dockerfile }";
    let files = "{ phases: { base: { image: a }, files: [{ source: image, target: /x }] } }";
    for (foundation, locked, place) in [
        (dockerfile, "image/below/secret", "3:27"),
        (dockerfile, "image/Dockerfile", "3:27"),
        (dockerfile, "image/below", "3:27"),
        (files, "image/below/secret", "3:63"),
    ] {
        let said = with(foundation, locked).complains(3);
        let expected = format!("error: [DIRECTORY]/{locked} cannot be used: Permission denied");
        assert!(said.starts_with(&expected), "{said}");
        assert!(said.contains(&format!("--> aishell.yaml:{place}")), "{said}");
    }
    // What is left out is nobody's trouble.
    let ignored = with(dockerfile, "image/below").file("image/.dockerignore", "below\n");
    ignored.answers(0);
}

#[test]
fn quiet_says_nothing_about_a_valid_manifest() {
    assert_eq!(aishell("validate -q").manifest().answers(0), "");
}

#[test]
fn a_manifest_can_come_from_standard_input() {
    let text = aishell("validate -").input(MANIFEST).answers(0);
    assert_eq!(text, "- is valid: 1 container, 0 harnesses\n");
}

#[test]
fn every_problem_is_shown_with_its_line_and_what_would_help() {
    insta::assert_snapshot!(aishell("validate").file("aishell.yaml", WRONG).complains(3), @r"
    error: unknown key `contaners`
     --> aishell.yaml:3:1
      |
    3 | contaners: {}
      | ^^^^^^^^^
      |
      = hint: did you mean `containers`?

    error: `4q` is not a size; write a number with a unit, as in 512MiB or 4GiB
     --> aishell.yaml:6:18
      |
    6 |     resources: { memory: 4q }
      |                  ^^^^^^

    error: unknown key `environment` in `api`
     --> aishell.yaml:7:5
      |
    7 |     environment: { MODE: safe }
      |     ^^^^^^^^^^^
      |
      = hint: it is called `env` here

    3 problems
    ");
}

#[test]
fn commands_that_need_an_engine_complain_about_the_manifest_first() {
    for command in ["diff", "apply", "status", "ps", "delete --yes"] {
        let text = aishell(command).file("aishell.yaml", WRONG).complains(3);
        assert!(text.ends_with("3 problems\n"), "{command}: {text}");
    }
}

#[test]
fn problems_are_a_document_too() {
    let ran = aishell("validate -o json").file("aishell.yaml", WRONG).run();
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.ends_with("3 problems\n"), "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&document["kind"], &document["valid"]),
        (&"Validation".into(), &false.into())
    );
    let lines: Vec<_> = document["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| problem["at"]["line"].as_u64())
        .collect();
    assert_eq!(lines, [Some(3), Some(6), Some(7)]);
    assert_eq!(document["problems"][0]["at"]["file"], "aishell.yaml");
}

#[test]
fn a_missing_manifest_is_said_where_it_was_looked_for() {
    insta::assert_snapshot!(aishell("diff").complains(3), @r"
    error: no manifest found in [DIRECTORY] or above it
    hint: create `.aishell/manifest.yaml`, change to a directory that has one, or name it with --file
    ");
}

#[test]
fn two_manifests_are_never_chosen_from() {
    let ran = aishell("diff")
        .manifest()
        .file(".aishell/manifest.yaml", MANIFEST);
    insta::assert_snapshot!(ran.complains(3), @r"
    error: [DIRECTORY] has more than one manifest: [DIRECTORY]/.aishell/manifest.yaml, [DIRECTORY]/aishell.yaml
    hint: keep one of them, or say which is meant with --file
    ");
}

#[test]
fn a_manifest_that_cannot_be_read_says_why() {
    insta::assert_snapshot!(aishell("diff -f none.yaml").complains(3), @r"
    error: [DIRECTORY]/none.yaml cannot be read: No such file or directory (os error 2)
    hint: check its path
    ");
    insta::assert_snapshot!(aishell("diff .").complains(3), @r"
    error: [DIRECTORY]/. is a directory, not a file
    hint: name the manifest itself, or `-` to read standard input
    ");
}

#[test]
fn what_is_no_yaml_is_said_to_be_so() {
    for text in ["", "\t- a\n", "a: b: c\n", "- 1\n", "a: &a [*a]\n", "\u{0}"] {
        let said = aishell("validate").file("aishell.yaml", text).complains(3);
        assert!(said.starts_with("error: "), "{text:?}: {said}");
    }
}

#[test]
fn whoever_is_still_there_was_nobody_earlier() {
    let copy = "apiVersion: aishell/v1\nname: demo\nformerly: [{ project: ../project/original }]\ncontainers: { a: {} }\n";
    let original = "apiVersion: aishell/v1\nname: demo\ncontainers: { a: {} }\n";
    for command in ["validate", "apply", "delete --yes --allow data-loss"] {
        let text = aishell(command)
            .file("aishell.yaml", copy)
            .file("original/aishell.yaml", original)
            .complains(3);
        assert!(
            text.contains("manifest `demo` of [DIRECTORY]/original is still there"),
            "{text}"
        );
        assert!(text.contains("--> aishell.yaml:3:"), "{text}");
    }
    // A project of another name came after it, or something that is no manifest.
    for other in [original.replace("demo", "other").as_str(), "name: [", ""] {
        aishell("validate")
            .file("aishell.yaml", copy)
            .file("original/aishell.yaml", other)
            .answers(0);
    }
    // A manifest that is called otherwise now is not another one.
    let renamed = "apiVersion: aishell/v1\nname: shop\nformerly: [{ name: demo }]\ncontainers: { a: {} }\n";
    aishell("validate").file("aishell.yaml", renamed).answers(0);
}
