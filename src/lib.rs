//! aishell: a declarative reconciler for Docker sandboxes.
//!
//! ```text
//! manifest -load-> Manifest -resolve(Host, Lock)-> Desired --+
//!                                                            +-plan-> Plan -apply-> Report -render-> person
//! engine   ------------observe---------------> Observed -----+           |             |
//!    ^------------------------ protocol calls -----------------------------+
//! ```

pub mod call;
pub mod dockerfile;
pub mod engine;
pub mod key;
pub mod label;
pub mod observed;
pub mod progress;
pub mod spec;
