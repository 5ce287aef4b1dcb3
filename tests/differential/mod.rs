//! The differential run: random sequences through a gateway with smtpfence and one without, judged by what came out.

pub mod bench;
pub mod judge;
pub mod noise;
pub mod pieces;
pub mod random;
pub mod receiver;
pub mod run;
pub mod sequence;
pub mod single;
