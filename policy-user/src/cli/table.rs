//! Aligned tables for people.

use std::io::{self, Write};

use super::when;

/// Rows of cells under a heading; every column is as wide as its widest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers are aligned to the right.
    numbers: Vec<bool>,
}

impl Table {
    /// A `>` in front of a heading makes a column of numbers.
    /// Times are local: `first` and `last` get the name of the zone behind them.
    pub fn new(headings: &[&str]) -> Self {
        let numbers = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let headings = headings.iter().map(|heading| match *heading {
            time @ ("first" | "last") => format!("{time} ({})", when::zone()),
            heading => heading.trim_start_matches('>').to_owned(),
        });
        Self { rows: vec![headings.collect()], numbers }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.numbers.len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), number) in row.iter().zip(&widths).zip(&self.numbers) {
                line.push_str(&if *number {
                    format!("{cell:>width$}  ")
                } else {
                    format!("{cell:<width$}  ")
                });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
