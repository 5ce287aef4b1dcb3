//! The detector's memory on disk, and how its clock goes on after a restart.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::boot_seconds;
use crate::agent::pending::boot_id;
use crate::detect::Memory;
use crate::failure::Failure;
use crate::policy::compile::Instant;
use crate::replace::replace;

/// Of the form below; a file of another one is put aside.
const VERSION: u32 = 2;
/// While the machine was off at most so much time has passed: longer, and all windows are empty anyway.
const LONGEST_PAUSE: i64 = 60 * 86_400;

#[derive(Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    boot_id: String,
    /// Seconds: of the boot's clock, of the wall clock, and of the detector's.
    boot: i64,
    wall: i64,
    time: u32,
    pub memory: Memory,
}

impl Saved {
    pub fn new(now: Instant, time: u32, memory: Memory) -> Self {
        let (boot, wall) = (boot_seconds(now.boot), now.wall.as_second());
        Self { version: VERSION, boot_id: boot_id(), boot, wall, time, memory }
    }

    /// What the last agent left behind. A damaged file is told and put aside.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                log::error!("{}; no host is flagged any more", Failure::io("read", path, &error));
                return None;
            }
        };
        let saved = Self::parse(&bytes);
        if saved.is_none() {
            let aside = path.with_extension("damaged");
            log::error!(
                "{} is damaged or of another version: no host is flagged any more, the file is kept as {}",
                path.display(),
                aside.display()
            );
            let _ = fs::rename(path, aside);
        }
        saved
    }

    /// The same for a reader beside the agent, who puts nothing aside; none where no agent has kept anything.
    pub fn look(path: &Path) -> Result<Option<Self>, Failure> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes).map(Some).ok_or_else(|| {
                Failure::CouldNotRun(format!("{} is damaged or of another version", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", path, &error)),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes::<Self>(bytes).ok().filter(|saved| saved.version == VERSION)
    }

    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|error| Failure::CouldNotRun(format!("can't write {}: {error}", path.display())))?;
        replace(path, &bytes, 0o600).map_err(|error| Failure::io("write", path, &error))
    }

    /// From the clock of this boot to the detector's. Within one boot no clock step counts; over a restart of the machine
    /// only the wall clock says how long it was off, and it is believed within reason.
    pub fn offset(&self, now: Instant) -> i64 {
        self.offset_in(now, &boot_id())
    }

    fn offset_in(&self, now: Instant, boot_id: &str) -> i64 {
        if self.boot_id == boot_id {
            return i64::from(self.time) - self.boot;
        }
        let off = (now.wall.as_second() - self.wall).clamp(0, LONGEST_PAUSE);
        i64::from(self.time) + off - boot_seconds(now.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Detector, Preset, Rules};

    fn saved() -> Saved {
        let memory = Detector::new(Rules::of(Preset::Balanced)).memory(10);
        Saved { version: VERSION, boot_id: "this".into(), boot: 1000, wall: 5_000_000, time: 900_000, memory }
    }

    fn instant(wall: i64, boot: u64) -> Instant {
        Instant { wall: jiff::Timestamp::from_second(wall).unwrap(), boot: boot * 1_000_000_000 }
    }

    #[test]
    fn the_clock_goes_on_through_steps_and_restarts() {
        for (boot_id, wall, boot, time) in [
            // An hour later, in the same boot, whatever the wall clock says.
            ("this", 5_003_600, 4600, 903_600),
            ("this", 36_000_000, 4600, 903_600),
            ("this", 0, 4600, 903_600),
            // The machine has started again.
            ("next", 5_003_600, 20, 903_600),
            ("next", 0, 20, 900_000),
            ("next", 500_000_000, 20, 900_000 + LONGEST_PAUSE),
        ] {
            let now = instant(wall, boot);
            assert_eq!(
                saved().offset_in(now, boot_id) + boot_seconds(now.boot),
                time,
                "{boot_id} {wall} {boot}"
            );
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_is_put_aside_and_never_half_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("detector.bin");
        assert!(Saved::read(&path).is_none());
        saved().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(Saved::read(&path).unwrap().time, 900_000);
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Saved::read(&path).is_none(), "{length} bytes");
            assert!(path.with_extension("damaged").exists());
        }
    }
}
