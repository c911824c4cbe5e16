//! Tests against a real engine; without one they fail.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::similar_names,
    reason = "a test examines the world, and stops where it is not as expected"
)]

mod docs;
mod engine;
#[path = "../support/live.rs"]
mod support;
