//! A network of namespaces (clients, mail server, gateway, internet) for tests and the demo, gone when dropped.
//!
//! ```text
//!  client 0  10.25.0.77  fd25::77 ─┐
//!  client 1  10.25.0.78  fd25::78 ─┤ switch ── lan0 gateway wan0 ── wan0 internet
//!  mail      10.25.0.25  fd25::25 ─┘           (.1)  NAT?  (.1)     203.0.113.25, 2001:db8:ff::25, …
//! ```
//!
//! Needs root, iproute2, util-linux and, for NAT, nft. Addresses are private or for documentation, and no
//! namespace has a way out, so nothing sent here ever leaves the machine.

pub mod agent;
pub mod child;
pub mod endurance;
pub mod frame;
pub mod gate;
pub mod host;
pub mod listener;
pub mod packet;
pub mod sniffer;
pub mod tun;

mod addresses;
mod iproute;
mod leftovers;
mod sys;
mod topology;

pub use addresses::provider;
pub use agent::{Agent, built_binary};
pub use child::ChildGuard;
pub use frame::Mac;
pub use gate::is_root;
pub use host::{Host, Interface};
pub use listener::Listener;
pub use packet::{Captured, RawSocket};
pub use sniffer::Sniffer;
pub use topology::{Lab, LabBuilder};
pub use tun::Tun;
