//! The world held in a value.
