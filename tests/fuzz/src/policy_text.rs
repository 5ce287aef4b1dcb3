//! What must hold for every text that is offered as a policy.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::fixed::NOW;
use crate::policy::compile::{CompileError, Instant, compile};
use crate::policy::evaluate::HostPolicy;
use crate::policy::{LoadError, Policy, Revision, parse};

/// # Panics
/// If the loader breaks a promise.
pub fn check(text: &str) {
    match parse(text, NOW, &TimeZone::UTC) {
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a reason");
            let path = PathBuf::from("policy.yaml");
            let error = LoadError::Invalid { path, text: text.to_owned(), diagnostics };
            assert!(!error.render(false).is_empty() && !error.render(true).is_empty());
            assert!(!error.to_string().contains('\n'), "{error} is not one line");
        }
        Ok((policy, _)) => {
            lays_out(&policy, text);
            half_written(&policy, text);
        }
    }
}

fn lays_out(policy: &Policy, text: &str) {
    assert!(!policy.inside.is_empty() && !policy.clients.is_empty());
    assert!((1..=8).contains(&policy.blocked_ports.len()) && !policy.blocked_ports.contains(&0));
    let now = Instant { wall: NOW, boot: 1 };
    match compile(policy, Revision::of(text), now, |_| None) {
        Ok(tables) => {
            HostPolicy::new(&tables, 1);
        }
        Err(CompileError::NoSuchInterface { .. }) => {
            assert!(policy.mail_servers.iter().any(|server| server.interface.is_some()));
        }
    }
}

/// A policy whose end is missing is refused, or means the same. Where to cut follows from the text itself, so that a finding
/// can be repeated.
fn half_written(policy: &Policy, text: &str) {
    let mut seed =
        text.bytes().fold(text.len(), |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    for _ in 0..2 {
        let cut = seed % text.len();
        seed /= 7;
        if !text.is_char_boundary(cut) {
            continue;
        }
        if let Ok((half, _)) = parse(&text[..cut], NOW, &TimeZone::UTC) {
            assert_eq!(&half, policy, "the first {cut} bytes are another valid policy");
        }
    }
}
