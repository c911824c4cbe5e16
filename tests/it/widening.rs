//! What a sandbox would get that it had not: told to whoever types it, held back from anybody else.

use std::sync::Arc;

use aishell::engine::memory::MemoryEngine;
use aishell::plan::{Baseline, Consent, Widen};
use aishell::step::{BlockedReason, Plan};
use serde_json::{Value, json};

use crate::world::{
    LAN, SIDECAR, Wish, converged, looked, looked_with, passed_with, planned, steps, wish, world,
};

fn one(fields: Value) -> Wish {
    wish().container("api", fields)
}

fn applied(wish: &Wish) -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    converged(&engine, wish);
    engine.forget();
    engine
}

/// Returns the consent of somebody who goes away now.
fn so_far(engine: &MemoryEngine, wish: &Wish) -> Consent {
    Consent {
        widen: Widen::UpTo(Arc::new(Baseline::of(&looked(engine, wish).observed))),
        ..Consent::default()
    }
}

/// Returns what is held back because it widens, as `action name: detail`.
fn held(plan: &Plan) -> Vec<String> {
    let lines = plan.blocked.iter().map(|blocked| {
        assert_eq!(blocked.reason, BlockedReason::Widens);
        assert_eq!(blocked.unblock.as_deref(), Some("aishell apply"));
        format!(
            "{} {}: {}",
            blocked.action.as_str(),
            blocked.resource.name,
            blocked.detail
        )
    });
    lines.collect()
}

/// Returns what steps give, as `name: what`.
fn given(plan: &Plan) -> Vec<String> {
    let with = plan.steps.iter().filter(|step| !step.widens.is_empty());
    with.map(|step| format!("{}: {}", step.resource.name, step.widens.join(", ")))
        .collect()
}

#[test]
fn everything_that_widens_is_told_and_held_back() {
    let before = one(json!({}));
    let engine = applied(&before);
    for (fields, what) in [
        (
            json!({ "mounts": ["/usr/share:/x:ro"] }),
            "/usr/share of the host (read-only)",
        ),
        (json!({ "mounts": ["/usr/share:/x"] }), "/usr/share of the host"),
        (json!({ "ports": ["0.0.0.0:80:80"] }), "0.0.0.0:80 to port 80/tcp"),
        (json!({ "network": [LAN] }), "network lan"),
        (json!({ "user": "0:0" }), "user 0:0"),
        (json!({ "user": "image" }), "the user of its image"),
        (json!({ "groups": ["docker"] }), "group docker"),
        (json!({ "runtime": "odd" }), "runtime odd"),
        (
            json!({ "security": { "capAdd": ["NET_ADMIN"] } }),
            "capability NET_ADMIN",
        ),
        (
            json!({ "security": { "noNewPrivileges": false } }),
            "new privileges",
        ),
        (json!({ "security": { "readOnly": false } }), "a writable root"),
        (
            json!({ "security": { "privileged": true } }),
            "every privilege of the host",
        ),
        (
            json!({ "security": { "seccomp": "unconfined" } }),
            "any system call",
        ),
        (
            json!({ "security": { "devices": ["/dev/null"] } }),
            "device /dev/null:/dev/null:rwm",
        ),
    ] {
        let after = one(fields);
        let consent = so_far(&engine, &before);
        assert_eq!(given(&planned(&engine, &after)), [format!("api: {what}")]);
        let plan = looked_with(&engine, &after, consent).plan;
        let blocked = held(&plan);
        assert!(
            blocked
                .iter()
                .any(|line| line.contains(&format!("api: it would get {what}"))),
            "{what}: {blocked:?}"
        );
        assert!(
            !steps(&plan).iter().any(|step| step.contains("container api")),
            "{what}"
        );
    }
}

#[test]
fn a_new_sandbox_is_no_widening_and_neither_is_less_than_there_was() {
    let wide = json!({ "mounts": ["/usr/share:/x"], "ports": ["0.0.0.0:80:80"], "user": "0:0" });
    let before = one(wide);
    let engine = applied(&before);
    let after =
        one(json!({ "mounts": ["/usr/share/doc:/y:ro"], "ports": ["10.1.2.3:80:80"], "user": "0:0" }))
            .container("strict", json!({ "ports": ["81:80"] }));
    let report = passed_with(&engine, &after, so_far(&engine, &before)).expect("a report");
    assert!(report.converged, "{report:#?}");
    assert_eq!(report.steps.iter().flat_map(|done| &done.step.widens).count(), 0);
}

#[test]
fn a_sandbox_without_a_network_gets_none_unnoticed() {
    let before = one(json!({ "network": "none" }));
    let engine = applied(&before);
    let consent = so_far(&engine, &before);
    let plan = looked_with(&engine, &one(json!({})), consent).plan;
    assert_eq!(held(&plan), ["replace api: it would get a network"]);
}

#[test]
fn a_sandbox_that_was_removed_by_hand_comes_back_as_it_was_and_no_wider() {
    let mounts = |paths: &[&str]| one(json!({ "mounts": paths }));
    let before = mounts(&["/usr/share:/x"]);
    let engine = applied(&before);
    let consent = so_far(&engine, &before);
    engine.rm(&before.object("api")).expect("gone");
    let plan = looked_with(
        &engine,
        &mounts(&["/usr/share:/x", "/usr/bin:/y"]),
        consent.clone(),
    )
    .plan;
    assert_eq!(held(&plan), ["create api: it would get /usr/bin of the host"]);
    let report = passed_with(&engine, &before, consent).expect("a report");
    assert!(report.converged);
    // Whoever remembers nothing gives nothing.
    engine.rm(&before.object("api")).expect("gone");
    let plan = looked_with(&engine, &before, so_far(&engine, &before)).plan;
    assert_eq!(held(&plan), ["create api: it would get /usr/share of the host"]);
}

#[test]
fn what_was_consented_to_since_counts() {
    let before = one(json!({}));
    let engine = applied(&before);
    let mut baseline = Baseline::of(&looked(&engine, &before).observed);
    let after = one(json!({ "mounts": ["/usr/share:/x"] }));
    converged(&engine, &after);
    baseline.learn(&looked(&engine, &after).observed);
    engine.rm(&after.object("api")).expect("gone");
    let consent = Consent {
        widen: Widen::UpTo(Arc::new(baseline)),
        ..Consent::default()
    };
    assert!(passed_with(&engine, &after, consent).expect("a report").converged);
}

#[test]
fn a_file_outside_goes_into_no_image_unnoticed() {
    let before = wish().container("api", json!({ "image": SIDECAR, "user": "1000:1000" }));
    let engine = applied(&before);
    let mut prepared = (*before
        .clone()
        .built("ENV A=1")
        .container("b", json!({}))
        .prepared())
    .clone();
    prepared.facts.outside.insert("/home/me/secrets".to_owned());
    let look = |consent: Consent| {
        let subject = aishell::reconcile::Subject {
            intent: &prepared,
            consent,
        };
        crate::world::run(aishell::reconcile::look(&engine, &subject))
            .expect("the engine answers")
            .plan
    };
    assert_eq!(
        given(&look(Consent::default())).len(),
        1,
        "it is told once: {:?}",
        given(&look(Consent::default()))
    );
    let plan = look(so_far(&engine, &before));
    assert!(
        held(&plan)[0].ends_with("it would get the content of /home/me/secrets"),
        "{:?}",
        held(&plan)
    );
    assert!(
        !steps(&plan)
            .iter()
            .any(|step| step.contains("build") || step.contains("container"))
    );
}

#[test]
fn nothing_is_fetched_from_elsewhere_unnoticed() {
    let after = wish()
        .phased(json!({
            "base": { "image": "debian:bookworm-slim" },
            "repos": [{ "url": "https://git.test/a.git", "path": "/a", "commit": "12".repeat(20) }],
            "tools": [{ "name": "t", "url": "https://files.test/b/t", "sha256": "ab".repeat(32) }],
        }))
        .container("b", json!({}));
    let prepared = after.prepared();
    let desired = aishell::reconcile::Intent::resolve(&*prepared, &aishell::observed::Observed::default());
    let words: Vec<String> = desired
        .grants
        .iter()
        .map(aishell::grant::Grant::display)
        .collect();
    assert_eq!(
        words,
        [
            "what is fetched from https://files.test",
            "what is fetched from https://git.test/a.git"
        ]
    );
}
