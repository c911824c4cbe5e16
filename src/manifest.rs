//! Temporary.
pub mod place;
