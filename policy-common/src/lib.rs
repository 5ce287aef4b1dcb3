//! What smtpfence decides about a packet: one parser, one decision order and the kernel ABI, compiled unchanged for kernel and host.
#![no_std]

pub mod abi;
pub mod decide;
pub mod first_bytes;
pub mod flow;
pub mod glance;
pub mod packet;
pub mod plain;
pub mod reason;
pub mod reset;
pub mod sieve;

pub use decide::{Arrival, Decision, PolicyView, decide};
pub use flow::{Addr, Flow, Payload};
pub use packet::{LinkType, PacketView, parse};
pub use reason::Reason;
