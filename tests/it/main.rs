//! Tests without a real engine, in one binary.

mod laws;
mod scenarios;
#[path = "../support/world.rs"]
mod world;
