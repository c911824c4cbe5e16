//! Tests against a real engine; without one they fail.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::many_single_char_names,
    clippy::print_stderr,
    clippy::similar_names,
    reason = "a test examines the world, and stops where it is not as expected"
)]

mod apply;
mod bare;
mod build;
mod builtin;
mod busy;
mod bystander;
mod chain;
mod change;
mod claims;
mod cut;
mod decoys;
mod deep;
mod delete;
mod discourse;
mod docs;
mod drift;
mod engine;
mod failure;
mod fetched;
mod fields;
mod formerly;
mod full;
mod gate;
mod harness;
mod held;
mod identity;
mod input;
mod inputs;
mod kinds;
mod lock;
mod login;
mod logs;
mod lost;
mod matrix;
mod memory;
mod onbuild;
mod outage;
mod phantom;
mod phases;
mod proxies;
mod prune;
mod pull;
mod reading;
mod ready;
mod refused;
mod registries;
mod replace;
mod repos;
mod requested;
mod run;
mod saved;
mod secrets;
mod session;
mod sets;
mod severed;
mod shapes;
mod stage;
mod strangers;
mod sweep;
mod tools;
mod watch;
mod widening;

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/git.rs"]
mod git;
#[path = "../support/packages.rs"]
mod packages;
#[path = "../support/project.rs"]
mod project;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/registry.rs"]
mod registry;
#[path = "../support/live.rs"]
mod support;
#[path = "../support/surface.rs"]
mod surface;
#[path = "../support/terminal.rs"]
mod terminal;
