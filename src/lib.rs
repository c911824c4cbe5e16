//! aishell: a declarative reconciler for Docker sandboxes.
//!
//! ```text
//! manifest -load-> Manifest -resolve(Host, Lock)-> Desired --+
//!                                                            +-plan-> Plan -apply-> Report -render-> person
//! engine   ------------observe---------------> Observed -----+           |             |
//!    ^------------------------ protocol calls -----------------------------+
//! ```

pub mod apply;
pub mod builtin;
pub mod call;
pub mod catalogue;
pub mod claim;
pub mod cli;
pub mod context;
pub mod controller;
pub mod desired;
pub mod dockerfile;
pub mod engine;
pub mod facts;
pub mod fetch;
pub mod grant;
pub mod host;
pub mod key;
pub mod label;
pub mod lock;
pub mod manifest;
pub mod name;
pub mod observe;
pub mod observed;
pub mod pin;
pub mod plan;
pub mod platform;
pub mod prepare;
pub mod progress;
pub mod protocol;
pub mod prune;
pub mod readiness;
pub mod reconcile;
pub mod remote;
pub mod report;
pub mod saved;
pub mod secret;
pub mod session;
pub mod shell;
pub mod spec;
pub mod status;
pub mod step;
pub mod stock;
pub mod units;
mod written;
