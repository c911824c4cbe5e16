//! What planning and converging cost as worlds grow: 1,000, 10,000 and 100,000 containers on the engine in memory. Times
//! are processor time, so that whatever else the machine does counts little. The cost is linear if the last column stays
//! near 1.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark has no documentation, stops where it cannot run, and tells what it found"
)]

use std::hint::black_box;

use aishell::engine::memory::MemoryEngine;
use aishell::plan::{Consent, plan};
use aishell::reconcile::Look;
use aishell::step::ManifestInfo;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[path = "../tests/support/crowd.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod crowd;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod world;

use crowd::{Crowd, crowd};

/// How many containers there are, and how often each is measured.
const SIZES: [(usize, usize); 3] = [(1_000, 9), (10_000, 3), (100_000, 1)];
const CASES: [&str; 6] = [
    "planning, nothing changed",
    "planning, everything changed",
    "look, nothing changed",
    "first pass",
    "pass, nothing changed",
    "pass, everything changed",
];

fn many(count: usize, mode: &str) -> Crowd {
    crowd(count, json!({ "env": { "MODE": mode } }))
}

/// Returns what a case took of the processor, in seconds.
fn took<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let now = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let begun = now();
    let result = work();
    (now() - begun, result)
}

fn planning(look: &Look) -> f64 {
    let Look {
        desired, observed, ..
    } = look;
    let (info, consent) = (ManifestInfo::default(), Consent::default());
    let judge = || drop(plan(black_box(desired), black_box(observed), &info, &consent));
    took(judge).0
}

/// Measures every case once, and says how many calls it took.
fn measure(count: usize) -> [(f64, usize); CASES.len()] {
    let (one, other) = (many(count, "a"), many(count, "b"));
    let engine = MemoryEngine::new(world::world());
    let pass = |crowd: &Crowd| {
        engine.forget();
        let (seconds, report) = took(|| crowd.pass(&engine));
        assert!(
            report.converged,
            "{} steps, and not converged",
            report.steps.len()
        );
        (seconds, engine.calls().len())
    };
    let first = pass(&one);
    let (same, changed) = (one.look(&engine), other.look(&engine));
    assert_eq!((same.plan.steps.len(), changed.plan.steps.len()), (0, count));
    let judged = [planning(&same), planning(&changed)];
    drop((same, changed));
    engine.forget();
    let (looked, _) = took(|| one.look(&engine));
    let asked = engine.calls().len();
    [
        (judged[0], 0),
        (judged[1], 0),
        (looked, asked),
        first,
        pass(&one),
        pass(&other),
    ]
}

fn main() {
    // What cargo asks of every benchmark when it only lists or tests them.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    println!("| | containers | processor time | each | requests each | beside 1,000 |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut first = [0.0; CASES.len()];
    for (count, times) in SIZES {
        let mut all: Vec<_> = (0..times).map(|_| measure(count)).collect();
        for (index, case) in CASES.into_iter().enumerate() {
            all.sort_by(|one, other| one[index].0.total_cmp(&other[index].0));
            let (seconds, calls) = all[times / 2][index];
            let each = 1e6 * seconds / count as f64;
            if first[index] == 0.0 {
                first[index] = each;
            }
            println!(
                "| {case} | {count} | {:.0} ms | {each:.1} µs | {:.2} | {:.2} |",
                1e3 * seconds,
                calls as f64 / count as f64,
                each / first[index],
            );
        }
    }
}
