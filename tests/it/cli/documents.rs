//! Documents are as their schemas say, whatever the world looks like.

use std::sync::Arc;

use aishell::apply::{Silent, Stop, apply};
use aishell::cli::json;
use aishell::cli::viewpoint::Viewpoint;
use aishell::engine::memory::{MemoryEngine, World};
use aishell::host::Host;
use aishell::manifest::load::parse;
use aishell::plan::{Consent, deletion};
use aishell::prepare::Prepared;
use aishell::reconcile::{Look, Subject, look, reconcile};
use aishell::report::Outcome;
use aishell::status::status;
use aishell::step::{Impact, ResourceKind};
use serde_json::{Value, json};

use super::command::{MANIFEST, aishell};
use super::schema::{schema, violations};

fn prepared(text: &str) -> (Prepared, tempfile::TempDir) {
    let host = Host::detect().expect("a host");
    let directory = tempfile::TempDir::new().expect("a directory");
    let loaded = parse(text, &directory.path().join("aishell.yaml"), &host).expect("a valid manifest");
    (
        Prepared::of(loaded, &host).expect("a manifest without problems"),
        directory,
    )
}

fn assert_described(document: &str, value: &impl serde::Serialize) -> Value {
    let value = serde_json::to_value(value).expect("JSON");
    assert_eq!(violations(&schema(document), &value), [""; 0], "{value:#}");
    value
}

#[tokio::test]
async fn plans_reports_and_states_are_described() {
    let (prepared, directory) = prepared(MANIFEST);
    let viewpoint = Viewpoint::of(directory.path());
    let engine = MemoryEngine::new(World::new().with_image("debian:bookworm-slim"));
    let subject = Subject {
        intent: &prepared,
        consent: Consent::default(),
    };

    let Look {
        desired,
        observed,
        plan,
    } = look(&engine, &subject).await.expect("an engine");
    let document = assert_described("plan", &json::Plan::of(&plan, viewpoint));
    let create = document["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["kind"] == "container")
        .expect("a container is created");
    assert_eq!(create["action"], "create");
    assert_eq!(create["spec"]["resources"]["memory"], json!(2_147_483_648_u64));
    assert_eq!(create["because"][0]["cause"], "missing");
    assert_eq!(create["because"][0]["at"]["file"], "aishell.yaml");
    assert_described("status", &json::Status::of(&status(&desired, &observed, &plan)));

    let report = reconcile(&engine, &subject, &Arc::new(Silent), &Stop::never())
        .await
        .expect("an engine");
    let document = assert_described("report", &json::Report::of(&report, viewpoint));
    assert_eq!(document["converged"], true, "{document:#}");

    let Look {
        desired,
        observed,
        plan,
    } = look(&engine, &subject).await.expect("an engine");
    assert_described("plan", &json::Plan::of(&plan, viewpoint));
    let document = assert_described("status", &json::Status::of(&status(&desired, &observed, &plan)));
    let api = document["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .find(|resource| resource["kind"] == "container")
        .expect("a container");
    assert_eq!(
        (&api["state"], &api["exitCode"], &api["ready"]),
        (&json!("running"), &Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn what_is_in_the_way_and_not_known_yet_is_described() {
    let (prepared, directory) = prepared(MANIFEST);
    let name = prepared.facts.owner.object("api");
    let world = World::new()
        .with_published("debian:bookworm-slim")
        .stranger_container(&name);
    let subject = Subject {
        intent: &prepared,
        consent: Consent::default(),
    };
    let engine = MemoryEngine::new(world);
    let plan = look(&engine, &subject).await.expect("an engine").plan;
    let document = assert_described("plan", &json::Plan::of(&plan, Viewpoint::of(directory.path())));
    assert_eq!(document["blocked"][0]["reason"], "foreign", "{document:#}");
    assert!(!plan.unknown.is_empty(), "{document:#}");
}

#[test]
fn what_the_program_answers_is_described() {
    for (arguments, document) in [("validate -o json", "validation"), ("diff -o json", "error")] {
        let ran = aishell(arguments).manifest().run();
        let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(violations(&schema(document), &value), [""; 0], "{value:#}");
    }
}

#[test]
fn a_list_and_an_event_are_described() {
    let list = json!({
        "apiVersion": "aishell/v1", "kind": "ContainerList",
        "engine": { "host": "unix:///d", "version": "28", "apiVersion": "1.51" },
        "items": [{
            "name": "api", "engineName": "aishell-1-api", "manifest": "demo", "project": "/p", "createdAt": null,
            "state": "exited", "exitCode": 1, "health": null, "ready": false, "image": "i", "harness": null,
            "hold": { "by": "me@box", "since": "2026-01-01T00:00:00Z" }, "sessions": null, "startedAt": null,
        }],
    });
    assert_eq!(violations(&schema("list"), &list), [""; 0]);
}

#[tokio::test]
async fn a_deletion_leaves_data_and_what_others_may_use() {
    let (prepared, _directory) = prepared(MANIFEST);
    let engine = MemoryEngine::new(World::new().with_image("debian:bookworm-slim"));
    let subject = Subject {
        intent: &prepared,
        consent: Consent::default(),
    };
    let stop = Stop::never();
    reconcile(&engine, &subject, &Arc::new(Silent), &stop)
        .await
        .expect("an engine");

    let observed = look(&engine, &subject).await.expect("an engine").observed;
    let kinds = |data_loss| -> Vec<(ResourceKind, Impact)> {
        let consent = Consent {
            data_loss,
            ..Consent::default()
        };
        deletion(&observed, &prepared.facts.owner, &prepared.info, &consent)
            .steps
            .iter()
            .map(|step| (step.resource.kind, step.impact))
            .collect()
    };
    let kept = [
        (ResourceKind::Container, Impact::Recreate),
        (ResourceKind::Network, Impact::None),
    ];
    assert_eq!(kinds(false), kept);
    assert_eq!(
        kinds(true),
        [kept.as_slice(), &[(ResourceKind::Volume, Impact::DataLoss)]].concat()
    );

    let plan = deletion(
        &observed,
        &prepared.facts.owner,
        &prepared.info,
        &Consent::default(),
    );
    let outcomes = apply(&plan, &engine, &Arc::new(Silent), &stop).await;
    assert!(
        outcomes.iter().all(|done| done.outcome == Outcome::Done),
        "{outcomes:#?}"
    );
    let left = look(&engine, &subject).await.expect("an engine").observed;
    assert_eq!(
        (left.containers.len(), left.networks.len(), left.volumes.len()),
        (0, 0, 1)
    );
    assert_eq!(left.images.len(), observed.images.len());
}
