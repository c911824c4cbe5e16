//! What converging costs as worlds grow: a first pass, one with nothing to do and one in which everything differs, of
//! 1,000, 10,000 and 100,000 containers on the engine in memory. Grows linearly, if the last column stays near 1.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark has no documentation, stops where it cannot run, and tells what it found"
)]

use std::time::{Duration, Instant};

use aishell::engine::memory::MemoryEngine;
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
const PASSES: [&str; 3] = ["first pass", "nothing to do", "everything changed"];

fn many(count: usize, mode: &str) -> Crowd {
    crowd(count, json!({ "env": { "MODE": mode } }))
}

/// Measures one pass and says how many calls it took.
fn pass(engine: &MemoryEngine, crowd: &Crowd) -> (Duration, usize) {
    engine.forget();
    let begun = Instant::now();
    let report = crowd.pass(engine);
    let took = begun.elapsed();
    assert!(
        report.converged,
        "{} steps, and not converged",
        report.steps.len()
    );
    (took, engine.calls().len())
}

fn main() {
    // What cargo asks of every benchmark when it only lists or tests them.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    println!("| Pass | containers | time | per container | calls per container | of 1,000 |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut first = [0.0; PASSES.len()];
    for (count, times) in SIZES {
        let (one, other) = (many(count, "a"), many(count, "b"));
        let mut took = [const { Vec::new() }; PASSES.len()];
        let mut calls = [0; PASSES.len()];
        for _ in 0..times {
            let engine = MemoryEngine::new(world::world());
            for (index, crowd) in [&one, &one, &other].into_iter().enumerate() {
                let (time, asked) = pass(&engine, crowd);
                took[index].push(time);
                calls[index] = asked;
            }
        }
        for (index, times) in took.iter_mut().enumerate() {
            times.sort();
            let each = 1e6 * times[times.len() / 2].as_secs_f64() / count as f64;
            if first[index] == 0.0 {
                first[index] = each;
            }
            println!(
                "| {} | {count} | {:.2} s | {each:.1} µs | {:.2} | {:.2} |",
                PASSES[index],
                each * count as f64 / 1e6,
                calls[index] as f64 / count as f64,
                each / first[index],
            );
        }
    }
}
