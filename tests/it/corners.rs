//! Corners of the world that a random walk seldom finds.

use aishell::call::{Call, Create};
use aishell::engine::EngineError;
use aishell::engine::memory::{Cut, MemoryEngine};
use aishell::label::UID;
use aishell::observed::NetworkShape;
use aishell::plan::{Consent, deletion};
use aishell::report::Outcome;
use aishell::spec::ContainerSpec;
use serde_json::{Value, json};

use crate::world::{
    SIDECAR, Wish, converged, fork, left_to_do, looked, passed, planned, steps, told, wish, world,
};

/// Returns the fields of a container that needs nothing but its image.
fn plain() -> Value {
    json!({ "image": SIDECAR, "user": "image", "workspace": "none" })
}

/// Returns the fields of such a container with one more.
fn with(name: &str, value: Value) -> Value {
    let mut fields = plain();
    fields[name] = value;
    fields
}

fn made(wish: &Wish) -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    converged(&engine, wish);
    engine
}

#[test]
fn containers_that_swapped_names_get_them_back() {
    let wish = wish().container("api", plain()).container("web", plain());
    let engine = made(&wish);
    let (api, web) = (wish.object("api"), wish.object("web"));
    let ids = |engine: &MemoryEngine| {
        let id = |name: &str| engine.world().container(name).map(|one| one.reply.id.clone());
        (id(&api), id(&web))
    };
    let before = ids(&engine);
    engine.rename(&api, "between").expect("a rename");
    engine.rename(&web, &api).expect("a rename");
    engine.rename("between", &web).expect("a rename");
    converged(&engine, &wish);
    assert_eq!(ids(&engine), before);
}

#[test]
fn a_container_under_the_name_of_a_missing_one_makes_room() {
    let wish = wish().container("api", plain()).container("web", plain());
    let engine = made(&wish);
    engine.rm(&wish.object("api")).expect("a removal");
    engine
        .rename(&wish.object("web"), &wish.object("api"))
        .expect("a rename");
    converged(&engine, &wish);
}

#[test]
fn an_orphan_under_the_name_of_a_wanted_container_makes_room() {
    let before = wish().container("api", plain()).container("web", plain());
    let engine = made(&before);
    engine.rm(&before.object("api")).expect("a removal");
    engine
        .rename(&before.object("web"), &before.object("api"))
        .expect("a rename");
    converged(&engine, &before.without("web"));
}

#[test]
fn a_container_made_without_network_can_join_one_later() {
    let engine = made(&wish().container("api", with("network", json!("none"))));
    converged(&engine, &wish().container("api", plain()));
    converged(&engine, &wish().container("api", with("network", json!("none"))));
    converged(&engine, &wish().container("api", plain()));
}

#[test]
fn one_image_that_cannot_be_pulled_keeps_no_other_container_from_being_made() {
    let wish = wish()
        .container("api", plain())
        .container("bad", json!({ "image": "nowhere:1", "user": "image" }))
        .container(
            "good",
            json!({ "image": crate::world::BASE, "user": "image", "workspace": "none" }),
        );
    let engine = MemoryEngine::new(world());
    let report = passed(&engine, &wish).expect("a report");
    for name in ["api", "good"] {
        assert!(
            engine.world().container(&wish.object(name)).is_some(),
            "{name}: {}",
            told(&report)
        );
    }
    let failed = report.steps.iter().filter(|done| done.outcome == Outcome::Failed);
    assert_eq!(
        failed.count(),
        1,
        "nothing that failed is tried twice: {}",
        told(&report)
    );
}

#[test]
fn an_image_that_two_want_is_pulled_once() {
    let fields = json!({ "image": crate::world::BASE, "user": "image", "workspace": "none" });
    let engine = MemoryEngine::new(world());
    let wish = wish().container("one", fields).container("two", json!({}));
    let pull = format!("pull image {}", crate::world::BASE);
    let found = steps(&planned(&engine, &wish));
    assert_eq!(found.iter().filter(|step| **step == pull).count(), 1, "{found:?}");
    converged(&engine, &wish);
}

#[test]
fn an_entrypoint_cleared_by_the_manifest_is_no_difference_for_ever() {
    made(&wish().container("api", with("entrypoint", json!([]))));
}

#[test]
fn a_manifest_edited_after_a_cut_replacement_is_what_the_next_pass_makes() {
    let mode = |mode: &str| wish().container("api", with("env", json!({ "MODE": mode })));
    let start = made(&mode("one"));
    let trial = fork(&start);
    trial.forget();
    converged(&trial, &mode("two"));
    for at in 0..trial.calls().len() {
        for cut in [Cut::Before, Cut::After] {
            let engine = fork(&start);
            engine.cut(at, cut);
            let _ = passed(&engine, &mode("two"));
            let engine = fork(&engine);
            let report = passed(&engine, &mode("three")).expect("a report");
            let left = left_to_do(&engine, &mode("three"));
            assert_eq!(left, None, "cut {cut:?} {at}:\n{}", told(&report));
        }
    }
}

#[test]
fn users_with_numbers_only_have_images_of_their_own() {
    let user = |uid: u32| json!({ "user": uid, "workspace": "none" });
    let wish = wish().container("one", user(2001)).container("two", user(2002));
    let engine = made(&wish);
    let world = engine.world();
    let image = |name: &str| {
        world
            .container(&wish.object(name))
            .map(|one| one.reply.image_id.clone())
    };
    assert_ne!(image("one"), image("two"));
}

#[test]
fn a_copy_with_every_label_of_a_container_is_nobodys_to_remove() {
    let wish = wish().container("api", plain());
    let engine = made(&wish);
    let original = engine
        .world()
        .container(&wish.object("api"))
        .expect("api")
        .shown();
    let copy = Create {
        name: "rescue".to_owned(),
        labels: original.labels.clone(),
        spec: original.spec.clone(),
    };
    engine.by_hand(|world| *world = std::mem::take(world).with_container(&copy));
    assert_eq!(steps(&planned(&engine, &wish)), [""; 0]);
    // Nor when the original has made room for another one, and nothing tells the copy from it any more.
    let other = wish.container("api", with("env", json!({ "MODE": "two" })));
    let report = passed(&engine, &other).expect("a report");
    assert!(report.converged, "{}", told(&report));
    assert!(engine.world().container("rescue").is_some());
    assert!(report.notes.iter().any(|note| note.contains("rescue")));
}

#[test]
fn a_port_goes_from_one_container_to_another_in_one_pass() {
    let port = |host: u16| with("ports", json!([format!("{host}:80")]));
    let engine = made(&wish().container("api", port(3000)).container("web", port(3001)));
    converged(
        &engine,
        &wish().container("api", port(3001)).container("web", port(3002)),
    );
    let plan = planned(
        &engine,
        &wish().container("api", port(3002)).container("web", port(3003)),
    );
    assert_eq!(steps(&plan), ["replace container web", "replace container api"]);
    assert_eq!(plan.steps[1].needs, [1]);
}

#[test]
fn a_network_that_was_made_otherwise_is_made_anew_around_the_same_containers() {
    let wish = wish().container("api", json!({})).container("web", json!({}));
    let engine = made(&wish);
    let network = wish.object("demo");
    engine.stop(&wish.object("web")).expect("stopped");
    let ids = |engine: &MemoryEngine| {
        ["api", "web"].map(|name| {
            let world = engine.world();
            let one = world.container(&wish.object(name)).expect("a container");
            one.reply.id.clone()
        })
    };
    let before = ids(&engine);
    let shape = NetworkShape {
        driver: "macvlan".to_owned(),
        ipv6: true,
        options: [("mtu".to_owned(), "1400".to_owned())].into(),
        ..NetworkShape::default()
    };
    engine.reshape(&network, &shape);
    let plan = planned(&engine, &wish);
    assert_eq!(
        steps(&plan),
        [
            format!("remove network {network}"),
            format!("create network {network}"),
            "connect container api".to_owned(),
            "connect container web".to_owned(),
            "start container web".to_owned(),
        ]
    );
    let fields: Vec<&str> = plan.steps[0]
        .because
        .iter()
        .filter_map(|because| because.field.as_deref())
        .collect();
    assert_eq!(fields, ["driver", "ipv6", "options.mtu"]);
    for at in 0..12 {
        let engine = fork(&engine);
        engine.cut(at, Cut::After);
        passed(&engine, &wish);
        engine.mend();
        converged(&engine, &wish);
        assert_eq!(ids(&engine), before);
    }
    converged(&engine, &wish);
    assert_eq!(ids(&engine), before);

    // Nobody is put out of it who works there.
    engine.reshape(&network, &shape);
    engine
        .open_terminal(&wish.object("api"), &["sh"])
        .expect("a shell");
    let plan = planned(&engine, &wish);
    assert_eq!(steps(&plan), Vec::<String>::new());
    assert!(
        plan.blocked
            .iter()
            .any(|blocked| blocked.detail.contains("terminal"))
    );
}

#[test]
fn whoever_only_has_the_labels_of_a_container_is_removed_with_none() {
    let wish = wish().container("api", plain()).container("web", plain());
    let engine = made(&wish);
    engine.by_hand(|world| {
        let original = world
            .container(&wish.object("api"))
            .expect("a container")
            .reply
            .clone();
        let mut labels = original.labels;
        labels.insert(UID.to_owned(), "0123456789abcdef".to_owned());
        let copy = Create {
            name: "copy".to_owned(),
            labels,
            spec: ContainerSpec {
                image: SIDECAR.to_owned(),
                ..ContainerSpec::default()
            },
        };
        *world = std::mem::take(world).with_container(&copy);
    });
    let there = |engine: &MemoryEngine| engine.world().container("copy").is_some();
    let look = looked(&engine, &wish);
    let deletion = deletion(
        &look.observed,
        &look.desired.owner,
        &look.plan.manifest,
        &Consent::default(),
    );
    let names = ["remove container api", "remove container web"].map(str::to_owned);
    assert_eq!(steps(&deletion)[..2], names);
    assert!(
        deletion.notes.iter().any(|note| note.contains("left alone")),
        "{:?}",
        deletion.notes
    );

    let without = wish.clone().without("api");
    assert_eq!(steps(&planned(&engine, &without)), ["remove container api"]);
    passed(&engine, &without).expect("a report");
    assert!(there(&engine));
}

#[test]
fn a_network_of_which_the_engine_says_that_somebody_is_in_it_tells_where_to_look() {
    let mut alone = plain();
    alone["network"] = json!("none");
    let wish = wish().container("a", plain()).container("b", alone);
    let engine = made(&wish);
    engine.fault(|call| {
        let message = "error while removing network: network n id 1 has active endpoints".to_owned();
        matches!(call, Call::RemoveNetwork { .. }).then_some(EngineError::Refused { message })
    });
    let report = passed(&engine, &wish.without("a")).expect("a report");
    let mut failures = report.steps.iter().filter_map(|done| done.error.as_ref());
    let hint = failures.next().and_then(|failure| failure.hint.as_deref());
    assert!(
        hint.is_some_and(|hint| hint.contains("docker network inspect")),
        "{}",
        told(&report)
    );
}
