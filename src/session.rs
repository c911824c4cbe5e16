//! A session: somebody at work inside a container.

pub mod environment;
mod git;
