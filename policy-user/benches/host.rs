//! What the agent does on the host, timed: policies, the detector, the block log. `cargo bench -p policy-user`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_user::attempt::{Attempt, Mac};
use policy_user::detect::{Detector, Observation, Preset, Rules};
use policy_user::policy::compile::{Instant, compile};
use policy_user::policy::{Policy, Retention, Revision, parse};
use policy_user::store::Store;

fn policy_text(clients: usize) -> String {
    let mut text =
        "version: 1\nname: bench\ninterfaces: { inside: [lan0], outside: [wan0] }\nnetworks:\n  internal: \
                    [10.0.0.0/8]\n  clients:\n"
            .to_owned();
    for n in 0..clients {
        writeln!(text, "  - {}", Ipv4Addr::from_bits(0x0a00_0000 + n as u32)).unwrap();
    }
    text + "mode: enforce\nmail_servers:\n  - { name: mx1, address: 10.250.0.25 }\nend: true\n"
}

fn parsed(text: &str) -> Policy {
    parse(text, Timestamp::now(), &TimeZone::UTC).unwrap().0
}

fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(10);
    for entries in [100, 10_000, 100_000] {
        let text = policy_text(entries);
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(format!("parse and validate {entries} entries"), |b| {
            b.iter(|| parsed(black_box(&text)))
        });
        let policy = parsed(&text);
        let now = Instant { wall: Timestamp::now(), boot: 1 };
        group.bench_function(format!("compile {entries} entries"), |b| {
            b.iter(|| compile(black_box(&policy), Revision::of(&text), now, |_| None).unwrap());
        });
    }
    group.finish();
}

/// Attempt number `n` of an office: 1,000 hosts, each with a thousand places to go to.
fn observation(n: u32) -> Observation {
    let host = n % 1000;
    let [_, _, high, low] = host.to_be_bytes();
    let spread = n.wrapping_mul(2_654_435_761) >> 12;
    Observation {
        time: 1_000_000 + n / 100,
        mac: Some(Mac([2, 0, 0, 0, high, low])),
        source: IpAddr::from([10, 25, high, low]),
        source_port: n as u16,
        destination: Ipv4Addr::from_bits(0x4000_0000 | (spread % 1000) << 14 | 25).into(),
        unlisted: 0,
    }
}

fn detector(criterion: &mut Criterion) {
    const ATTEMPTS: u32 = 10_000;
    let mut group = criterion.benchmark_group("detector");
    group.throughput(Throughput::Elements(u64::from(ATTEMPTS)));
    group.bench_function("10,000 attempts of 1,000 hosts that it knows", |b| {
        let mut detector = Detector::new(Rules::of(Preset::Balanced));
        let mut next = 0;
        b.iter(|| {
            for n in next..next + ATTEMPTS {
                black_box(detector.observe(&observation(n)));
            }
            next += ATTEMPTS;
        });
    });
    group.finish();
}

fn attempt(n: u32) -> Attempt {
    let Observation { mac, source, source_port, destination, .. } = observation(n);
    Attempt {
        boot: 0,
        time: Timestamp::now(),
        id: format!("{n:012x}"),
        event: "attempt",
        verdict: "drop",
        reason: "not-a-mail-server",
        interface: "lan0".to_owned(),
        ifindex: 3,
        vlan: None,
        client: Some(source),
        client_mac: mac,
        client_port: source_port,
        destination: Some(destination),
        destination_port: 25,
        to_name: None,
        destination_mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        tcp_flags: "SYN".to_owned(),
        tcp_sequence: n,
        unlisted: 0,
        rule: None,
        policy: "office".to_owned(),
        revision: "0123456789abcdef".to_owned(),
    }
}

fn store(criterion: &mut Criterion) {
    const ATTEMPTS: u32 = 10_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = runtime.block_on(async { Store::start(directory.path(), Retention::default()) });
    let mut group = criterion.benchmark_group("block log");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(ATTEMPTS)));
    let mut next = 0;
    group.bench_function("10,000 attempts on disk", |b| {
        let batch = || {
            next += ATTEMPTS;
            (next..next + ATTEMPTS).map(attempt).collect::<Vec<_>>()
        };
        b.iter_batched(
            batch,
            |attempts| {
                runtime.block_on(async {
                    store.append(attempts).await;
                    store.flush().await;
                });
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    assert_eq!(store.status().error, None);
}

criterion_group!(benches, policies, detector, store);
criterion_main!(benches);
