//! What was sent, what arrived, what was blocked, and whether that is what should be.

use std::fmt;

/// What should become of something sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Should {
    Arrive,
    /// Stopped, and each attempt in the log if an agent runs that keeps one.
    BeBlocked,
}

/// One thing that was tried.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub should: Should,
    /// Messages, or connections.
    pub sent: usize,
    pub arrived: usize,
    /// TCP segments to port 25 that left the gateway for the internet meanwhile.
    pub left: usize,
    /// Blocked attempts in smtpfence's log; `None` while no agent runs.
    pub logged: Option<usize>,
}

/// All that was tried.
#[derive(Default)]
pub struct Tally(pub Vec<Row>);

impl Row {
    fn as_expected(&self) -> bool {
        match self.should {
            Should::Arrive => self.arrived == self.sent && self.logged.unwrap_or(0) == 0,
            Should::BeBlocked => {
                self.arrived == 0 && self.left == 0 && self.logged.is_none_or(|logged| logged == self.sent)
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let logged = self.logged.map_or("no agent".into(), |logged| logged.to_string());
        [
            self.what.clone(),
            self.sent.to_string(),
            self.arrived.to_string(),
            (self.sent.saturating_sub(self.arrived)).to_string(),
            self.left.to_string(),
            logged,
            if self.as_expected() { "as it should" } else { "WRONG" }.into(),
        ]
    }
}

impl Tally {
    pub fn all_as_expected(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(Row::as_expected)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "sent", "arrived", "blocked", "left on 25", "logged", ""].map(String::from);
        let rows: Vec<_> = std::iter::once(head).chain(self.0.iter().map(Row::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            write!(f, "   {:<w$}", row[0], w = widths[0])?;
            for (cell, width) in row[1..6].iter().zip(&widths[1..6]) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f, "  {}", row[6])?;
        }
        writeln!(f, "   (left on 25: TCP segments to port 25 seen leaving the gateway for the internet)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(should: Should, arrived: usize, left: usize, logged: Option<usize>) -> Row {
        Row { what: "x".into(), should, sent: 2, arrived, left, logged }
    }

    #[test]
    fn whatever_leaks_or_is_lost_or_is_not_logged_is_wrong() {
        for good in [
            row(Should::Arrive, 2, 9, Some(0)),
            row(Should::Arrive, 2, 0, None),
            row(Should::BeBlocked, 0, 0, Some(2)),
            row(Should::BeBlocked, 0, 0, None),
        ] {
            assert!(good.as_expected(), "{good:?}");
        }
        for bad in [
            row(Should::Arrive, 1, 9, Some(0)),
            row(Should::Arrive, 2, 9, Some(1)),
            row(Should::BeBlocked, 1, 0, Some(2)),
            row(Should::BeBlocked, 0, 1, Some(2)),
            row(Should::BeBlocked, 0, 0, Some(1)),
            row(Should::BeBlocked, 0, 1, None),
        ] {
            assert!(!bad.as_expected(), "{bad:?}");
        }
        assert!(!Tally::default().all_as_expected());
    }
}
