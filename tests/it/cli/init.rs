//! `init` writes a manifest that is valid, and nothing over what is there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::schema::{schema, violations};

/// Runs the program in a directory.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aishell"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("LANG", "C.UTF-8")
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .expect("the program")
}

fn project() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let project = directory.path().join("My Project");
    fs::create_dir(&project).expect("a directory");
    (directory, project)
}

fn says(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_starter_is_valid_and_its_schema_lies_beside_it() {
    let (_kept, project) = project();
    let (code, said) = says(&run(&project, &["init"]));
    assert_eq!(code, Some(0), "{said}");
    insta::assert_snapshot!(said, @r"
    wrote .aishell/manifest.yaml; next:
      aishell validate
      aishell diff
      aishell apply
    ");
    let text = fs::read_to_string(project.join(".aishell/manifest.yaml")).expect("text");
    assert!(text.starts_with("# yaml-language-server: $schema=manifest.schema.json\n"));
    assert!(text.contains("\nname: my-project\n"), "{text}");
    let written: Value =
        serde_json::from_slice(&fs::read(project.join(".aishell/manifest.schema.json")).expect("bytes"))
            .expect("JSON");
    assert_eq!(written, schema("manifest"));
    let (code, said) = says(&run(&project, &["validate"]));
    assert_eq!(code, Some(0), "{said}");
    // What is commented out is valid, too, one alternative at a time.
    let uncommented = [
        "foundation: { image",
        "proxy:",
        "defaults:",
        "  resources: { cpus",
        "env:",
        "ports:",
        "resources: { memory: 8",
    ]
    .into_iter()
    .fold(text, |text, line| {
        assert!(text.contains(&format!("# {line}")), "{line}");
        text.replacen(&format!("# {line}"), line, 1)
    });
    fs::write(project.join(".aishell/manifest.yaml"), &uncommented).expect("a file");
    let (code, said) = says(&run(&project, &["validate"]));
    assert_eq!(code, Some(0), "{said}\n{uncommented}");
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let (_kept, project) = project();
    fs::write(project.join("aishell.yaml"), "mine").expect("a file");
    for arguments in [&["init"][..], &["init", "--force"]] {
        let (code, said) = says(&run(&project, arguments));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("aishell.yaml is there already"), "{said}");
    }
    assert!(!project.join(".aishell").exists());
    fs::remove_file(project.join("aishell.yaml")).expect("gone");
    assert_eq!(says(&run(&project, &["init"])).0, Some(0));
    let manifest = project.join(".aishell/manifest.yaml");
    fs::write(&manifest, "mine").expect("a file");
    let (code, said) = says(&run(&project, &["init"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(&manifest).expect("text"), "mine");
    assert_eq!(says(&run(&project, &["init", "--force"])).0, Some(0));
    assert_ne!(fs::read_to_string(&manifest).expect("text"), "mine");
}

#[test]
fn links_are_not_followed() {
    let (kept, project) = project();
    let outside = kept.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    symlink(&outside, project.join(".aishell")).expect("a link");
    let (code, said) = says(&run(&project, &["init"]));
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
    fs::remove_file(project.join(".aishell")).expect("gone");
    fs::create_dir(project.join(".aishell")).expect("a directory");
    fs::write(outside.join("file"), "theirs").expect("a file");
    symlink(outside.join("file"), project.join(".aishell/manifest.yaml")).expect("a link");
    assert_eq!(says(&run(&project, &["init", "--force"])).0, Some(0));
    assert_eq!(fs::read_to_string(outside.join("file")).expect("text"), "theirs");
}

#[test]
fn it_lies_in_the_root_of_the_repository_and_answers_in_json() {
    let (_kept, project) = project();
    fs::create_dir_all(project.join("a/b")).expect("a directory");
    fs::create_dir(project.join(".git")).expect("a directory");
    let output = run(&project.join("a/b"), &["init", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(violations(&schema("starter"), &document), [""; 0]);
    assert_eq!(document["name"], "my-project");
    assert!(project.join(".aishell/manifest.yaml").is_file());
}
