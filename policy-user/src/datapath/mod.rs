//! The kernel's side as the agent sees it: the only module that names aya.
//!
//! What keeps enforcement alive: a pinned link holds its program, the program holds its policy maps, and the pinned state
//! maps outlive both. The agent holds nothing that enforcement needs.

mod chain;
mod early;
mod error;
mod events;
mod fill;
mod generation;
mod hosts;
mod links;
mod machine;
mod names;
mod packets;
mod pins;
mod ring;
mod state;
mod submissions;

pub use chain::programs_at;
pub use early::{EarlyDoor, EarlyPlace};
pub use error::DatapathError;
pub use events::{EventStream, forward_kernel_log};
pub use generation::{Generation, KernelLog, TestPacket, TestResult, object_digest};
pub use hosts::HostCount;
pub use links::{Attached, Coverage, Hook, Inside, Position, Refusal, attach, detach, position};
pub use machine::{MINIMUM_KERNEL, boot_time, check_machine};
pub use names::{AnswerStream, NameTap};
pub use packets::PacketCounts;
pub use pins::Pins;
pub use ring::RingUse;
pub use state::{Counters, ReasonCount, State};
pub use submissions::SubmissionCount;
