//! Names of destinations: what they join into one site, what they never hide, and what hostile answers can't do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod dns_message;
#[path = "detect_population/mod.rs"]
#[allow(dead_code, reason = "only its hosts are needed here")]
mod population;

use std::net::{IpAddr, Ipv6Addr};

use dns_message::{A, MX, address, alias, answer, found, mail_server, message};
use policy_user::detect::{Detector, Heard, MOST_JOINED, Observation, Preset, Report, Rules, Verdict};
use population::{DAY, Dice, HOUR, Host, START};

const KEEP: u32 = DAY;

fn detector(names: bool) -> Detector {
    Detector::new(Rules::of(Preset::Balanced).with_names(names.then_some(KEEP)))
}

fn heard<'a>(host: &Host, time: u32, message: &'a [u8]) -> Heard<'a> {
    Heard { time, mac: Some(host.mac()), client: host.v4(), message }
}

/// Runs a host's attempts, each of which it asks for by a name first.
fn run(
    detector: &mut Detector,
    host: &Host,
    name: impl Fn(&Observation) -> Option<String>,
) -> Option<Report> {
    for seen in &host.events {
        if let Some(name) = name(seen) {
            detector.learn(&heard(host, seen.time, &found(&name, seen.destination)));
        }
        detector.observe(seen);
    }
    detector.flagged().pop()
}

fn verdict(report: Option<&Report>) -> Option<Verdict> {
    report.map(|report| report.verdict)
}

/// One attempt every `pause` seconds for a day, each at the next of so many networks.
fn around(networks: u32, pause: u32) -> Host {
    let mut host = Host::new("around", 1);
    for nth in 0..DAY / pause {
        let to = [131, (nth % networks) as u8, (nth % 7) as u8, 25];
        host.tries(START + nth * pause, IpAddr::from(to));
    }
    host
}

#[test]
fn a_rotating_provider_that_no_list_has_is_one_site_by_its_name() {
    let host = around(14, 600);
    let without = run(&mut detector(false), &host, |_| Some("smtp.mail.example.net".to_owned()));
    assert_eq!(verdict(without.as_ref()), Some(Verdict::Infected), "the addresses alone look like a bot");
    let without = without.unwrap().evidence;
    assert_eq!((without.mx_queries, &without.top[0].name), (None, &None));

    let mut detector = detector(true);
    // Each time another host of the provider's, as pools of servers have.
    let report = run(&mut detector, &host, |seen| Some(format!("out{}.example.net", seen.time % 5))).unwrap();
    assert_eq!(report.verdict, Verdict::Misconfigured);
    assert_eq!((report.evidence.sites_now, report.evidence.sites_week), (1, 1));
    let name = report.evidence.top[0].name.as_deref().unwrap();
    assert!(name.ends_with(".example.net"), "{name}");
    assert!(
        report.evidence.sentence.contains(&format!("{name} (131.0.0.0/16)")),
        "{}",
        report.evidence.sentence
    );
    let last = host.events.last().unwrap();
    assert!(detector.name(last).unwrap().ends_with(".example.net"));
}

#[test]
fn behind_an_alias_the_provider_counts_and_not_its_customer() {
    let host = around(14, 600);
    let mut detector = detector(true);
    for (nth, seen) in host.events.iter().enumerate() {
        let customer = format!("mail.customer{nth}.example");
        let records = [alias(&customer, "pool.example.net"), address("pool.example.net", seen.destination)];
        detector.learn(&heard(&host, seen.time, &answer(1, (&customer, A), &records, &[])));
        detector.observe(seen);
        assert_eq!(detector.name(seen), Some(customer.as_str()), "people are shown what was asked for");
    }
    let report = detector.flagged().pop().unwrap();
    assert_eq!((report.verdict, report.evidence.sites_now), (Verdict::Misconfigured, 1));
}

#[test]
fn a_bot_that_owns_the_names_hides_a_few_victims_and_is_found_all_the_same() {
    for domains in [1, 3, 12, 1000] {
        // The slow one: one victim in twenty minutes.
        let mut bot = Host::new("bot", 1);
        for nth in 0..72u32 {
            bot.tries(START + 1200 * nth, IpAddr::from([131, nth as u8, 0, 25]));
        }
        let report = run(&mut detector(true), &bot, |seen| {
            let nth = (seen.time - START) / 1200;
            Some(format!("v{nth}.evil{}.example", nth % domains))
        });
        assert_eq!(verdict(report.as_ref()), Some(Verdict::Infected), "{domains} domains");
        let late = report.unwrap().since - START;
        let alone = run(&mut detector(false), &bot, |_| None).unwrap().since - START;
        assert!(
            late - alone <= MOST_JOINED as u32 * 1200,
            "{domains} domains: {late} s instead of {alone} s"
        );
    }
}

/// Whatever answers a host gets, it has at most so many sites fewer than its addresses say, and never more.
#[test]
fn names_join_no_more_networks_than_they_may_and_part_none() {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let (mut with, mut without) = (detector(true), detector(false));
        let mut host = Host::new("any", 1);
        let networks = 1 + dice.below(30) as u8;
        for nth in 0..300 {
            let to = IpAddr::from([131, dice.below(u32::from(networks)) as u8, dice.below(4) as u8, 25]);
            host.tries(START + nth * 10, to);
        }
        for seen in &host.events {
            for _ in 0..dice.below(3) {
                let name = format!("a{}.d{}.example", dice.below(3), dice.below(6));
                let lie = [131, dice.below(40) as u8, dice.below(4) as u8, 25];
                with.learn(&heard(&host, seen.time, &found(&name, lie.into())));
            }
            with.observe(seen);
            without.observe(seen);
        }
        // All attempts within the hour, so that limits of the table of sites play no part where it has room for all.
        let sites = |detector: &Detector| {
            detector.flagged().pop().map(|it| usize::from(it.evidence.sites_now as u16))
        };
        let (Some(with), Some(without)) = (sites(&with), sites(&without)) else { continue };
        if without < 20 {
            assert!(
                with <= without && with + MOST_JOINED > without,
                "seed {seed}: {with} of {without} sites"
            );
        }
    }
}

#[test]
fn only_the_host_that_asked_believes_an_answer_and_only_for_a_time() {
    let host = around(14, 600);
    let other = Host::new("other", 2);
    let mut detector = detector(true);
    for seen in &host.events {
        let message = found("out.example.net", seen.destination);
        detector.learn(&heard(&other, seen.time, &message));
        detector.observe(seen);
    }
    assert_eq!(verdict(detector.flagged().pop().as_ref()), Some(Verdict::Infected));
    let last = host.events.last().unwrap();
    assert_eq!(detector.name(last), None);

    let message = found("out.example.net", last.destination);
    detector.learn(&heard(&host, last.time, &message));
    assert_eq!(detector.name(&Observation { time: last.time + KEEP - 1, ..*last }), Some("out.example.net"));
    assert_eq!(detector.name(&Observation { time: last.time + KEEP, ..*last }), None);
    assert!(detector.names().unwrap().1 > 0);
    detector.age(last.time + KEEP);
    assert_eq!(detector.names(), Some((0, 0)), "nothing is kept for longer");
}

#[test]
fn both_families_of_a_host_share_its_names_and_providers_of_the_list_need_none() {
    let mut host = Host::new("dual stack", 1);
    let source = IpAddr::V6(Ipv6Addr::from_bits((0xfd25 << 112) | 0x77));
    for nth in 0..14 {
        let network = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(nth) << 80) | 0x25);
        host.tries_from(START + 600 * nth, source, IpAddr::V6(network));
    }
    // It asks by IPv4.
    let report = run(&mut detector(true), &host, |_| Some("out.example.net".to_owned())).unwrap();
    assert_eq!((report.verdict, report.evidence.sites_now), (Verdict::Misconfigured, 1));

    let mut host = Host::new("google", 1);
    for nth in 0..4 {
        host.tries(START + 600 * nth, IpAddr::from([74, 125, nth as u8, 26]));
    }
    let report = run(&mut detector(true), &host, |_| Some("mx.example.net".to_owned())).unwrap();
    assert_eq!((report.evidence.top[0].site.as_str(), report.evidence.sites_now), ("google", 1));
}

#[test]
fn questions_for_mail_servers_are_counted_and_are_no_verdict() {
    let host = around(1, 600);
    let mut detector = detector(true);
    let asked = |id: u16, domain: &str| {
        let server = format!("mx.{domain}");
        let glue = [address(&server, IpAddr::from([131, 0, 0, 25]))];
        answer(id, (domain, MX), &[mail_server(domain, &server)], &glue)
    };
    for nth in 0..50u16 {
        let message = asked(nth, &format!("company{nth}.example"));
        // The resolver's answer, and the same again.
        detector.learn(&heard(&host, START - HOUR + u32::from(nth), &message));
        detector.learn(&heard(&host, START - HOUR + u32::from(nth), &message));
    }
    assert!(detector.flagged().is_empty(), "who tries nothing is not flagged");
    let report = run(&mut detector, &host, |_| None).unwrap();
    assert_eq!(report.verdict, Verdict::Misconfigured);
    assert_eq!(report.evidence.mx_queries, Some(50));
    assert!(report.evidence.sentence.ends_with("asked 50 times which servers take a domain's mail (MX)"));
    assert_eq!(detector.name(&host.events[0]), Some("mx.company0.example"), "what comes along is learnt too");
}

#[test]
fn what_is_no_answer_or_an_error_teaches_nothing() {
    let host = around(1, 600);
    let to = host.events[0].destination;
    let records = [address("out.example.net", to)];
    let question = ("out.example.net", A);
    for (what, flags) in [("a question", 0x0100), ("NXDOMAIN", 0x8183), ("SERVFAIL", 0x8182)] {
        let mut detector = detector(true);
        detector.learn(&heard(&host, START, &message(1, flags, question, &records, &[])));
        assert_eq!(detector.names(), Some((0, 0)), "{what}");
    }
    let mut detector = detector(true);
    let mut chaos = answer(1, question, &records, &[]);
    let class = 12 + dns_message::wire("out.example.net").len() + 3;
    chaos[class] = 3;
    detector.learn(&heard(&host, START, &chaos));
    assert_eq!(detector.names(), Some((0, 0)), "a question of another class");
    // With names off nothing is kept whatever comes.
    let mut off = self::detector(false);
    off.learn(&heard(&host, START, &found("out.example.net", to)));
    assert_eq!((off.names(), off.name(&host.events[0])), (None, None));
}

#[test]
fn hostile_answers_are_survived_and_stay_within_bounds() {
    let mut detector = detector(true);
    let host = around(1, 600);
    let to = host.events[0].destination;
    let name = format!("{}.\u{1b}[2J\n\"{}.example.net", "x".repeat(63), "y".repeat(40));
    let good =
        answer(7, (&name, A), &[alias(&name, "pool.example.net"), address("pool.example.net", to)], &[]);
    detector.learn(&heard(&host, START, &good));
    let shown = detector.name(&host.events[0]).unwrap();
    assert!(shown.len() <= 128 && shown.chars().all(|c| c.is_ascii_graphic()), "{shown:?}");
    assert!(shown.contains("\\027[2j\\010"), "{shown:?}");
    // Cut off anywhere, and each byte with each bit turned.
    for length in 0..good.len() {
        detector.learn(&heard(&host, START, &good[..length]));
    }
    for at in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[at / 8] ^= 1 << (at % 8);
        detector.learn(&heard(&host, START, &bad));
    }
    // A name that points to itself, and two that point to each other.
    for pointers in [vec![0xc0, 0x0c], vec![0xc0, 0x0e, 0xc0, 0x0c]] {
        let mut bad = good[..12].to_vec();
        bad.extend(pointers);
        bad.extend([0, 1, 0, 1].repeat(20));
        detector.learn(&heard(&host, START, &bad));
    }
    let mut dice = Dice(11);
    for _ in 0..20_000 {
        let mut bad: Vec<u8> = (0..dice.below(200)).map(|_| dice.roll() as u8).collect();
        if bad.len() > 12 && dice.percent(50) {
            bad[..12].copy_from_slice(&good[..12]);
        }
        detector.learn(&heard(&host, START, &bad));
    }
    // Many answers to one host, and to many hosts.
    for nth in 0..20_000u32 {
        let [_, a, b, c] = nth.to_be_bytes();
        let message = found(&format!("n{nth}.example"), IpAddr::from([131, a, b, c]));
        detector.learn(&heard(&host, START + nth / 100, &message));
        let client = IpAddr::from([10, a, b, c]);
        detector.learn(&Heard { time: START, mac: None, client, message: &message });
    }
    let (hosts, addresses) = detector.names().unwrap();
    assert!(hosts <= 4096 && addresses <= hosts + 127, "{addresses} addresses of {hosts} hosts");
}
