//! aishell: a declarative reconciler for Docker sandboxes.
//!
//! ```text
//! manifest -load-> Manifest -resolve(Host, Lock)-> Desired --+
//!                                                            +-plan-> Plan -apply-> Report -render-> person
//! engine   ------------observe---------------> Observed -----+           |             |
//!    ^------------------------ protocol calls -----------------------------+
//! ```

pub mod call;
pub mod desired;
pub mod engine;
pub mod key;
pub mod label;
pub mod manifest;
pub mod observed;
pub mod plan;
pub mod progress;
pub mod report;
pub mod spec;
pub mod step;
