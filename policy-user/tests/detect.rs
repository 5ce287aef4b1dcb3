//! The detector on made-up hosts: who is called what, how soon, and what must not change it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "detect_population/mod.rs"]
mod population;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use policy_user::attempt::Mac;
use policy_user::detect::clock::Clock;
use policy_user::detect::{Change, Detector, Key, Memory, Note, Observation, Preset, Rules, Verdict};
use population::{DAY, Dice, HOUR, Host, KINDS, START};

fn detector() -> Detector {
    Detector::new(Rules::of(Preset::Balanced))
}

fn hosts(seed: u64, each: u32) -> Vec<Host> {
    let mut dice = Dice(seed);
    let mut hosts = Vec::new();
    for kind in KINDS {
        for _ in 0..each {
            let mut host = Host::new(kind.name, hosts.len() as u32 + 1);
            (kind.make)(&mut host, &mut dice);
            hosts.push(host);
        }
    }
    hosts
}

fn in_order(hosts: &[Host]) -> Vec<Observation> {
    let mut events: Vec<_> = hosts.iter().flat_map(|host| host.events.iter().copied()).collect();
    events.sort_by_key(|event| event.time);
    events
}

/// The gravest verdict of each host and when it was reached.
fn verdicts(changes: &[Change]) -> BTreeMap<Key, (Verdict, u32)> {
    let mut found = BTreeMap::new();
    for change in changes {
        let reached = (change.report.verdict, change.report.since);
        let known = found.entry(change.report.key).or_insert(reached);
        if reached.0 > known.0 {
            *known = reached;
        }
    }
    found
}

fn run(detector: &mut Detector, events: &[Observation]) -> Vec<Change> {
    events.iter().filter_map(|event| detector.observe(event)).collect()
}

fn judge(events: &[Observation]) -> BTreeMap<Key, (Verdict, u32)> {
    verdicts(&run(&mut detector(), events))
}

/// Hosts that are called what they must not be.
fn wrong(hosts: &[Host], found: &BTreeMap<Key, (Verdict, u32)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for host in hosts {
        let kind = KINDS.iter().find(|kind| kind.name == host.kind).unwrap();
        let verdict = found.get(&Key::Mac(host.mac().0)).map(|(verdict, _)| *verdict);
        if !kind.right.contains(&verdict) {
            wrong.push(format!("{} {}: {verdict:?}", host.kind, host.index));
        }
    }
    wrong
}

fn few_wrong(hosts: &[Host], found: &BTreeMap<Key, (Verdict, u32)>) {
    let wrong = wrong(hosts, found);
    let alarms = wrong.iter().filter(|line| line.contains("Infected")).count();
    assert!(alarms == 0 && wrong.len() * 50 <= hosts.len(), "{} of {}: {wrong:#?}", wrong.len(), hosts.len());
}

#[test]
fn bots_are_found_in_time_and_honest_hosts_are_not_alarmed_about() {
    for seed in [1, 2, 3, 4, 5] {
        let hosts = hosts(seed, 20);
        let found = judge(&in_order(&hosts));
        few_wrong(&hosts, &found);
        println!("seed {seed}  called what they must not be: {:?}", wrong(&hosts, &found));
        for kind in KINDS {
            let of_kind: Vec<_> = hosts.iter().filter(|host| host.kind == kind.name).collect();
            let mut delays: Vec<_> = of_kind
                .iter()
                .filter_map(|host| {
                    let (verdict, since) = found.get(&Key::Mac(host.mac().0))?;
                    (*verdict == Verdict::Infected).then(|| since - host.events[0].time)
                })
                .collect();
            delays.sort_unstable();
            let median = delays.get(delays.len() / 2).copied();
            println!(
                "seed {seed}  {:<32} alarms {:>3} of {}  median {median:?} s",
                kind.name,
                delays.len(),
                of_kind.len()
            );
            if let Some(by) = kind.by {
                assert!(median.is_some_and(|median| median <= by), "{}: {median:?}", kind.name);
            }
        }
    }
}

#[test]
fn the_same_attempts_give_the_same_verdicts() {
    let events = in_order(&hosts(7, 4));
    assert_eq!(run(&mut detector(), &events), run(&mut detector(), &events));
}

#[test]
fn a_restart_in_mid_stream_changes_nothing() {
    let events = in_order(&hosts(8, 4));
    let whole = judge(&events);
    let mut changes = Vec::new();
    let mut detector = detector();
    for part in events.chunks(events.len() / 7) {
        changes.extend(run(&mut detector, part));
        let bytes = postcard::to_stdvec(&detector.memory(usize::MAX)).unwrap();
        let memory: Memory = postcard::from_bytes(&bytes).unwrap();
        detector = Detector::resume(Rules::of(Preset::Balanced), memory);
    }
    assert_eq!(verdicts(&changes), whole);
}

#[test]
fn five_percent_lost_change_no_verdict_to_a_wrong_one() {
    let hosts = hosts(9, 10);
    let mut dice = Dice(99);
    let mut events = in_order(&hosts);
    events.retain(|_| !dice.percent(5));
    few_wrong(&hosts, &judge(&events));
}

#[test]
fn overtaking_by_two_seconds_is_tolerated() {
    let hosts = hosts(10, 10);
    let mut dice = Dice(98);
    let mut events: Vec<_> =
        in_order(&hosts).into_iter().map(|event| (event.time + dice.below(3), event)).collect();
    events.sort_by_key(|(arrival, _)| *arrival);
    let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    few_wrong(&hosts, &judge(&events));
}

#[test]
fn a_mail_queue_whose_packets_overtake_one_another_stays_a_mail_queue() {
    let mut queue = Host::new("queue", 1);
    for nth in 0..18 {
        let site = IpAddr::from([131, nth as u8, 0, 25]);
        // Two mail servers of the site at once, and the later one comes first.
        for retry in [0, 300, 900, 2100] {
            let time = START + 1800 * nth + retry;
            queue.tries(time + 2, site);
            queue.tries(time, site);
        }
    }
    queue.events.sort_by_key(|event| event.time / 60);
    let found = judge(&queue.events);
    assert_eq!(found[&Key::Mac(queue.mac().0)].0, Verdict::Suspect);
}

#[test]
fn duplicates_and_retransmissions_count_once() {
    let hosts = hosts(11, 4);
    let events = in_order(&hosts);
    let mut more: Vec<_> = events.clone();
    for event in &events {
        // As Linux repeats a SYN, and once more from a capture on two interfaces.
        more.extend([0, 1, 3, 7, 15, 31, 63].map(|later| Observation { time: event.time + later, ..*event }));
    }
    more.sort_by_key(|event| event.time);
    let (once, often) = (run(&mut detector(), &events), run(&mut detector(), &more));
    assert_eq!(verdicts(&once), verdicts(&often));
    let attempts =
        |changes: &[Change]| changes.iter().map(|c| c.report.evidence.attempts).collect::<Vec<_>>();
    assert_eq!(attempts(&once), attempts(&often));
}

#[test]
fn a_clock_that_is_set_by_an_hour_flags_nobody_wrongly() {
    for step in [i64::from(HOUR), -i64::from(HOUR)] {
        let hosts = hosts(12, 10);
        let mut clock = Clock::default();
        let stepped: Vec<_> = in_order(&hosts)
            .into_iter()
            .map(|event| {
                let late = event.time > START + 2 * DAY + 10 * HOUR;
                let stamp = i64::from(event.time) + if late { step } else { 0 };
                Observation { time: clock.time(stamp as u32), ..event }
            })
            .collect();
        few_wrong(&hosts, &judge(&stepped));
    }
}

#[test]
fn attempts_without_a_row_of_their_own_count_as_attempts_and_never_as_sites() {
    let mut client = Host::new("eager", 1);
    for nth in 0..10 {
        client.tries(START + 300 * nth, IpAddr::from([203, 0, 113, 25]));
    }
    assert_eq!(judge(&client.events)[&Key::Mac(client.mac().0)].0, Verdict::Misconfigured);
    let mut events = client.events.clone();
    events[9].unlisted = 700;
    let changes = run(&mut detector(), &events);
    let report = &changes.last().unwrap().report;
    assert_eq!((report.verdict, report.evidence.rule), (Verdict::Suspect, "many-attempts"));
    assert_eq!((report.evidence.attempts, report.evidence.unlisted), (710, 700));
    assert_eq!(report.evidence.sites_day, 1);
    assert!(report.evidence.sentence.starts_with("710 blocked attempts (700 of them only counted) in"));
    // Also where the row that tells of them is a repeat, and once only.
    let mut events = client.events.clone();
    events.push(Observation { unlisted: 700, time: START + 2702, ..events[9] });
    events.push(Observation { time: START + 2703, ..events[9] });
    let mut detector = detector();
    run(&mut detector, &events);
    let report = detector.flagged().pop().unwrap();
    assert_eq!((report.verdict, report.evidence.attempts_now), (Verdict::Suspect, 710));
}

#[test]
fn it_does_not_matter_when_the_day_begins() {
    let mut hosts = hosts(13, 4);
    // The attempts of an hour are counted by the hour of the clock, so hosts at that limit may differ.
    hosts.retain(|host| host.kind != "bot, 100 a minute");
    let events = in_order(&hosts);
    let whole = judge(&events);
    for shift in [HOUR, 7 * HOUR, DAY / 2, 23 * HOUR] {
        let shifted: Vec<_> = events.iter().map(|e| Observation { time: e.time + shift, ..*e }).collect();
        let found = judge(&shifted).into_iter().map(|(key, (v, since))| (key, (v, since - shift))).collect();
        assert_eq!(whole, found, "{shift} s later");
    }
}

#[test]
fn both_families_of_a_host_are_one_host() {
    let mut host = Host::new("dual stack", 1);
    for nth in 0..8 {
        host.tries(START + 10 * nth, IpAddr::from([131, nth as u8, 0, 25]));
        let network = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(nth) << 80) | 0x25);
        host.tries(START + 10 * nth + 5, IpAddr::V6(network));
    }
    let found = judge(&host.events);
    assert_eq!(found.len(), 1);
    assert_eq!(found[&Key::Mac(host.mac().0)].0, Verdict::Infected);
    // Neither half is enough for it.
    for half in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let events: Vec<_> = host.events.iter().copied().filter(|e| half(&e.destination)).collect();
        assert!(judge(&events).values().all(|(verdict, _)| *verdict < Verdict::Infected));
    }
}

#[test]
fn privacy_addresses_that_rotate_on_one_mac_are_one_host() {
    let mut host = Host::new("privacy", 1);
    let mut dice = Dice(3);
    let mut address = 1;
    for nth in 0..60 {
        if nth % 4 == 0 {
            address = dice.roll();
        }
        let source = IpAddr::V6(Ipv6Addr::from_bits((0xfd25 << 112) | u128::from(address)));
        let destination = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(nth) << 80) | 0x25);
        host.tries_from(START + 900 * nth, source, IpAddr::V6(destination));
    }
    let found = judge(&host.events);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&Key::Mac(host.mac().0)]);
    assert_eq!(found[&Key::Mac(host.mac().0)].0, Verdict::Infected);
}

#[test]
fn hosts_behind_a_router_are_told_apart_by_address() {
    let mut router = Host::new("router", 1);
    let client = |nth: u8| IpAddr::from([10, 9, 0, nth]);
    let mut dice = Dice(4);
    for minute in 0..600 {
        // Thirty clients, each with a server of its own, and among them a bot.
        let nth = minute % 30;
        router.tries_from(START + 60 * minute, client(nth as u8), IpAddr::from([131, nth as u8, 0, 25]));
        let to = dice.anywhere();
        router.tries_from(START + 60 * minute + 1, client(99), to);
    }
    let found = judge(&router.events);
    assert_eq!(found[&Key::Address(client(99))].0, Verdict::Infected);
    for nth in 0..30 {
        assert!(
            found.get(&Key::Address(client(nth))).is_none_or(|(v, _)| *v == Verdict::Misconfigured),
            "{nth}"
        );
    }
    assert!(
        !found.contains_key(&Key::Mac(router.mac().0))
            || found[&Key::Mac(router.mac().0)].0 < Verdict::Suspect
    );
}

#[test]
fn a_flood_of_new_hosts_pushes_out_no_flagged_one() {
    let mut detector = Detector::with_room(Rules::of(Preset::Balanced), 1000);
    let mut bot = Host::new("bot", 1);
    for nth in 0..20 {
        bot.tries(START + nth, IpAddr::from([131, nth as u8, 0, 25]));
    }
    run(&mut detector, &bot.events);
    for nth in 0..100_000u32 {
        let [_, a, b, c] = nth.to_be_bytes();
        let mac = Some(Mac([6, 0, 0, a, b, c]));
        let source = IpAddr::from([10, a, b, c]);
        let destination = IpAddr::from([131, 0, 0, 25]);
        detector.observe(&Observation {
            time: START + 100 + nth / 1000,
            mac,
            source,
            source_port: 1,
            destination,
            unlisted: 0,
        });
    }
    assert_eq!(detector.hosts(), 1000);
    assert_eq!(
        detector.flagged().iter().map(|r| (r.key, r.verdict)).collect::<Vec<_>>(),
        [(Key::Mac(bot.mac().0), Verdict::Infected)]
    );
}

#[test]
fn a_flag_stays_until_released_or_long_quiet() {
    let mut detector = detector();
    let mut bot = Host::new("bot", 1);
    for nth in 0..20 {
        bot.tries(START + nth, IpAddr::from([131, nth as u8, 0, 25]));
    }
    run(&mut detector, &bot.events);
    let name = Key::Address(bot.v4());
    let note = Note { text: "ticket 4711".into(), by: Some("anna".into()) };
    assert!(detector.acknowledge(&name, note.clone()).is_some());
    assert!(detector.age(START + 29 * DAY).is_empty());
    assert_eq!(detector.flagged()[0].note, Some(note));
    assert_eq!(detector.age(START + 31 * DAY).len(), 1);
    assert!(detector.flagged().is_empty());
    // Whoever does it again is flagged again, after a release too.
    for round in 1..3 {
        let again: Vec<_> =
            bot.events.iter().map(|e| Observation { time: e.time + (40 + round) * DAY, ..*e }).collect();
        assert!(run(&mut detector, &again).iter().any(|c| c.report.verdict == Verdict::Infected), "{round}");
        assert!(detector.release(&name).is_some());
        assert!(detector.flagged().is_empty());
    }
    assert!(detector.release(&name).is_none());
}
