//! Tests that need no engine.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test stops where the world is not as expected"
)]

mod busy;
mod claims;
mod cli;
mod corners;
mod dependencies;
#[expect(dead_code, reason = "not every kind of choice is made here")]
#[path = "../support/dice.rs"]
mod dice;
mod failed;
mod fetched;
mod formerly;
#[expect(dead_code, reason = "not everything that a server can do is wanted here")]
#[path = "../support/git.rs"]
mod git;
mod keys;
mod laws;
mod outage;
mod phases;
mod prune;
mod requested;
mod saved;
mod scenarios;
mod sets;
mod shell;
#[path = "../support/surface.rs"]
mod surface;
mod systemd;
mod watch;
mod widening;
#[path = "../support/world.rs"]
mod world;
