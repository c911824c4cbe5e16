//! Tests that need no engine.
#![allow(
    clippy::expect_used,
    reason = "a test stops where the world is not as expected"
)]

mod cli;
mod dependencies;
mod laws;
mod scenarios;
#[path = "../support/world.rs"]
mod world;
