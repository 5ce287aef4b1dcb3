//! Address space cut into ranges: from nested prefixes to disjoint ranges, two of those laid over each other, and back to
//! the prefixes that people read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use policy_common::Addr;

use super::super::compile::Prefix;

/// Addresses of one family from the first to the last, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    pub v6: bool,
    pub first: u128,
    pub last: u128,
}

/// Disjoint ranges in order, each with a value.
pub type Ranges<V> = Vec<(Range, V)>;

/// The same, borrowed.
pub type Slice<'r, V> = &'r [(Range, V)];

impl Range {
    /// Every address of a family.
    pub const fn all(v6: bool) -> Self {
        Self { v6, first: 0, last: if v6 { u128::MAX } else { u32::MAX as u128 } }
    }

    fn of<V>(prefix: &Prefix<V>) -> Self {
        let [a, b, c, d, ..] = *prefix.addr.bytes();
        let v6 = prefix.addr.family() == Addr::IPV6;
        let first = if v6 {
            u128::from_be_bytes(*prefix.addr.bytes())
        } else {
            u32::from_be_bytes([a, b, c, d]).into()
        };
        // The bits behind the prefix, without shifting by the whole width.
        let hosts = Self::all(v6).last.checked_shr(prefix.len.into()).unwrap_or(0);
        Self { v6, first, last: first | hosts }
    }

    pub fn is_all(&self) -> bool {
        *self == Self::all(self.v6)
    }

    /// Whether it ends before the other begins.
    fn is_before(&self, other: &Self) -> bool {
        (self.v6, self.last) < (other.v6, other.first)
    }

    /// The fewest prefixes that make it up, in order.
    pub fn nets(self) -> impl Iterator<Item = IpNet> {
        let bits: u32 = if self.v6 { 128 } else { 32 };
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let first = next.filter(|first| *first <= self.last)?;
            let aligned = first.trailing_zeros().min(bits);
            // A block of 2^n addresses must not reach beyond the last one.
            let left = self.last - first;
            let fits = left.checked_add(1).map_or(128, u128::ilog2);
            let block = aligned.min(fits);
            next = 1u128.checked_shl(block).and_then(|size| first.checked_add(size));
            let len = u8::try_from(bits - block).unwrap_or(0);
            IpNet::new(self.address(first), len).ok()
        })
    }

    fn address(self, number: u128) -> IpAddr {
        if self.v6 {
            Ipv6Addr::from(number).into()
        } else {
            // A range of this family has no larger numbers.
            Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into()
        }
    }
}

/// Cuts nested prefixes, sorted with the outer ones first, into disjoint ranges with the value of the longest prefix.
pub fn flattened<V: Copy>(prefixes: impl IntoIterator<Item = Prefix<V>>) -> Ranges<V> {
    let mut flat = Vec::new();
    let mut around: Vec<(Range, V)> = Vec::new();
    // Where the part of the innermost open prefix begins that is not told yet; none behind the last address.
    let mut from = Some(0);
    let close = |flat: &mut Ranges<V>, (range, value): (Range, V), from: &mut Option<u128>| {
        if let Some(first) = from.filter(|first| *first <= range.last) {
            flat.push((Range { first, ..range }, value));
            *from = range.last.checked_add(1);
        }
    };
    for prefix in prefixes {
        let range = Range::of(&prefix);
        while let Some(open) = around.pop_if(|(open, _)| open.is_before(&range)) {
            close(&mut flat, open, &mut from);
        }
        if let Some((open, value)) = around.last()
            && let Some(first) = from.filter(|first| *first < range.first)
        {
            flat.push((Range { first, last: range.first - 1, ..*open }, *value));
        }
        from = Some(range.first);
        around.push((range, prefix.value));
    }
    while let Some(open) = around.pop() {
        close(&mut flat, open, &mut from);
    }
    flat
}

/// Lays two lists over each other: every range in which neither changes, with the values of both.
pub fn overlaid<A: Copy, B: Copy>(a: Slice<'_, A>, b: Slice<'_, B>) -> Ranges<(Option<A>, Option<B>)> {
    let mut both = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().copied(), b.iter().copied());
    let (mut left, mut right) = (a.next(), b.next());
    loop {
        match (&mut left, &mut right) {
            (None, None) => return both,
            (Some((range, value)), None) => {
                both.push((*range, (Some(*value), None)));
                left = a.next();
            }
            (None, Some((range, value))) => {
                both.push((*range, (None, Some(*value))));
                right = b.next();
            }
            (Some((x, value)), Some((y, _))) if (x.v6, x.first) < (y.v6, y.first) => {
                both.push((cut(x, y), (Some(*value), None)));
                left = left.filter(|(x, _)| x.first <= x.last).or_else(|| a.next());
            }
            (Some((x, _)), Some((y, value))) if (y.v6, y.first) < (x.v6, x.first) => {
                both.push((cut(y, x), (None, Some(*value))));
                right = right.filter(|(y, _)| y.first <= y.last).or_else(|| b.next());
            }
            (Some((x, in_a)), Some((y, in_b))) => {
                let last = x.last.min(y.last);
                both.push((Range { last, ..*x }, (Some(*in_a), Some(*in_b))));
                left = rest(left, last).or_else(|| a.next());
                right = rest(right, last).or_else(|| b.next());
            }
        }
    }
}

/// Takes from `range` what lies before `other`; what is left may be empty, with its first address behind its last.
fn cut(range: &mut Range, other: &Range) -> Range {
    let whole = *range;
    if whole.is_before(other) {
        // Not `last + 1`, which the last address of all doesn't have.
        (range.first, range.last) = (1, 0);
        return whole;
    }
    range.first = other.first;
    Range { last: other.first - 1, ..whole }
}

/// What is left of a range behind `last`.
fn rest<V>(range: Option<(Range, V)>, last: u128) -> Option<(Range, V)> {
    let (range, value) = range?;
    let first = last.checked_add(1).filter(|first| *first <= range.last)?;
    Some((Range { first, ..range }, value))
}

/// The parts of `range` that none of `holes` holds; looks only at the holes in it.
pub fn without(range: Range, holes: Slice<'_, ()>) -> Vec<Range> {
    let from = holes.partition_point(|(hole, ())| hole.is_before(&range));
    let inside = holes[from..].iter().take_while(|(hole, ())| !range.is_before(hole)).copied();
    let left = overlaid(&[(range, ())], &inside.collect::<Vec<_>>());
    left.into_iter().filter(|(_, (of, hole))| of.is_some() && hole.is_none()).map(|(part, _)| part).collect()
}

/// Joins neighbours, which must be in order.
pub fn joined(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(open) if open.v6 == range.v6 && range.first <= open.last.saturating_add(1) => {
                open.last = open.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[(&str, char)]) -> Vec<Prefix<char>> {
        let mut prefixes: Vec<_> = texts
            .iter()
            .map(|(text, value)| {
                let net: IpNet = text.parse().unwrap();
                Prefix { addr: net.addr().into(), len: net.prefix_len(), value: *value }
            })
            .collect();
        prefixes.sort_by_key(|prefix| (prefix.addr, prefix.len));
        prefixes
    }

    fn shown<V: std::fmt::Debug>(ranges: &[(Range, V)]) -> Vec<String> {
        let nets = |range: &Range| range.nets().map(|net| net.to_string()).collect::<Vec<_>>().join(" ");
        ranges.iter().map(|(range, value)| format!("{} {value:?}", nets(range))).collect()
    }

    #[test]
    fn nested_prefixes_become_disjoint_ranges() {
        let flat = flattened(prefixes(&[
            ("10.0.0.0/30", 'a'),
            ("10.0.0.1/32", 'b'),
            ("10.0.0.3/32", 'c'),
            ("255.255.255.255/32", 'd'),
            ("::/0", 'e'),
            ("ffff::/16", 'f'),
        ]));
        let around: Vec<String> =
            (0..16).map(|bit| format!("{:x}::/{}", 0x1_0000 - (0x1_0000 >> bit), bit + 1)).collect();
        let around = around.join(" ");
        assert_eq!(
            shown(&flat),
            [
                "10.0.0.0/32 'a'",
                "10.0.0.1/32 'b'",
                "10.0.0.2/32 'a'",
                "10.0.0.3/32 'c'",
                "255.255.255.255/32 'd'",
                &format!("{} 'e'", around.replacen("0::", "::", 1)),
                "ffff::/16 'f'",
            ]
        );
    }

    #[test]
    fn two_lists_are_cut_where_either_changes() {
        let a = flattened(prefixes(&[("10.0.0.0/30", 'a'), ("0.0.0.0/0", 'z'), ("::1/128", 'b')]));
        let b = flattened(prefixes(&[("10.0.0.2/31", 'x'), ("::/127", 'y')]));
        let both = overlaid(&a, &b);
        assert_eq!(
            both.iter()
                .map(|(range, _)| range.last.saturating_sub(range.first).saturating_add(1))
                .take(4)
                .collect::<Vec<_>>(),
            [10 << 24, 2, 2, (246 << 24) - 4]
        );
        assert_eq!(
            shown(&both)[1..3],
            ["10.0.0.0/31 (Some('a'), None)", "10.0.0.2/31 (Some('a'), Some('x'))"]
        );
        assert_eq!(shown(&both)[4..], ["::/128 (None, Some('y'))", "::1/128 (Some('b'), Some('y'))"]);
    }

    #[test]
    fn the_whole_space_is_one_prefix() {
        for v6 in [false, true] {
            let nets: Vec<IpNet> = Range::all(v6).nets().collect();
            assert_eq!(nets.iter().map(IpNet::prefix_len).collect::<Vec<_>>(), [0]);
        }
    }

    #[test]
    fn holes_are_left_out() {
        let holes = flattened(prefixes(&[("10.0.0.1/32", 'a'), ("10.0.0.4/30", 'b'), ("11.0.0.0/8", 'c')]));
        let holes: Vec<_> = holes.into_iter().map(|(range, _)| (range, ())).collect();
        let range = flattened(prefixes(&[("10.0.0.0/29", 'r')]))[0].0;
        let left: Vec<_> = without(range, &holes).into_iter().map(|range| (range, ())).collect();
        assert_eq!(shown(&left), ["10.0.0.0/32 ()", "10.0.0.2/31 ()"]);
    }
}
