//! The real Docker engine.
