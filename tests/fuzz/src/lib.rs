//! What the fuzz targets share: a second parser, the rules of a fixed policy, and what must hold for every input.

/// The loader, compiled into this crate: that spares a fuzz build the kernel programs, aya and tokio.
#[path = "../../../policy-user/src/policy/mod.rs"]
pub mod policy;

/// What a policy says about detection; the detector has no part in it.
#[path = "../../../policy-user/src/detect/presets.rs"]
pub mod detect;

pub mod fixed;
pub mod packet;
pub mod policy_text;
pub mod reference;
pub mod reset;
pub mod rules;
