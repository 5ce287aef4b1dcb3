//! Time of recorded attempts that never runs backwards, whatever the clock did that stamped them.

/// Packets overtake one another by less than this; more is a clock that was set.
const OVERTAKEN: u32 = 30;
/// So many records in a row behind the others: they are not stragglers, the clock was set back.
const CONVINCED: u32 = 64;

/// Turns the stamps of a recording into times that windows can run on.
#[derive(Default)]
pub struct Clock {
    /// The latest time that was given out.
    latest: u32,
    offset: u32,
    behind: u32,
}

impl Clock {
    /// The time of a record. A record from behind counts as of now until it is clear that the clock was set back; then time
    /// goes on from where it was. A jump ahead is taken for silence: windows empty, nobody is flagged for it.
    pub fn time(&mut self, stamp: u32) -> u32 {
        let time = stamp.saturating_add(self.offset);
        if self.latest.saturating_sub(time) <= OVERTAKEN {
            self.behind = 0;
            self.latest = self.latest.max(time);
            return time;
        }
        self.behind += 1;
        if self.behind >= CONVINCED {
            self.offset = self.latest.saturating_sub(stamp);
            self.behind = 0;
        }
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_from_where_it_was() {
        let mut clock = Clock::default();
        assert_eq!(clock.time(100_000), 100_000);
        assert_eq!(clock.time(99_998), 99_998, "overtaken");
        for _ in 0..CONVINCED {
            assert_eq!(clock.time(96_400), 100_000);
        }
        assert_eq!(clock.time(96_460), 100_060);
        // And a straggler from elsewhere changes nothing.
        assert_eq!(clock.time(10), 100_060);
        assert_eq!(clock.time(96_461), 100_061);
    }
}
