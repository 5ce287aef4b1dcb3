//! The fixed policy as the product loads it.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::policy::compile::{Instant, Tables, compile};
use crate::policy::evaluate::HostPolicy;
use crate::policy::{Revision, parse};
use crate::rules::POLICY;

/// A moment long before the exception ends.
pub const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Nanoseconds since an imagined start of the machine.
const BOOT: u64 = 1_000_000_000_000;

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let (policy, _) = parse(POLICY, NOW, &TimeZone::UTC).expect("the fixed policy is valid");
    let now = Instant { wall: NOW, boot: BOOT };
    compile(&policy, Revision::of(POLICY), now, |_| None).expect("it names no interface")
});

/// The fixed policy, ready to decide.
pub fn policy() -> &'static HostPolicy<'static> {
    static HOST: LazyLock<HostPolicy<'static>> = LazyLock::new(|| HostPolicy::new(&TABLES, BOOT));
    &HOST
}
