//! aishell: a declarative reconciler for Docker sandboxes.
//!
//! ```text
//! manifest -load-> Manifest -resolve(Host, Lock)-> Desired --+
//!                                                            +-plan-> Plan -apply-> Report -render-> person
//! engine   ------------observe---------------> Observed -----+           |             |
//!    ^------------------------ protocol calls -----------------------------+
//! ```
