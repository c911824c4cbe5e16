//! Tests against a real engine; without one they fail.

mod engine;
#[path = "../support/live.rs"]
mod support;
