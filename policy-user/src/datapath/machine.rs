//! What the machine must bring: kernel version, rights, and the clock that kernel and agent share.

use rustix::time::{ClockId, clock_gettime};

use super::error::DatapathError;
use crate::rights;

/// First kernel with TCX, whose links can be pinned and swapped (commit e420bed02507).
pub const MINIMUM_KERNEL: (u32, u32) = (6, 6);

/// Refuses a machine on which enforcement could not work.
pub fn check_machine() -> Result<(), DatapathError> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if version(&release).is_none_or(|version| version < MINIMUM_KERNEL) {
        let (major, minor) = MINIMUM_KERNEL;
        return Err(DatapathError::KernelTooOld {
            found: release.into_owned(),
            needed: format!("{major}.{minor}"),
        });
    }
    if !rights::enough() {
        return Err(DatapathError::NoRights);
    }
    Ok(())
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock of `bpf_ktime_get_boot_ns`: no clock step changes it.
pub fn boot_time() -> u64 {
    read(ClockId::Boottime)
}

/// For how long the machine was suspended: `CLOCK_BOOTTIME` counts that, `CLOCK_MONOTONIC` doesn't.
pub fn asleep() -> u64 {
    boot_time().saturating_sub(read(ClockId::Monotonic))
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Major and minor number of a release such as `6.18.44-fc-v769`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        for (release, supported) in [
            ("6.18.44-fc-v769", true),
            ("6.6.0", true),
            ("6.6-rc1", true),
            ("6.5.13", false),
            ("6.1.0-50-amd64", false),
            ("5.15", false),
            ("10.0", true),
            ("garbage", false),
            ("", false),
        ] {
            assert_eq!(version(release).is_some_and(|v| v >= MINIMUM_KERNEL), supported, "{release:?}");
        }
    }
}
