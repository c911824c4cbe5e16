//! Engines that are out of reach.

use serde_json::Value;

use super::command::aishell;

#[test]
fn an_engine_out_of_reach_is_said_to_be_so_with_what_helps() {
    insta::assert_snapshot!(aishell("diff").manifest().complains(4), @r"
    error: the engine at unix:///nonexistent/docker.sock cannot be reached: No such file or directory (os error 2)
    hint: start the engine (`sudo systemctl start docker`, or open Docker Desktop), or say where it is with --host, --context or DOCKER_HOST
    ");
}

#[test]
fn every_command_that_needs_an_engine_ends_with_4() {
    for command in [
        "diff",
        "apply",
        "apply --dry-run",
        "status",
        "ps",
        "ps --all-projects",
        "delete --yes",
    ] {
        let text = aishell(command).manifest().complains(4);
        assert!(
            text.starts_with("error: the engine at unix:///nonexistent/docker.sock"),
            "{command}: {text}"
        );
    }
}

#[test]
fn options_say_which_engine_is_meant() {
    let text = aishell("diff --host unix:///elsewhere.sock")
        .manifest()
        .complains(4);
    assert!(text.contains("unix:///elsewhere.sock"), "{text}");
    insta::assert_snapshot!(aishell("diff --context nowhere").manifest().complains(4), @r"
    error: there is no Docker context `nowhere` ([HOME]/.docker/contexts/meta/20aeff0494e828d188c704e1f488a589b15ae01d11f6cb129f62129caa6cc543/meta.json is missing)
    hint: `docker context ls` lists the contexts there are
    ");
}

#[test]
fn an_address_that_makes_no_sense_says_how_one_is_written() {
    insta::assert_snapshot!(aishell("diff --host /run/docker.sock").manifest().complains(4), @r"
    error: `/run/docker.sock` is not the address of an engine: it has no scheme; a socket is written `unix:///path/to/docker.sock`
    hint: write it like unix:///var/run/docker.sock or tcp://127.0.0.1:2375
    ");
}

#[test]
fn a_failure_is_a_document_too() {
    let ran = aishell("diff -o json").manifest().run();
    assert_eq!(ran.code, Some(4));
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&document["kind"], &document["code"]),
        (&"Error".into(), &4.into())
    );
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(1));
}
