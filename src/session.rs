//! A session: somebody at work inside a container.

pub mod consent;
pub mod environment;
mod git;
