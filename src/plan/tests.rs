use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::desired::resolve::{Pins, resolve};
use crate::facts::{Account, Facts};
use crate::host::Host;
use crate::key::{Key, KeyKind};
use crate::label::{self, Labels, Mark, OwnedId, Owner};
use crate::lock::Lock;
use crate::manifest::load::parse;
use crate::observed::{self, EngineInfo, Image, ImageReply, RunState, Stranger};
use crate::step::{Action, Cause, Step, Work};

const ONE: &str = "{ user: image, workspace: none, network: none, command: [run] }";

fn owner() -> Owner {
    Owner {
        project: "/srv/demo".to_owned(),
        manifest: "demo".to_owned(),
        host: "host".to_owned(),
        file: "/srv/demo/aishell.yaml".to_owned(),
        formerly: Vec::new(),
    }
}

fn engine() -> Observed {
    let image = ImageReply {
        image: Image {
            id: "sha256:base".to_owned(),
            ..Image::default()
        },
        ..ImageReply::default()
    };
    Observed {
        engine: EngineInfo {
            platform: "linux/amd64".to_owned(),
            ..EngineInfo::default()
        },
        references: [("base:1".to_owned(), Arc::new(image))].into(),
        ..Observed::default()
    }
}

fn desired(containers: &str, observed: &Observed) -> Desired {
    let text = format!(
        "apiVersion: aishell/v1\nname: demo\nfoundation: {{ image: 'base:1' }}\ncontainers: {{ {containers} }}\n"
    );
    let host = Host {
        home: "/home/me".into(),
        uid: 1000,
        gid: 1000,
        user: "me".to_owned(),
        directory: "/srv/demo".into(),
        environment: BTreeMap::new(),
        machine: "host".to_owned(),
        hostname: "box".to_owned(),
        accounts: Vec::new(),
    };
    let loaded = parse(&text, Path::new("/srv/demo/aishell.yaml"), &host).expect("a valid manifest");
    let facts = Facts {
        agents: String::new(),
        exposed: BTreeMap::new(),
        common: None,
        profiles: BTreeMap::new(),
        owner: owner(),
        account: Account {
            name: "me".to_owned(),
            uid: 1000,
            gid: 1000,
            home: "/home/me".to_owned(),
        },
        contexts: BTreeMap::new(),
        trees: BTreeMap::new(),
        certificates: None,
        proxies: BTreeMap::new(),
        members: BTreeMap::new(),
        installer: BTreeMap::new(),
        emulation: crate::platform::Emulation::default(),
        sources: BTreeMap::new(),
        outside: BTreeSet::new(),
        store: std::sync::Arc::default(),
        ground: "/srv/demo".to_owned(),
        guarded: BTreeSet::new(),
    };
    resolve(&loaded, &facts, &Pins::of(observed, &owner(), &Lock::default()))
}

/// Adds containers that are as the manifest wants them.
fn with(containers: &str) -> Observed {
    let mut observed = engine();
    let desired = desired(containers, &observed);
    for (name, container) in &desired.containers {
        let mut labels = owner().labels(
            label::Kind::Container,
            name,
            &Key::of(KeyKind::Container, &container.spec),
        );
        labels.insert(label::UID.to_owned(), format!("uid-{name}"));
        let mark = Mark::read(&labels).expect("complete labels");
        let spec = crate::spec::ContainerSpec {
            image: "base:1".to_owned(),
            ..container.spec.clone()
        };
        let live = observed::Container {
            id: OwnedId::new(&format!("id-{name}"), &mark),
            mark,
            name: container.engine_name.clone(),
            state: RunState::Running,
            image: observed.references.get("base:1").cloned(),
            image_id: "sha256:base".to_owned(),
            applied: Some(spec.clone()),
            spec,
            created: String::new(),
            started: Some("2025-01-01T00:00:00Z".to_owned()),
            health: None,
            restarts: 0,
            error: None,
            network_ids: BTreeMap::new(),
            busy: None,
            granted: BTreeSet::new(),
        };
        observed.containers.insert(live.name.clone(), live);
    }
    observed
}

fn live<'o>(observed: &'o mut Observed, name: &str) -> &'o mut observed::Container {
    observed
        .containers
        .get_mut(&owner().object(name))
        .expect("the container")
}

fn planned(containers: &str, observed: &Observed) -> Plan {
    plan(
        &desired(containers, observed),
        observed,
        &ManifestInfo::default(),
        &Consent::default(),
    )
}

/// Returns the steps as `action name`.
fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| format!("{} {}", step.action.as_str(), step.resource.name))
        .collect()
}

#[test]
fn a_satisfied_world_plans_nothing() {
    let plan = planned(
        &format!("a: {ONE}, b: {ONE}"),
        &with(&format!("a: {ONE}, b: {ONE}")),
    );
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.summary().unchanged, 3);
}

#[test]
fn what_is_missing_is_created_after_what_it_needs() {
    let plan = planned("a: {}", &engine());
    let steps = steps(&plan);
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(steps[0].starts_with("build aishell-demo:sandbox-"));
    assert_eq!(
        steps[1..],
        [
            "create aishell-926574b4-demo",
            "create aishell-926574b4-a-home",
            "create a"
        ]
    );
    assert_eq!(plan.steps[3].needs, [1, 2, 3]);
}

#[test]
fn an_image_that_has_to_be_pulled_leaves_the_rest_unknown() {
    let mut observed = engine();
    observed.references.clear();
    let plan = planned(&format!("a: {ONE}"), &observed);
    assert_eq!(steps(&plan), ["pull base:1"]);
    assert_eq!(plan.unknown.len(), 1);
}

#[test]
fn a_changed_limit_is_updated_in_place_and_nothing_else() {
    let with_memory = |memory: &str| ONE.replace('}', &format!(", resources: {{ memory: {memory} }} }}"));
    let observed = with(&format!("a: {}, b: {ONE}", with_memory("64MiB")));
    let plan = planned(&format!("a: {}, b: {ONE}", with_memory("128MiB")), &observed);
    assert_eq!(steps(&plan), ["update a"]);
    let because = &plan.steps[0].because;
    assert_eq!(because.len(), 1, "the swap follows: {because:?}");
    assert_eq!(because[0].field.as_deref(), Some("resources.memory"));
    assert_eq!(
        (&because[0].from, &because[0].to),
        (&json!(64 << 20), &json!(128 << 20))
    );
    assert_eq!(
        (because[0].cause, plan.steps[0].impact),
        (Cause::Manifest, Impact::Live)
    );
}

#[test]
fn a_limit_that_the_engine_cannot_unset_recreates_and_says_so() {
    let limited = ONE.replace('}', ", resources: { memory: 64MiB } }");
    let plan = planned(&format!("a: {ONE}"), &with(&format!("a: {limited}")));
    assert_eq!(steps(&plan), ["replace a"]);
    assert!(
        plan.steps[0]
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("resources.memory"))
    );
}

#[test]
fn a_changed_variable_recreates_only_that_container() {
    let mode = |mode: &str| ONE.replace('}', &format!(", env: {{ MODE: {mode} }} }}"));
    let observed = with(&format!("a: {}, b: {ONE}", mode("fast")));
    let plan = planned(&format!("a: {}, b: {ONE}", mode("safe")), &observed);
    assert_eq!(steps(&plan), ["replace a"]);
    assert_eq!(plan.steps[0].because[0].field.as_deref(), Some("env.MODE"));
}

#[test]
fn what_somebody_changed_is_drift_and_what_the_manifest_changed_is_not() {
    let mut observed = with(&format!("a: {ONE}"));
    live(&mut observed, "a").spec.resources.pids = Some(7);
    let plan = planned(&format!("a: {ONE}"), &observed);
    assert_eq!(steps(&plan), ["update a"]);
    assert_eq!(plan.steps[0].because[0].cause, Cause::Drift);
}

#[test]
fn containers_are_woken_by_what_put_them_to_sleep() {
    for (state, expected) in [
        (RunState::Paused, "unpause a"),
        (RunState::Created, "start a"),
        (RunState::Exited { code: 137 }, "start a"),
    ] {
        let mut observed = with(&format!("a: {ONE}"));
        live(&mut observed, "a").state = state;
        assert_eq!(steps(&planned(&format!("a: {ONE}"), &observed)), [expected]);
    }
}

#[test]
fn a_command_that_has_completed_is_satisfied() {
    let mut observed = with(&format!("a: {ONE}"));
    live(&mut observed, "a").state = RunState::Exited { code: 0 };
    assert!(planned(&format!("a: {ONE}"), &observed).is_empty());
}

#[test]
fn a_renamed_container_gets_its_name_back() {
    let mut observed = with(&format!("a: {ONE}"));
    let mut moved = observed
        .containers
        .remove(&owner().object("a"))
        .expect("the container");
    moved.name = "somebody-was-here".to_owned();
    observed.containers.insert(moved.name.clone(), moved);
    assert_eq!(steps(&planned(&format!("a: {ONE}"), &observed)), ["rename a"]);
}

#[test]
fn orphans_are_removed_before_their_port_is_used_again() {
    let port = ONE
        .replace('}', ", ports: ['8080:80'] }")
        .replace("network: none, ", "");
    let mut observed = with(&format!("old: {port}"));
    observed
        .containers
        .retain(|_, container| container.mark.name == "old");
    let plan = planned(&format!("new: {port}"), &observed);
    let create = plan
        .steps
        .iter()
        .find(|step| step.resource.name == "new")
        .expect("a creation");
    let remove = plan
        .steps
        .iter()
        .find(|step| step.resource.name == "old")
        .expect("a removal");
    assert_eq!(
        (remove.action, remove.because[0].cause),
        (Action::Remove, Cause::Orphan)
    );
    assert!(create.needs.contains(&remove.id));
}

#[test]
fn nothing_is_pruned_without_consent_or_by_an_empty_manifest() {
    let observed = with(&format!("a: {ONE}, b: {ONE}"));
    let keep = plan(
        &desired(&format!("a: {ONE}"), &observed),
        &observed,
        &ManifestInfo::default(),
        &Consent {
            prune: false,
            ..Consent::default()
        },
    );
    assert!(keep.steps.is_empty() && keep.notes.len() == 2, "{keep:?}");
    assert!(planned("", &observed).steps.is_empty());
}

#[test]
fn a_stranger_under_our_name_is_blocked_and_named() {
    let mut observed = engine();
    observed.strangers.insert(Stranger {
        kind: "container",
        name: owner().object("a"),
        who: "a container that aishell did not make".to_owned(),
        late: false,
        vacant: false,
    });
    let plan = planned(&format!("a: {ONE}"), &observed);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.blocked[0].reason, BlockedReason::Foreign);
}

/// Puts a copy of container `a` beside it.
fn leave(observed: &mut Observed, suffix: &str) {
    let mut leftover = live(observed, "a").clone();
    leftover.name = format!("{}{suffix}", owner().object("a"));
    observed.containers.insert(leftover.name.clone(), leftover);
}

#[test]
fn leftovers_of_an_interrupted_replacement_go() {
    let mut observed = with(&format!("a: {ONE}"));
    live(&mut observed, "a").state = RunState::Created;
    leave(&mut observed, ".next");
    let plan = planned(&format!("a: {ONE}"), &observed);
    assert_eq!(steps(&plan), ["remove a", "start a"]);
    assert_eq!(plan.steps[1].needs, [1]);
}

#[test]
fn a_replacement_that_was_cut_goes_on_while_the_old_one_is_there() {
    for state in [RunState::Running, RunState::Created, RunState::Exited { code: 3 }] {
        let mut observed = with(&format!("a: {ONE}"));
        live(&mut observed, "a").state = state;
        leave(&mut observed, ".prev");
        let plan = planned(&format!("a: {ONE}"), &observed);
        assert_eq!(steps(&plan), ["replace a"], "{state:?}");
        let Work::Replace { begun, .. } = &plan.steps[0].work else {
            panic!("{plan:?}")
        };
        assert!(begun.is_some());
        // What it made is not wanted any more, and does not even run: the old one is the container.
        let plan = planned("a: { image: base:1, command: [other] }", &observed);
        let replaced: Vec<&Step> = plan
            .steps
            .iter()
            .filter(|step| step.action == Action::Replace)
            .collect();
        let Work::Replace { begun: None, .. } = &replaced[0].work else {
            panic!("{plan:?}")
        };
    }
}

#[test]
fn an_old_container_left_aside_is_the_container() {
    let mut observed = with(&format!("a: {ONE}"));
    let mut old = observed
        .containers
        .remove(&owner().object("a"))
        .expect("the container");
    let mut new = old.clone();
    old.name = format!("{}.prev", owner().object("a"));
    new.name = format!("{}.next", owner().object("a"));
    observed.containers.insert(old.name.clone(), old);
    observed.containers.insert(new.name.clone(), new);
    assert_eq!(
        steps(&planned(&format!("a: {ONE}"), &observed)),
        ["remove a", "rename a"]
    );
}

#[test]
fn labels_and_variables_of_the_image_are_no_difference() {
    let mut observed = with(&format!("a: {ONE}"));
    let mut image = ImageReply::default();
    image.image.id = "sha256:base".to_owned();
    image.image.labels = Labels::from([("vendor".to_owned(), "x".to_owned())]);
    image.config.env.insert("LANG".to_owned(), "C".to_owned());
    image.config.user = Some("app".to_owned());
    let container = live(&mut observed, "a");
    container.image = Some(Arc::new(image));
    container.spec.labels.insert("vendor".to_owned(), "x".to_owned());
    container.spec.env.insert("LANG".to_owned(), "C".to_owned());
    container.spec.user = Some("app".to_owned());
    assert!(planned(&format!("a: {ONE}"), &observed).is_empty());
}

#[test]
fn volumes_of_the_image_are_no_difference_and_are_kept_by_every_removal() {
    let mut observed = with(&format!("a: {ONE}, b: {ONE}"));
    for name in ["a", "b"] {
        let volume = crate::spec::Mount::Volume {
            name: "0123456789abcdef".repeat(4),
            read_only: false,
        };
        let mounts = &mut live(&mut observed, name).spec.mounts;
        mounts.insert("/var/lib/data".to_owned(), volume);
    }
    let plan = planned(&format!("a: {ONE}"), &observed);
    assert_eq!(steps(&plan), ["remove b"]);
    let Work::Guarded { calls, .. } = &plan.steps[0].work else {
        panic!("{plan:?}");
    };
    assert!(matches!(
        calls.last(),
        Some(crate::call::Call::RemoveContainer { volumes: false, .. })
    ));
}

#[test]
fn every_field_that_is_set_at_creation_recreates_and_is_named_both_ways() {
    let fields = [
        ("groups: ['44', audio]", "groups"),
        ("dns: [10.0.0.2]", "dns"),
        ("extraHosts: { db: 10.0.0.7 }", "extraHosts.db"),
        ("runtime: runsc", "runtime"),
        (
            "resources: { ulimits: { nofile: 1024 } }",
            "resources.ulimits.nofile",
        ),
        ("resources: { shm: 128MiB }", "resources.shm"),
        ("security: { devices: [/dev/fuse] }", "security.devices"),
        ("security: { capAdd: [cap_net_admin] }", "security.capAdd"),
        ("security: { seccomp: unconfined }", "security.seccomp"),
        ("security: { readOnly: false }", "security.readOnly"),
        ("security: { noNewPrivileges: false }", "security.noNewPrivileges"),
        ("security: { privileged: true }", "security.privileged"),
        ("env: { A: b }", "env.A"),
        ("labels: { team: core }", "labels.team"),
        ("hostname: box", "hostname"),
        ("workdir: /srv", "workdir"),
        ("entrypoint: [/bin/env]", "entrypoint"),
        ("stop: { signal: SIGINT }", "stop.signal"),
        ("stop: { timeout: 3s }", "stop.timeout"),
        ("ports: ['3000:3000']", "ports.3000/tcp"),
        ("mounts: [{ tmpfs: /scratch }]", "mounts./scratch"),
    ];
    for (written, field) in fields {
        let changed = ONE.replace('}', &format!(", {written} }}"));
        let (plain, changed) = (format!("a: {ONE}"), format!("a: {changed}"));
        for (before, after) in [(&plain, &changed), (&changed, &plain)] {
            let plan = planned(after, &with(before));
            assert_eq!(steps(&plan), ["replace a"], "{before} to {after}");
            let named: Vec<_> = plan.steps[0]
                .because
                .iter()
                .map(|because| (because.field.as_deref(), because.cause))
                .collect();
            assert_eq!(named, [(Some(field), Cause::Manifest)], "{before} to {after}");
        }
        assert!(planned(&changed, &with(&changed)).is_empty(), "{written}");
    }
}

#[test]
fn what_the_engine_chooses_where_nothing_is_said_is_no_difference() {
    let mut observed = with(&format!("a: {ONE}"));
    let spec = &mut live(&mut observed, "a").spec;
    spec.runtime = Some("runc".to_owned());
    let limit = crate::spec::Ulimit { soft: 1, hard: 2 };
    spec.ulimits.insert("nofile".to_owned(), limit);
    assert!(planned(&format!("a: {ONE}"), &observed).is_empty());
}

#[test]
fn a_container_comes_after_those_it_depends_on() {
    let after = |other: &str| ONE.replace('}', &format!(", dependsOn: [{other}] }}"));
    let containers = format!("a: {}, b: {}, c: {ONE}", after("b"), after("c"));
    let plan = planned(&containers, &engine());
    assert_eq!(steps(&plan), ["create c", "create b", "create a"]);
    assert_eq!((&plan.steps[1].needs, &plan.steps[2].needs), (&vec![1], &vec![2]));
}

#[test]
fn what_is_weaker_than_strict_is_told() {
    let weak = ONE.replace('}', ", security: { profile: dev, seccomp: unconfined } }");
    let plan = planned(&format!("a: {weak}, b: {ONE}"), &engine());
    assert_eq!(
        plan.notes,
        [
            "image base:1 is not pinned (local image)",
            "container a is weaker than strict: may gain privileges, capabilities CHOWN DAC_OVERRIDE FOWNER KILL \
             NET_BIND_SERVICE SETGID SETUID SYS_PTRACE, writable root, any system call"
        ]
    );
}
