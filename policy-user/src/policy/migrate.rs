//! Versions of the policy language, and the steps from each to the next.

use super::bundle::Parts;
use super::file::{self, Written};
use super::places;

/// The version that is read here.
pub const CURRENT: u64 = 1;

/// Rewrites the text of a policy for the next version, comments and layout kept.
pub type Step = fn(&str) -> String;

/// The first step leads from version 1 to version 2, and so on. There is one for each version before the current one.
pub const STEPS: [Step; CURRENT as usize - 1] = [];

/// What a policy's `version` says; none where it can't be read.
pub fn version(text: &str) -> Option<u64> {
    let main = Parts::of(text).list.first()?.text;
    if !places::read(main).readable {
        return None;
    }
    match file::read_as::<file::File>(main).ok()? {
        Written::As(file::File { version: Written::As(version), .. }) => Some(version),
        _ => None,
    }
}

/// The text for the version behind the last step; none where there is no way from `version`.
pub fn migrate(text: &str, version: u64, steps: &[Step]) -> Option<String> {
    let done = usize::try_from(version.checked_sub(1)?).ok()?;
    Some(steps.get(done..)?.iter().fold(text.to_owned(), |text, step| step(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_takes_the_steps_that_it_lacks() {
        let steps: [Step; 2] = [|text| text.replace('1', "2"), |text| text.replace('2', "3")];
        let from = |version| migrate(&format!("version: {version}"), version, &steps);
        assert_eq!(from(1).as_deref(), Some("version: 3"));
        assert_eq!(from(2).as_deref(), Some("version: 3"));
        assert_eq!(from(3).as_deref(), Some("version: 3"));
        assert_eq!((from(0), from(4)), (None, None));
    }
}
