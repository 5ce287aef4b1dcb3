//! Finds the word somebody probably meant.

/// The nearest of `known`, if `word` is a likely misspelling of it.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer than any known word with its allowed mistakes; the distance takes quadratic time.
    if word.len() > 32 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace(['-', ' '], "_");
    let near =
        known.iter().map(|known| (distance(&word, known), *known)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= 1 + near.1.len() / 5).then_some(near.1)
}

/// "`a`, `b` and `c`".
pub fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}

/// Levenshtein distance: insertions, deletions and replacements from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_nothing_else() {
        let known = ["clients", "internal", "mail_servers", "to", "mac"];
        assert_eq!(nearest("client", &known), Some("clients"));
        assert_eq!(nearest("mail-server", &known), Some("mail_servers"));
        assert_eq!(nearest("Clients", &known), Some("clients"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), &known), None);
    }
}
