//! How many packets an attempt took: the kernel counts them on the attempt, and is asked again while more may come.

use std::collections::VecDeque;
use std::time::{Duration, Instant as Tick};

use policy_common::Addr;
use policy_common::abi::{ATTEMPT_ENTRIES, AttemptKey};

use crate::attempt::Attempt;

/// Asks the kernel; none where it has forgotten the attempt.
pub type Count = Box<dyn Fn(&AttemptKey) -> Option<u64> + Send>;

/// How long after its row an attempt is looked at. Linux repeats a SYN for 67 s, with pauses that double, and gives up after
/// two minutes.
const LOOKS: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(30),
    Duration::from_secs(75),
    Duration::from_secs(140),
];

/// The rows whose attempts may still get packets.
#[derive(Default)]
pub struct Packets {
    /// By the number of looks that they have had; in each the oldest first, because all wait equally long.
    stages: [VecDeque<Watched>; LOOKS.len()],
}

struct Watched {
    since: Tick,
    row: i64,
    key: AttemptKey,
    known: u64,
}

impl Packets {
    /// Watches the row of an attempt.
    pub fn watch(&mut self, row: i64, attempt: &Attempt, now: Tick) {
        // The kernel remembers no more, so who comes now has pushed the oldest out there too.
        if self.len() >= ATTEMPT_ENTRIES as usize {
            let _ = self.stages.iter_mut().rev().find_map(VecDeque::pop_front);
        }
        self.stages[0].push_back(Watched { since: now, row, key: key(attempt), known: 1 });
    }

    /// The rows whose attempts have got more packets, with their number; of those whose time to be looked at has come.
    pub fn look(&mut self, now: Tick, count: &Count) -> Vec<(i64, u64)> {
        let mut changed = Vec::new();
        // From the last stage, so that none is looked at twice.
        for stage in (0..LOOKS.len()).rev() {
            while self.stages[stage].front().is_some_and(|it| now.duration_since(it.since) >= LOOKS[stage]) {
                let Some(mut watched) = self.stages[stage].pop_front() else { break };
                let Some(packets) = count(&watched.key) else { continue };
                if packets > watched.known {
                    watched.known = packets;
                    changed.push((watched.row, packets));
                }
                if let Some(next) = self.stages.get_mut(stage + 1) {
                    next.push_back(watched);
                }
            }
        }
        changed
    }

    /// The same for all of them, whose file is about to be sealed; none is watched further.
    pub fn look_last(&mut self, count: &Count) -> Vec<(i64, u64)> {
        let all = self.stages.iter_mut().flat_map(|stage| stage.drain(..));
        all.filter_map(|it| count(&it.key).filter(|packets| *packets > it.known).map(|n| (it.row, n)))
            .collect()
    }

    fn len(&self) -> usize {
        self.stages.iter().map(VecDeque::len).sum()
    }
}

/// What the kernel has the attempt under.
fn key(attempt: &Attempt) -> AttemptKey {
    let address = |ip: Option<std::net::IpAddr>| ip.map_or(Addr::NONE, Addr::from);
    let is_syn = attempt.tcp_flags.split('|').any(|flag| flag == "SYN");
    AttemptKey::of(
        &address(attempt.client),
        &address(attempt.destination),
        [attempt.client_port, attempt.destination_port],
        is_syn.then_some(attempt.tcp_sequence),
        attempt.ifindex,
    )
}
