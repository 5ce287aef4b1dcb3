//! A clock that is set while attempts are recorded: verdicts are as if it had not been.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "detect_population/mod.rs"]
#[allow(dead_code, reason = "only its hosts are needed here")]
mod population;

use std::net::IpAddr;

use policy_user::detect::clock::Clock;
use policy_user::detect::{Detector, Key, Observation, Preset, Rules, Verdict};
use population::{HOUR, Host, START};

/// The verdict on one host in the end.
fn judge(events: &[Observation], host: &Key) -> Option<Verdict> {
    let mut detector = Detector::new(Rules::of(Preset::Balanced));
    for event in events {
        detector.observe(event);
    }
    detector.flagged().into_iter().find(|report| report.key == *host).map(|report| report.verdict)
}

/// A client with eleven sites in two hours, most of which it tries again: six in the first hour, five in the second. Whoever
/// takes the two hours for one sees more sites than an honest host has. Others try meanwhile, by whose stamps a clock is known.
fn two_hours() -> (Key, Vec<Observation>) {
    let mut client = Host::new("two hours", 1);
    for nth in 0..11u32 {
        let begun = START + nth / 6 * HOUR + 420 * (nth % 6);
        let site = IpAddr::from([131, nth as u8, 0, 25]);
        client.tries(begun, site);
        if nth % 4 != 0 {
            client.tries(begun + 300, site);
        }
    }
    let mut others = Host::new("others", 2);
    for second in 0..2 * HOUR {
        others.tries(START + second, IpAddr::from([203, 0, 113, 25]));
    }
    let mut events = [&client.events[..], &others.events[..]].concat();
    events.sort_by_key(|event| event.time);
    (Key::Mac(client.mac().0), events)
}

#[test]
fn whenever_a_clock_is_set_by_an_hour_the_verdicts_are_as_if_it_had_not_been() {
    let (client, events) = two_hours();
    let verdict = |events: &[Observation]| judge(events, &client);
    assert_eq!(verdict(&events), Some(Verdict::Misconfigured));
    let mut misled = 0;
    for step in [i64::from(HOUR), -i64::from(HOUR)] {
        for minute in (5..120).step_by(5) {
            let stamps: Vec<_> = events
                .iter()
                .map(|event| {
                    let late = event.time >= START + 60 * minute;
                    (i64::from(event.time) + if late { step } else { 0 }) as u32
                })
                .collect();
            let with = |times: &[u32]| -> Vec<_> {
                events.iter().zip(times).map(|(event, time)| Observation { time: *time, ..*event }).collect()
            };
            let mut clock = Clock::default();
            let times: Vec<_> = stamps.iter().map(|stamp| clock.time(*stamp)).collect();
            assert!(times.is_sorted(), "{step} s after {minute} min: time runs backwards");
            // At most the minute it takes to be sure is lost, and afterwards time passes as it did before.
            let passed = i64::from(times[times.len() - 1] - times[0]);
            let lost = i64::from(2 * HOUR) - 1 + step.max(0) - passed;
            assert!((0..=70).contains(&lost), "{step} s after {minute} min: {lost} s are lost");
            assert_eq!(verdict(&with(&times)), Some(Verdict::Misconfigured), "{step} s after {minute} min");
            misled += usize::from(verdict(&with(&stamps)) != Some(Verdict::Misconfigured));
        }
    }
    assert!(misled > 3, "stamps as they are mislead nobody here, so this test proves nothing");
}
