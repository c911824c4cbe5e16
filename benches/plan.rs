//! What judging costs: planning 10,000 containers that are as they should be, and 10,000 that all differ.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark has no documentation and stops where it cannot run"
)]

use std::hint::black_box;

use aishell::desired::Desired;
use aishell::engine::memory::MemoryEngine;
use aishell::observed::Observed;
use aishell::plan::{Consent, plan};
use aishell::reconcile::{Subject, look};
use aishell::step::ManifestInfo;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod world;

use world::{Wish, converged, looked, run, wish};

const CONTAINERS: usize = 10_000;

/// Returns a manifest of many containers that all have one variable.
fn many(mode: &str) -> Wish {
    (0..CONTAINERS).fold(wish(), |wish, index| {
        let fields = json!({ "env": { "MODE": mode }, "home": "tmpfs" });
        wish.container(&format!("c{index}"), fields)
    })
}

fn planning(criterion: &mut Criterion) {
    let engine = MemoryEngine::new(world::world());
    converged(&engine, &many("a"));
    let (same, other) = (looked(&engine, &many("a")), looked(&engine, &many("b")));
    assert_eq!((same.plan.steps.len(), other.plan.steps.len()), (0, CONTAINERS));
    let info = ManifestInfo::default();
    let mut group = criterion.benchmark_group("plan 10,000 containers");
    group.sample_size(10);
    let mut judge = |name: &str, desired: &Desired, observed: &Observed| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                plan(
                    black_box(desired),
                    black_box(observed),
                    &info,
                    &Consent::default(),
                )
            });
        });
    };
    judge("nothing changed", &same.desired, &same.observed);
    judge("everything changed", &other.desired, &other.observed);
    group.finish();
}

fn looking(criterion: &mut Criterion) {
    let engine = MemoryEngine::new(world::world());
    let wish = many("a");
    converged(&engine, &wish);
    let prepared = wish.prepared();
    let mut group = criterion.benchmark_group("look at 10,000 containers");
    group.sample_size(10);
    group.bench_function("observe, resolve, plan", |bencher| {
        bencher.iter(|| {
            let subject = Subject {
                intent: &*prepared,
                consent: Consent::default(),
            };
            run(look(&engine, &subject))
                .expect("the engine answers")
                .plan
                .steps
                .len()
        });
    });
    group.finish();
}

criterion_group!(benches, planning, looking);
criterion_main!(benches);
