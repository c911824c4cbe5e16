//! Registries that ask who one is, and those that have not what is asked for.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::project::{Project, Run, project};
use crate::raw;
use crate::registry::{PASSWORD, Registry, USER};

/// Writes the configuration of the docker client, and a credential helper that says what a script says.
fn configure(project: &mut Project, configuration: &Value, script: &str) {
    let directory = project.path().join("docker");
    let _ = std::fs::create_dir(&directory);
    project.write("docker/config.json", &configuration.to_string());
    project.write("docker/docker-credential-ours", &format!("#!/bin/sh\n{script}\n"));
    let helper = directory.join("docker-credential-ours");
    std::fs::set_permissions(helper, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    project.variable("DOCKER_CONFIG", &directory.display().to_string());
    let path = std::env::var("PATH").unwrap_or_default();
    project.variable("PATH", &format!("{}:{path}", directory.display()));
}

fn login(registry: &Registry, password: &str) -> Value {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
    json!({ "auths": { registry.reference("").trim_end_matches('/'): { "auth": auth } } })
}

fn helped(registry: &Registry, helper: &str) -> Value {
    json!({ "credHelpers": { registry.reference("").trim_end_matches('/'): helper } })
}

fn on(project: &Project, image: &str) {
    project.manifest_on(
        &format!("{{ image: \"{image}\" }}"),
        "containers:\n  a: { command: [sleep, \"1000\"], home: tmpfs, stop: { timeout: 1s } }\n",
    );
}

/// Insists that an apply failed, said why and what helps, and made nothing.
fn failed(project: &Project, run: &Run, said: &str, hint: &str) {
    assert_eq!(run.code, Some(5), "{said}: {run:#?}");
    assert!(
        run.stdout.contains(said) && run.stdout.contains(hint),
        "{said}, {hint}: {run:#?}"
    );
    assert!(!run.stdout.contains(PASSWORD), "{run:#?}");
    project.only(&[]);
}

#[test]
fn a_registry_that_asks_who_one_is_is_told_what_the_docker_configuration_says() {
    let registry = Registry::guarded();
    let image = registry.publish("base:1", "one");
    let mut project = project();
    on(&project, &image);
    let answer = |password: &str| format!("echo '{{\"Username\":\"{USER}\",\"Secret\":\"{password}\"}}'");
    for (configuration, script, said, hint) in [
        (
            json!({}),
            String::new(),
            "no basic auth credentials",
            "docker login",
        ),
        (
            login(&registry, "wrong"),
            String::new(),
            "unauthorized",
            "docker login",
        ),
        (
            helped(&registry, "absent"),
            String::new(),
            "docker-credential-absent",
            "",
        ),
        (
            helped(&registry, "ours"),
            "echo the keys are elsewhere; exit 1".to_owned(),
            "the keys are elsewhere",
            "",
        ),
        (
            helped(&registry, "ours"),
            "echo credentials not found in native keychain; exit 1".to_owned(),
            "no basic auth credentials",
            "docker login",
        ),
        (
            helped(&registry, "ours"),
            answer("wrong"),
            "unauthorized",
            "docker login",
        ),
        (
            helped(&registry, "ours"),
            "echo nonsense".to_owned(),
            "makes no sense",
            "",
        ),
    ] {
        configure(&mut project, &configuration, &script);
        let run = project.apply();
        failed(&project, &run, said, hint);
        let lock = std::fs::read_to_string(project.path().join("aishell.lock")).unwrap_or_default();
        assert!(!lock.contains("sha256:"), "{lock}");
    }
    configure(&mut project, &helped(&registry, "ours"), &answer(PASSWORD));
    project.converge();
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "echo $MARK"]),
        "one"
    );
    assert_eq!(project.run(&["update", "--check"]).code, Some(0));
    registry.publish("base:1", "two");
    project.converge();
    assert_eq!(project.run(&["update", "--check"]).code, Some(1));
    configure(&mut project, &login(&registry, "wrong"), "");
    let wrong = project.run(&["update", "--check"]);
    assert_eq!(wrong.code, Some(5), "{wrong:#?}");
}

#[test]
fn a_build_may_start_from_an_image_of_a_registry_that_asks_who_one_is() {
    let registry = Registry::guarded();
    let image = registry.publish("base:1", "one");
    let mut project = project();
    project.write(
        "Dockerfile",
        &format!("FROM {image}\nRUN echo {} >/made\n", project.name),
    );
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        "containers:\n  a: { home: tmpfs, stop: { timeout: 1s } }\n",
    );
    configure(&mut project, &login(&registry, "wrong"), "");
    let run = project.apply();
    failed(&project, &run, "cannot be pulled", "docker login");
    assert!(
        run.stdout.contains("\"line\":1") || run.stdout.contains("\"line\": 1"),
        "{run:#?}"
    );
    configure(&mut project, &login(&registry, PASSWORD), "");
    project.converge();
}

#[test]
fn an_image_that_is_not_there_or_for_other_machines_is_told_apart() {
    let registry = Registry::start();
    registry.publish("base:1", "one");
    let other = registry.for_other_machines("base:1", "other");
    let project = project();
    for (image, said, hint) in [
        (
            registry.reference("base:none"),
            "manifest unknown",
            "check the name and the tag",
        ),
        (registry.reference("nothing:1"), "not found", ""),
        (other, "no matching manifest for", "for other platforms only"),
    ] {
        on(&project, &image);
        let run = project.apply();
        failed(&project, &run, said, hint);
    }
}
