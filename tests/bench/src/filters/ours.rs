//! smtpfence's own programs, attached as the agent attaches them, with a reader of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, RingBuf};
use policy_common::{Addr, LinkType, Reason};
use policy_user::datapath::{
    Counters, EarlyDoor, Generation, Inside, KernelLog, Pins, Refusal, State, attach, boot_time,
};
use policy_user::netlink::Interface;
use policy_user::policy::Revision;
use policy_user::policy::compile::{Instant, Tables, compile};

use super::{Allowlist, Blocked, Filter};
use crate::stage::Stage;

/// What is done about a denied packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeny {
    Drop,
    Reject,
    Audit,
}

/// Two clients' networks: the lab's, and the one that made packets come from.
const POLICY: &str = r#"version: 1
name: bench
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24, 10.26.0.0/15, "fd25::/64"], internal: [10.0.0.0/8, "fd00::/8"] }
mode: MODE
on_block: ACTION
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"] }
end: true
"#;

pub struct Ours {
    generation: Generation,
    pins: Pins,
    state: State,
    on_deny: OnDeny,
    reader: Option<Reader>,
    /// What was counted and read when it was put in place.
    before: (Counters, u64),
}

impl Ours {
    pub fn prepare(
        stage: &Stage,
        name: &str,
        entries: usize,
        on_deny: OnDeny,
        kernel_log: KernelLog,
    ) -> Result<Self> {
        let place = stage.lab().bpffs()?.join(name);
        std::fs::create_dir(&place).with_context(|| format!("could not make {}", place.display()))?;
        let pins = Pins::prepare(&place)?;
        let generation = Generation::load(&pins, &tables(entries, on_deny)?, kernel_log)?;
        let mut state = State::open(&pins)?;
        let own = stage.gateway().interfaces().iter();
        let own = own.flat_map(|i| {
            [Addr::from(std::net::IpAddr::from(i.addr4)), std::net::IpAddr::from(i.addr6).into()]
        });
        state.set_gateway_addresses(&own.collect::<Vec<_>>())?;
        let before = (state.counters()?, 0);
        Ok(Self { generation, pins, state, on_deny, reader: None, before })
    }

    /// The loaded programs.
    pub fn generation(&mut self) -> &mut Generation {
        &mut self.generation
    }

    /// Takes events, as the agent does, also while nothing is attached.
    pub fn listen(&mut self) -> Result<()> {
        self.reader = Some(Reader::start(&self.pins)?);
        Ok(())
    }

    /// Attaches to these interfaces of the gateway alone.
    fn cover(&mut self, stage: &Stage, inside: &[Inside], outside: &[Interface]) -> Result<()> {
        let (pins, generation) = (&self.pins, &mut self.generation);
        stage.gateway().run(|| attach(pins, generation, inside, outside, Refusal::TakeBack))??;
        Ok(())
    }

    /// Packets that were denied since it was put in place.
    fn denied(&self, counters: &Counters) -> u64 {
        let denying = Reason::ALL.into_iter().filter(|reason| reason.denies());
        denying.map(|reason| counters.packets(reason) - self.before.0.packets(reason)).sum()
    }
}

impl Filter for Ours {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        let interface = |name: &str| -> Result<Interface> {
            Ok(Interface {
                name: name.into(),
                index: stage.gateway().ifindex(name)?,
                link: Some(LinkType::Ethernet),
            })
        };
        let (inside, outside) = (
            Inside { interface: interface("lan0")?, settings: 1, early: EarlyDoor::Unasked },
            interface("wan0")?,
        );
        self.cover(stage, &[inside], &[outside])?;
        let reader = Reader::start(&self.pins)?;
        self.before = (self.state.counters()?, reader.read());
        self.reader = Some(reader);
        Ok(())
    }

    fn leave(&mut self, stage: &Stage) -> Result<()> {
        self.cover(stage, &[], &[])?;
        self.reader = None;
        // The kernel takes a program off its hook from a work queue, milliseconds after its pin is gone.
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn dropped(&self, _: &Stage) -> Result<Option<u64>> {
        Ok(Some(self.denied(&self.state.counters()?)))
    }

    fn on_blocked(&self) -> Blocked {
        match self.on_deny {
            OnDeny::Drop => Blocked::Dropped,
            OnDeny::Reject => Blocked::Answered,
            OnDeny::Audit => Blocked::Forwarded,
        }
    }

    /// Every attempt is an event that was read, or one that was counted as lost, or one that its host's budget left out; and
    /// none is on the account that stands for everybody, which costs another price.
    fn audit(&self) -> Result<()> {
        let Some(reader) = &self.reader else { return Ok(()) };
        reader.catch_up();
        let (now, read) = (self.state.counters()?, reader.read() - self.before.1);
        let before = &self.before.0;
        let attempts: u64 =
            Reason::ALL.into_iter().map(|reason| now.attempts(reason) - before.attempts(reason)).sum();
        let lost = now.lost_events() - before.lost_events();
        let unlisted = now.unlisted() - before.unlisted();
        ensure!(
            attempts == read + lost + unlisted,
            "{attempts} attempts, but {read} events, {lost} lost and {unlisted} left out"
        );
        let hosts = self.state.hosts()?;
        let mut of_everybody = hosts.iter().filter(|host| host.key.mac().is_none());
        ensure!(of_everybody.all(|host| host.counts.packets == 0), "one account has other hosts' packets");
        Ok(())
    }
}

fn tables(entries: usize, on_deny: OnDeny) -> Result<Tables> {
    let (mode, action) = match on_deny {
        OnDeny::Drop => ("enforce", "drop"),
        OnDeny::Reject => ("enforce", "reject"),
        OnDeny::Audit => ("audit", "drop"),
    };
    let text = POLICY.replace("MODE", mode).replace("ACTION", action);
    let wall = jiff::Timestamp::now();
    let (mut policy, _) = policy_user::policy::parse(&text, wall, &jiff::tz::TimeZone::UTC)
        .map_err(|refused| anyhow::anyhow!("the benchmark's policy was refused: {refused:?}"))?;
    let list = Allowlist::of(entries);
    // Past the file's limits of size, which are not what is measured. Half of the entries in each family would make IPv4
    // figures those of half a list.
    let server = policy.mail_servers.first_mut().context("the benchmark's policy has no mail server")?;
    server.addresses = list.ipv4().collect();
    if entries == 1 {
        server.addresses.extend(list.ipv6());
    }
    Ok(compile(&policy, Revision::of(&text), Instant { wall, boot: boot_time() }, |_| None)?)
}

/// Takes events out of the ring buffer, as the agent does, and only counts them.
struct Reader {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    /// How often the ring was found empty.
    idle: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(pins: &Pins) -> Result<Self> {
        let mut ring = RingBuf::try_from(Map::RingBuf(MapData::from_pin(pins.map("EVENTS"))?))?;
        let (stop, read, idle) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let (stop, read, idle) = (stop.clone(), read.clone(), idle.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    while ring.next().is_some() {
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    idle.fetch_add(1, Ordering::Release);
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let reader = Self { stop, read, idle, thread: Some(thread) };
        reader.catch_up();
        Ok(reader)
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Waits until the ring was empty once more.
    fn catch_up(&self) {
        let seen = self.idle.load(Ordering::Acquire);
        while self.idle.load(Ordering::Acquire) < seen + 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends within a millisecond; what it panicked with, if it did, is on standard error.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
