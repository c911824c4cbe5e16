//! Tests without a real engine, in one binary.

mod scenarios;
#[path = "../support/world.rs"]
mod world;
