//! What happens to one sandbox when one thing happens to it.

use aishell::engine::memory::MemoryEngine;
use serde_json::json;

use crate::world::{Wish, converged, planned, steps, wish, world};

fn demo() -> Wish {
    wish()
        .harness("claude", "2.0.22")
        .container("api", json!({ "harness": "claude" }))
}

#[test]
fn a_first_pass_makes_everything_and_a_second_finds_nothing_to_do() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    engine.forget();
    converged(&engine, &demo());
    assert_eq!(engine.writes(), []);
}
