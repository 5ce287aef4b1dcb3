//! The agent's reader of events: none is missed while it runs, and what does not fit into the ring is counted.
//!
//! `SMTPFENCE_EVENTS=1000000 cargo test --release --test event_reader -- --nocapture` measures what an event costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lab::frame::{Frame, Mac, Tcp};
use lab::{Lab, require_root_or_skip};
use policy_common::{LinkType, Reason};
use policy_user::datapath::{
    Counters, EventStream, Generation, Hook, KernelLog, Pins, State, TestPacket, boot_time,
};
use policy_user::policy::compile::{Instant as Now, compile};
use policy_user::policy::{Revision, parse};
use rustix::time::{ClockId, clock_gettime};

const POLICY: &str = r#"version: 1
name: events
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/16], internal: [10.0.0.0/8] }
mode: enforce
mail_servers:
  - { name: mx1, address: 10.25.255.25 }
end: true
"#;

/// What one host's budget has events for at once.
const BY_HOST: u32 = 250;

/// What the ring has room for, and more than that.
const HOLDS: u32 = 43_000;
const TOO_MANY: u32 = 60_000;

/// Programs that nothing is attached to: packets come from test runs.
struct Bench {
    generation: Generation,
    state: State,
    pins: Pins,
    next: u32,
}

impl Bench {
    fn new(lab: &Lab) -> Result<Self> {
        let (wall, boot) = (jiff::Timestamp::now(), boot_time());
        let policy = parse(POLICY, wall, &jiff::tz::TimeZone::UTC);
        let (policy, _) = policy.map_err(|refused| anyhow!("the policy was refused: {refused:?}"))?;
        let tables = compile(&policy, Revision::of(POLICY), Now { wall, boot }, |_| None)?;
        let pins = Pins::prepare(&lab.bpffs()?)?;
        let generation = Generation::load(&pins, &tables, KernelLog::Off)?;
        Ok(Self { generation, state: State::open(&pins)?, pins, next: 0 })
    }

    /// So many new attempts; returns the processor time of one, that of the system call included.
    fn attempt(&mut self, attempts: u32) -> Result<Duration> {
        let frames: Vec<Vec<u8>> = (self.next..self.next + attempts).map(new_attempt).collect();
        self.next += attempts;
        let begun = thread_time();
        for bytes in &frames {
            self.generation.test_run(&TestPacket {
                hook: Hook::Door,
                link: LinkType::Ethernet,
                bytes,
                repeat: 1,
            })?;
        }
        Ok((thread_time() - begun) / attempts)
    }

    fn counters(&self) -> Result<Counters> {
        Ok(self.state.counters()?)
    }
}

fn new_attempt(number: u32) -> Vec<u8> {
    let [_, _, high, low] = (number / BY_HOST).to_be_bytes();
    Frame::new(Mac([2, 0, 0, 0, high, low]), Mac([0; 6]))
        .ip([10, 25, high, low].into(), [203, 0, 113, 25].into())
        .tcp(Tcp::syn(20_000, 25).sequence(number))
        .build()
}

/// Processor time of this thread, with the interrupts that came upon it.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Attempts that were to have an event, and those of them that had no room for it.
fn reported(before: &Counters, after: &Counters) -> (u64, u64) {
    let attempts = |counters: &Counters| -> u64 {
        Reason::ALL.into_iter().map(|reason| counters.attempts(reason)).sum()
    };
    let unlisted = after.unlisted() - before.unlisted();
    (attempts(after) - attempts(before) - unlisted, after.lost_events() - before.lost_events())
}

/// Reads as the agent does, until told to stop; returns how often it found some.
fn read(pins: &Pins, events: &AtomicU64, stop: &AtomicBool) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stream = EventStream::open(pins)?;
        let (mut batch, mut batches) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            // The timeout is for the end only.
            let waited = Duration::from_millis(200);
            if let Ok(result) = tokio::time::timeout(waited, stream.next_batch(&mut batch)).await {
                result?;
            }
            batches += u64::from(!batch.is_empty());
            events.fetch_add(batch.drain(..).count() as u64, Ordering::Relaxed);
        }
        Ok(batches)
    })
}

#[test]
fn a_running_reader_misses_no_event() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut bench = Bench::new(&lab)?;
    let attempts = match std::env::var("SMTPFENCE_EVENTS") {
        Ok(text) => text.parse().context("SMTPFENCE_EVENTS is no number")?,
        Err(_) => 20_000,
    };
    let (events, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (pins, before) = (Pins::prepare(&lab.bpffs()?)?, bench.counters()?);
    let begun = Instant::now();
    let (each, batches) = std::thread::scope(|scope| -> Result<_> {
        let reader = scope.spawn(|| read(&pins, &events, &stop));
        let each = bench.attempt(attempts);
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        Ok((each?, reader.join().expect("the reader")?))
    })?;
    let rate = f64::from(attempts) / begun.elapsed().as_secs_f64();
    let (reported, lost) = reported(&before, &bench.counters()?);
    let read = events.into_inner();
    println!("{read} events in {batches} batches, {lost} lost, {rate:.0}/s, {each:?} of processor time each");
    ensure!(reported == u64::from(attempts), "{reported} of {attempts} attempts are within their budget");
    ensure!(read + lost == reported, "{reported} were reported, {read} read, {lost} lost");
    // More than it holds may be lost where other work keeps the reader waiting.
    ensure!(lost == 0 || attempts > HOLDS, "{lost} lost");
    Ok(())
}

#[test]
fn what_a_full_ring_has_no_room_for_is_counted_and_the_rest_is_read_fast() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut bench = Bench::new(&lab)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let mut stream = EventStream::open(&bench.pins)?;
    for _ in 0..5 {
        let before = bench.counters()?;
        let each = bench.attempt(TOO_MANY)?;
        let mut events = Vec::with_capacity(TOO_MANY as usize);
        let begun = Instant::now();
        while stream.drain(&mut events) {}
        let took = begun.elapsed();
        let (reported, lost) = reported(&before, &bench.counters()?);
        let (read, rate) = (events.len() as u64, events.len() as f64 / took.as_secs_f64());
        println!("{read} read at {:.1} M/s, {lost} lost; {each:?} of processor time each", rate / 1e6);
        ensure!(lost > 10_000 && read + lost == reported, "{reported} reported, {read} read, {lost} lost");
        // Half of what a release build is to do on a machine of its own.
        ensure!(cfg!(debug_assertions) || rate > 2.5e6, "{rate:.0} events a second");
    }
    Ok(())
}
