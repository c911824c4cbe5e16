//! Manifests that are called otherwise than before, and projects that are elsewhere: nobody starts with empty data
//! without having said so.

use aishell::engine::memory::MemoryEngine;
use aishell::plan::{Consent, Fresh, deletion};
use aishell::step::{BlockedReason, Plan};
use serde_json::json;

use crate::world::{
    Wish, converged, left_to_do, looked, looked_with, passed, planned, steps, strays, told, wish, world,
};

fn project() -> Wish {
    wish().container(
        "api",
        json!({ "mounts": [{ "volume": "cache", "target": "~/.cache" }] }),
    )
}

/// An engine on which the project was made, and a file is in its home.
fn made() -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    converged(&engine, &project());
    engine
}

fn data(engine: &MemoryEngine) -> Vec<String> {
    let world = engine.world();
    let mut names: Vec<String> = world.volumes().map(|volume| volume.reply.name.clone()).collect();
    names.retain(|name| name.starts_with("aishell-"));
    names.sort();
    names
}

fn blocked(plan: &Plan) -> Vec<(BlockedReason, String)> {
    let volumes = plan
        .blocked
        .iter()
        .filter(|one| one.resource.kind.as_str() == "volume");
    volumes.map(|one| (one.reason, one.detail.clone())).collect()
}

#[test]
fn a_project_that_seems_to_have_been_moved_does_not_start_with_empty_data() {
    let engine = made();
    let moved = project().of("/srv/moved");
    let plan = planned(&engine, &moved);
    let held = blocked(&plan);
    assert_eq!(held.len(), 2, "{held:#?}");
    for (reason, detail) in held {
        assert_eq!(reason, BlockedReason::Moved);
        assert!(detail.contains("/srv/demo"), "{detail}");
    }
    let before = data(&engine);
    let report = passed(&engine, &moved).expect("a report");
    assert_eq!(data(&engine), before, "{}", told(&report));
    let consent = Consent {
        fresh: Fresh::Allowed,
        ..Consent::default()
    };
    assert_eq!(blocked(&looked_with(&engine, &moved, consent).plan), Vec::new());
    // A manifest of another name is another one.
    assert_eq!(blocked(&planned(&engine, &moved.named("other"))), Vec::new());
}

#[test]
fn a_project_that_was_moved_takes_its_data_along() {
    let engine = made();
    let before = data(&engine);
    let moved = project().of("/srv/moved").formerly("demo", "/srv/demo");
    converged(&engine, &moved);
    assert_eq!(data(&engine), before, "the same volumes");
    assert_eq!(strays(&engine, &moved), Vec::<String>::new());
    let world = engine.world();
    let api = world.container(&moved.object("api")).expect("the container");
    let used: Vec<&str> = api
        .volumes()
        .filter(|name| before.iter().any(|one| one == name))
        .collect();
    assert_eq!(used.len(), 2, "{used:?}");
    assert_eq!(world.containers().count(), 1);
    assert_eq!(left_to_do(&engine, &moved), None);
}

#[test]
fn a_manifest_that_was_renamed_goes_on_with_what_it_had() {
    let engine = made();
    let renamed = project().named("shop");
    let plan = planned(&engine, &renamed);
    let foreign: Vec<&String> = plan
        .blocked
        .iter()
        .filter(|one| one.reason == BlockedReason::Foreign)
        .map(|one| &one.detail)
        .collect();
    assert!(
        !foreign.is_empty() && steps(&plan).iter().all(|step| !step.contains("volume")),
        "{plan:#?}"
    );
    assert!(
        foreign
            .iter()
            .all(|detail| detail.contains("formerly: [{ name: demo }]")),
        "{foreign:#?}"
    );
    let before = data(&engine);
    let named = renamed.formerly("demo", "/srv/demo");
    converged(&engine, &named);
    assert_eq!(data(&engine), before);
    assert_eq!(engine.world().containers().count(), 1);
    assert_eq!(strays(&engine, &named), Vec::<String>::new());
}

#[test]
fn what_is_deleted_is_what_it_had_under_every_name() {
    let engine = made();
    let moved = project().of("/srv/moved").formerly("demo", "/srv/demo");
    let look = looked(&engine, &moved);
    let consent = Consent {
        data_loss: true,
        ..Consent::default()
    };
    let prepared = moved.prepared();
    let plan = deletion(
        &look.observed,
        &prepared.facts.owner,
        &look.plan.manifest,
        &consent,
    );
    let removed = steps(&plan);
    let of = |kind: &str| removed.iter().filter(|step| step.contains(kind)).count();
    assert_eq!(
        (of("container"), of("volume"), of("network")),
        (1, 2, 1),
        "{removed:#?}"
    );
}

#[test]
fn a_copy_of_a_project_that_was_moved_does_not_share_the_data() {
    let engine = made();
    let moved = project().of("/srv/moved").formerly("demo", "/srv/demo");
    converged(&engine, &moved);
    let before = data(&engine);
    let copy = project().of("/srv/copy").formerly("demo", "/srv/demo");
    let plan = planned(&engine, &copy);
    let held = blocked(&plan);
    assert_eq!(held.len(), 2, "{held:#?}");
    for (reason, detail) in held {
        assert_eq!(reason, BlockedReason::Moved);
        assert!(detail.contains("/srv/moved uses it now"), "{detail}");
    }
    let report = passed(&engine, &copy).expect("a report");
    assert_eq!(data(&engine), before, "{}", told(&report));
    // Nor does it go with the copy.
    let look = looked(&engine, &copy);
    let consent = Consent {
        data_loss: true,
        ..Consent::default()
    };
    let owner = &copy.prepared().facts.owner;
    let plan = deletion(&look.observed, owner, &look.plan.manifest, &consent);
    let removed = steps(&plan);
    assert!(
        removed.iter().all(|step| !step.contains("volume")),
        "{removed:#?}"
    );
    assert_eq!(left_to_do(&engine, &moved), None);
    // Whoever says so starts with volumes of its own.
    let fresh = Consent {
        fresh: Fresh::Allowed,
        ..Consent::default()
    };
    assert_eq!(blocked(&looked_with(&engine, &copy, fresh).plan), Vec::new());
}
