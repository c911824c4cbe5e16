//! The program as people and scripts meet it: what it prints, and the code it ends with.
#![expect(
    clippy::disallowed_methods,
    reason = "files around the program are written and read by its tests"
)]

mod command;
mod documents;
mod engine;
mod init;
mod manifests;
mod output;
mod schema;
mod surface;
mod usage;
