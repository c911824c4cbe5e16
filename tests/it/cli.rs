//! The program as people and scripts meet it: what it prints, and the code it ends with.

mod command;
mod documents;
mod engine;
mod manifests;
mod output;
mod schema;
mod usage;
