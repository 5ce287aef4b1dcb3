//! Fuzz target: any bytes as a packet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| smtpfence_fuzz::packet::check(bytes));
