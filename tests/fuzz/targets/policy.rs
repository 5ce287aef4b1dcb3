//! Fuzz target: any text as a policy.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| smtpfence_fuzz::policy_text::check(text));
