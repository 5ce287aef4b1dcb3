//! How sure is sure: what a policy says about detection, which is the numbers that verdicts are measured against in three
//! presets, each number changeable, and what hosts are told apart by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sites a host's table has room for; no limit on sites can be higher.
pub const SLOTS: usize = 20;

/// What hosts are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HostKey {
    /// The MAC, unless it is a router's.
    #[default]
    Auto,
    Mac,
    Address,
}

/// A named set of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Flags early; for networks where nobody should try at all.
    Sensitive,
    #[default]
    Balanced,
    /// Flags late; for guest networks and many clients behind one address.
    Strict,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $sensitive:literal, $balanced:literal, $strict:literal, $most:expr;)*) => {
        /// What a host must reach to be flagged. `docs/detection.md` explains each number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u32,)*
        }

        impl Limits {
            /// The names of all numbers.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            /// What each of them means, in the same order.
            pub const MEANINGS: &'static [&'static str] = &[$(concat!($($doc),+)),*];

            pub const fn of(preset: Preset) -> Self {
                match preset {
                    Preset::Sensitive => Self { $($name: $sensitive,)* },
                    Preset::Balanced => Self { $($name: $balanced,)* },
                    Preset::Strict => Self { $($name: $strict,)* },
                }
            }

            /// Changes one number; the error says what is possible.
            pub fn set(&mut self, name: &str, value: u32) -> Result<(), String> {
                match name {
                    $(stringify!($name) => {
                        let most: u32 = $most;
                        // Only time can be nothing; nobody is flagged for no attempt.
                        let least = u32::from(name != "minutes");
                        if !(least..=most).contains(&value) {
                            return Err(format!("`{name}` goes from {least} to {most}"));
                        }
                        self.$name = value;
                    })*
                    _ => return Err(format!("the numbers are {}", Self::NAMES.join(", "))),
                }
                Ok(())
            }
        }
    };
}

limits! {
    /// Tenths of evidence for `infected`: natural logarithm of how much likelier a bot is than a client.
    score: 100, 140, 200, 10_000;
    /// Sites in 24 hours for `infected`, together with `score` or `abandoned`.
    sites_day: 8, 12, 16, SLOTS as u32;
    /// Sites that were tried once and given up, for `infected`, together with `sites_day`.
    abandoned: 5, 8, 10, SLOTS as u32;
    /// Sites in one hour for `infected`.
    sites_hour: 10, 16, 20, SLOTS as u32;
    /// Sites in one hour for `suspect`.
    suspect_sites_hour: 6, 10, 12, SLOTS as u32;
    /// Sites in 24 hours that were tried once and given up, for `suspect`.
    suspect_abandoned: 4, 5, 7, SLOTS as u32;
    /// Sites in 7 days, most of them given up, for `suspect`.
    suspect_sites_week: 8, 10, 14, SLOTS as u32;
    /// Attempts in one hour for `suspect`.
    suspect_attempts_hour: 300, 600, 1800, 1_000_000;
    /// Sites in one short visit to port 25 that count as a probe.
    probe_sites: 3, 3, 4, SLOTS as u32;
    /// Probes at irregular hours for `suspect`.
    probes: 2, 3, 5, 250;
    /// Attempts for `misconfigured`.
    attempts: 3, 3, 5, 1_000_000;
    /// Minutes between the first and the newest attempt for `misconfigured`.
    minutes: 5, 10, 30, 100_000;
    /// Days without an attempt after which `misconfigured` and `suspect` end.
    quiet_days: 7, 7, 3, 3650;
    /// Days without an attempt after which `infected` ends.
    infected_quiet_days: 60, 30, 14, 3650;
}

impl HostKey {
    pub fn named(name: &str) -> Option<Self> {
        [("auto", Self::Auto), ("mac", Self::Mac), ("address", Self::Address)]
            .into_iter()
            .find_map(|(label, key)| (label == name).then_some(key))
    }
}

impl Preset {
    pub const ALL: [Self; 3] = [Self::Sensitive, Self::Balanced, Self::Strict];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Sensitive => "sensitive",
            Self::Balanced => "balanced",
            Self::Strict => "strict",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.label() == name)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_can_be_changed_within_what_the_table_holds() {
        let mut limits = Limits::of(Preset::Balanced);
        for name in Limits::NAMES {
            limits.set(name, 7).unwrap();
            assert!(limits.set(name, u32::MAX).is_err(), "{name}");
            assert_eq!(limits.set(name, 0).is_ok(), *name == "minutes", "{name}");
        }
        assert_eq!((limits.sites_hour, limits.minutes), (7, 0));
        assert_eq!(limits.set("sites_hour", 21).unwrap_err(), "`sites_hour` goes from 1 to 20");
        assert!(limits.set("sites", 3).unwrap_err().contains("sites_hour"));
    }
}
