//! What judging costs: planning containers that are all as they should be, and containers that all differ.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark has no documentation and stops where it cannot run"
)]

use std::cell::LazyCell;
use std::hint::black_box;

use aishell::engine::memory::MemoryEngine;
use aishell::plan::{Consent, plan};
use aishell::reconcile::Look;
use aishell::step::ManifestInfo;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod world;

use crowd::{Crowd, crowd};

const SIZES: [(usize, &str); 3] = [(1_000, "1,000"), (10_000, "10,000"), (100_000, "100,000")];

/// Returns a manifest of many containers that all have one variable.
fn many(count: usize, mode: &str) -> Crowd {
    crowd(count, json!({ "env": { "MODE": mode } }))
}

/// Returns an engine on which they are as they should be.
fn converged(crowd: &Crowd) -> MemoryEngine {
    let engine = MemoryEngine::new(world::world());
    assert!(crowd.pass(&engine).converged);
    engine.forget();
    engine
}

/// What is planned for: what is there as it should be, and the same for a manifest that differs everywhere.
fn looks(count: usize) -> (Look, Look) {
    let crowd = many(count, "a");
    let engine = converged(&crowd);
    let (same, other) = (crowd.look(&engine), many(count, "b").look(&engine));
    assert_eq!((same.plan.steps.len(), other.plan.steps.len()), (0, count));
    (same, other)
}

fn planning(criterion: &mut Criterion) {
    for (count, words) in SIZES {
        let mut group = criterion.benchmark_group(format!("plan {words} containers"));
        group.sample_size(10);
        let info = ManifestInfo::default();
        // Made for whoever is measured only.
        let made = LazyCell::new(|| looks(count));
        let mut judge = |name: &str, look: fn(&(Look, Look)) -> &Look| {
            group.bench_function(name, |bencher| {
                let Look {
                    desired, observed, ..
                } = look(&made);
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
        judge("nothing changed", |looks| &looks.0);
        judge("everything changed", |looks| &looks.1);
        group.finish();
    }
}

fn looking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look at 10,000 containers");
    group.sample_size(10);
    group.bench_function("observe, resolve, plan", |bencher| {
        let crowd = many(10_000, "a");
        let engine = converged(&crowd);
        bencher.iter(|| {
            engine.forget();
            crowd.look(&engine).plan.steps.len()
        });
    });
    group.finish();
}

criterion_group!(benches, planning, looking);
criterion_main!(benches);
