//! Which networks cover which others, in time that stays linear for a million of them.

use ipnet::IpNet;

/// The addresses of a list of networks, as merged ranges that can be searched.
#[derive(Debug, Default)]
pub struct Coverage {
    ranges: Vec<Range>,
}

/// First and last address; families are kept apart by the first field.
type Range = (bool, u128, u128);

fn range(net: &IpNet) -> Range {
    match net {
        IpNet::V4(net) => (false, u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (true, net.network().into(), net.broadcast().into()),
    }
}

impl Coverage {
    pub fn of<'n>(nets: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let mut all: Vec<Range> = nets.into_iter().map(range).collect();
        all.sort_unstable();
        let mut ranges: Vec<Range> = Vec::new();
        for (family, first, last) in all {
            match ranges.last_mut() {
                Some(open) if open.0 == family && first <= open.2.saturating_add(1) => {
                    open.2 = open.2.max(last)
                }
                _ => ranges.push((family, first, last)),
            }
        }
        Self { ranges }
    }

    /// Whether every address of `net` is in one of the networks.
    pub fn contains(&self, net: &IpNet) -> bool {
        let (family, first, last) = range(net);
        let after = self.ranges.partition_point(|range| (range.0, range.1) <= (family, first));
        let around = after.checked_sub(1).and_then(|index| self.ranges.get(index));
        around.is_some_and(|range| range.0 == family && last <= range.2)
    }

    pub fn contains_all(&self, nets: &[IpNet]) -> bool {
        nets.iter().all(|net| self.contains(net))
    }
}

/// Pairs of indices: an entry that says nothing, because the other one covers it. Of two equal ones the later.
pub fn covered(nets: &[IpNet]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..nets.len()).collect();
    // Prefixes nest or are apart: in order of their starts, the wider first, only the latest one that nothing covers
    // can cover the next.
    order.sort_by_key(|index| {
        let (family, first, last) = range(&nets[*index]);
        (family, first, std::cmp::Reverse(last))
    });
    let mut pairs = Vec::new();
    let mut outer: Option<usize> = None;
    for index in order {
        match outer {
            Some(outer) if nets[outer].contains(&nets[index]) => pairs.push((index, outer)),
            _ => outer = Some(index),
        }
    }
    pairs
}

/// Pairs of indices: an entry, and the narrowest one around it. Of equal ones the earlier is around the later.
pub fn enclosed(nets: &[IpNet]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..nets.len()).collect();
    // A network stands before those it contains, and they before all that begin after its end.
    order.sort_by_key(|index| nets[*index]);
    let mut pairs = Vec::new();
    let mut around: Vec<usize> = Vec::new();
    for index in order {
        while around.pop_if(|outer| !nets[*outer].contains(&nets[index])).is_some() {}
        if let Some(outer) = around.last() {
            pairs.push((index, *outer));
        }
        around.push(index);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn coverage_joins_neighbours_and_keeps_families_apart() {
        let coverage = Coverage::of(&nets(&["10.0.1.0/24", "10.0.0.0/24", "fd25::/64", "0.0.0.9/32"]));
        for (net, inside) in [
            ("10.0.0.0/23", true),
            ("10.0.1.255/32", true),
            ("10.0.2.0/32", false),
            ("10.0.0.0/22", false),
            ("fd25::/64", true),
            ("fd25::/63", false),
            ("::9/128", false),
            ("::/0", false),
        ] {
            assert_eq!(coverage.contains(&net.parse().unwrap()), inside, "{net}");
        }
        assert!(!Coverage::default().contains(&"::/0".parse().unwrap()));
    }

    #[test]
    fn the_covered_entry_is_named_with_the_one_that_covers_it() {
        let list =
            nets(&["10.0.0.64/26", "10.0.0.0/24", "10.0.1.0/24", "10.0.1.0/24", "fd25::1/128", "::/0"]);
        assert_eq!(covered(&list), [(0, 1), (3, 2), (4, 5)]);
    }

    #[test]
    fn the_narrowest_network_around_an_entry_is_named() {
        let list =
            nets(&["10.0.0.64/26", "10.0.0.0/24", "10.0.0.65/32", "10.0.1.0/24", "10.0.0.0/8", "::/0"]);
        assert_eq!(enclosed(&list), [(1, 4), (0, 1), (2, 0), (3, 4)]);
        assert_eq!(enclosed(&nets(&["0.0.0.0/0", "10.0.0.0/8", "::/0", "10.0.0.0/8"])), [(1, 0), (3, 1)]);
    }
}
