//! The account of one host in words and on the wall clock: what `GET /v1/hosts` lists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use policy_common::Reason;
use policy_common::abi::{HostCounts, HostKey};
use serde::Serialize;

use crate::attempt::{Lexicon, Mac, wall_time};
use crate::datapath::{HostCount, SubmissionCount};
use crate::policy::compile::Instant;

/// One account; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// Its present name, or the last known one; `#` and the index where none is known.
    pub interface: String,
    pub interface_index: u32,
    /// None on interfaces without MACs, and for the account of a whole interface.
    pub mac: Option<Mac>,
    /// None for the account of all who share the MAC or the interface.
    pub address: Option<IpAddr>,
    pub attempts: u64,
    pub packets: u64,
    pub unlisted: u64,
    pub untold: u64,
    /// None for an account that has counted nothing yet.
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub last_reason: Option<&'static str>,
    /// None where no connection to a submission port was asked for.
    pub submission: Option<Submission>,
}

/// What a host hands in on submission ports; the field names are a contract.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Submission {
    /// Segments that asked for a connection, retransmitted ones too.
    pub syns: u64,
    /// About how many servers they went to on the newest day.
    pub servers: u32,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

impl Account {
    /// The accounts of all hosts, those that only hand in mail too; `now` relates their times to the wall clock.
    pub fn all(
        hosts: &[HostCount],
        submissions: &[SubmissionCount],
        lexicon: &Lexicon,
        now: Instant,
    ) -> Vec<Self> {
        let mut known: BTreeMap<HostKey, (HostCounts, Option<&SubmissionCount>)> =
            hosts.iter().map(|host| (host.key, (host.counts, None))).collect();
        for submission in submissions {
            known.entry(submission.key).or_insert((HostCounts::EMPTY, None)).1 = Some(submission);
        }
        let account = |(key, (counts, submission)): (&HostKey, &(HostCounts, Option<&SubmissionCount>))| {
            Self::new(key, counts, *submission, lexicon.interface(key.ifindex()), now)
        };
        known.iter().map(account).collect()
    }

    fn new(
        key: &HostKey,
        counts: &HostCounts,
        submission: Option<&SubmissionCount>,
        interface: String,
        now: Instant,
    ) -> Self {
        let time = |boot: u64| (counts.first_seen != 0).then(|| wall_time(boot, now));
        let reason = u8::try_from(counts.last_reason).ok().and_then(Reason::from_number);
        Self {
            interface,
            interface_index: key.ifindex(),
            mac: key.mac().map(Mac),
            address: key.address().to_ip(),
            attempts: counts.attempts,
            packets: counts.packets,
            unlisted: counts.unlisted,
            untold: counts.untold,
            first_seen: time(counts.first_seen),
            last_seen: time(counts.last_seen),
            last_reason: reason.filter(|reason| reason.denies()).map(Reason::label),
            submission: submission.map(|it| Submission {
                syns: it.counts.syns,
                servers: it.servers(),
                first_seen: wall_time(it.counts.first_seen, now),
                last_seen: wall_time(it.counts.last_seen, now),
            }),
        }
    }
}
