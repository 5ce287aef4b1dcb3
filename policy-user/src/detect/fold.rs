//! One connection, one attempt: repeats of the first packet within two minutes are not counted again.

use std::net::IpAddr;

use super::site::spread;

/// Linux repeats a SYN for 127 seconds.
const WINDOW: u32 = 130;
const SETS: usize = 1 << 15;
const WAYS: usize = 4;

/// Remembers the newest connections, 2 MiB of them. In a flood the oldest are forgotten early, and a repeat counts as an
/// attempt: more attempts, never more sites.
pub struct Fold {
    sets: Vec<[(u64, u32); WAYS]>,
}

impl Fold {
    pub fn new() -> Self {
        Self { sets: vec![[(0, 0); WAYS]; SETS] }
    }

    /// Whether this is a connection's first packet within the window. A window begins with the packet that counted, so that
    /// a client which never changes its port is not hushed up for ever.
    pub fn is_new(&mut self, source: IpAddr, destination: IpAddr, port: u16, time: u32) -> bool {
        // Zero is what an empty place has.
        let name = (bits(source).rotate_left(17) ^ spread(bits(destination) ^ u64::from(port))).max(1);
        let name = spread(name).max(1);
        let Some(set) = self.sets.get_mut(name as usize % SETS) else { return true };
        if let Some((_, since)) = set.iter_mut().find(|(known, _)| *known == name) {
            let new = time.saturating_sub(*since) >= WINDOW;
            if new {
                *since = time;
            }
            return new;
        }
        if let Some(oldest) = set.iter_mut().min_by_key(|(_, since)| *since) {
            *oldest = (name, time);
        }
        true
    }
}

impl Default for Fold {
    fn default() -> Self {
        Self::new()
    }
}

fn bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(ip) => spread(u64::from(ip.to_bits()) | 1 << 40),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            spread(spread((bits >> 64) as u64) ^ bits as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_folded_for_130_seconds_from_the_first() {
        let mut fold = Fold::new();
        let [a, b]: [IpAddr; 2] = ["10.25.0.77".parse().unwrap(), "203.0.113.25".parse().unwrap()];
        let counted: Vec<u32> = (0..=270).step_by(10).filter(|t| fold.is_new(a, b, 4000, *t)).collect();
        assert_eq!(counted, [0, 130, 260]);
        assert!(fold.is_new(a, b, 4001, 270), "another port");
        assert!(fold.is_new(b, a, 4000, 270), "the other direction");
        // A packet that was overtaken.
        assert!(!fold.is_new(a, b, 4001, 268));
    }
}
