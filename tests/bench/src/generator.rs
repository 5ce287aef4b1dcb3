//! Packets from nowhere: live frames of `BPF_PROG_TEST_RUN`, which enter the gateway as from its driver.
//!
//! No sender shares the processor, so what is measured is the gateway. The program that makes them is known by itself: an
//! empty run ends each packet right behind it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lab::frame::{Frame, Tcp, flags};

use crate::clock::Clock;
use crate::programs::{OBJECT, slot};
use crate::stage::Stage;

/// What kind of packets there are.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub ipv6: bool,
    /// The last 32 bits of the sources begin here.
    pub first_source: u32,
    /// A power of two.
    pub sources: u32,
    /// Whether each packet is the SYN of a new connection; else each source sends segments of one that is open.
    pub fresh: bool,
    /// Port of one packet in `blocked_every`.
    pub blocked_every: u32,
    pub port: u16,
}

pub const BLOCKED_PORT: u16 = 25;

/// Packets that one batch of the kernel's holds, as many as a driver takes at once.
const BATCH: u32 = 64;

/// A loaded generator.
pub struct Generator {
    ebpf: Ebpf,
    length: usize,
}

/// Packets made so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub all: u64,
    pub blocked: u64,
}

impl Generator {
    /// `ends_at_once` makes it an empty run.
    pub fn load(stage: &Stage, plan: &Plan, ends_at_once: bool) -> Result<Self> {
        let template = Template::new(stage, plan)?;
        let (is_ipv6, is_fresh) = (u8::from(plan.ipv6), u8::from(plan.fresh));
        let (mask, is_empty_run) = (plan.sources - 1, u8::from(ends_at_once));
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("FRAME", &template.words, true)
            .override_global("IP_SUM", &template.ip_sum, true)
            .override_global("TCP_SUM", &template.tcp_sum, true)
            .override_global("IS_IPV6", &is_ipv6, true)
            .override_global("IS_FRESH", &is_fresh, true)
            .override_global("FIRST_SOURCE", &plan.first_source, true)
            .override_global("SOURCES_MASK", &mask, true)
            .override_global("RARE_EVERY", &plan.blocked_every, true)
            .override_global("RARE_PORT", &BLOCKED_PORT, true)
            .override_global("PORT", &plan.port, true)
            .override_global("IS_EMPTY_RUN", &is_empty_run, true)
            .load(OBJECT)?;
        program(&mut ebpf)?.load().context("the kernel refused the generator")?;
        Ok(Self { ebpf, length: template.length })
    }

    /// Sends so many packets into the gateway and returns the processor time that they took, to their very end.
    pub fn inject(&mut self, stage: &Stage, packets: u32) -> Result<Duration> {
        let before = self.made()?.all;
        // struct xdp_md: where the packet ends, and what it came in through.
        let inside = stage.gateway().ifindex("lan0")?;
        let context = [0, self.length as u32, 0, inside, 0, 0].map(u32::to_ne_bytes).concat();
        let bytes = vec![0; self.length];
        let program = program(&mut self.ebpf)?;
        let took = stage.gateway().run(|| -> Result<Duration> {
            let clock = Clock::pinned()?;
            let options = TestRunOptions {
                data_in: Some(&bytes),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            let begin = clock.now()?;
            program.test_run(options).context("the kernel refused to send packets")?;
            stage.settle()?;
            Ok(clock.now()? - begin)
        })??;
        let made = self.made()?.all - before;
        ensure!(made == u64::from(packets), "{packets} packets were asked for and {made} made");
        Ok(took)
    }

    pub fn made(&self) -> Result<Made> {
        let map = self.ebpf.map("MADE").context("no map MADE")?;
        Ok(Made { all: slot(map, 0)?, blocked: slot(map, 1)? })
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut("generate").context("no program generate")?.try_into()?)
}

/// The bytes that all packets of a plan share.
struct Template {
    words: [u64; 10],
    length: usize,
    ip_sum: u32,
    tcp_sum: u32,
}

impl Template {
    fn new(stage: &Stage, plan: &Plan) -> Result<Self> {
        let (source, destination): (IpAddr, IpAddr) = if plan.ipv6 {
            ("fd25::".parse()?, stage.outside6().into())
        } else {
            ("0.0.0.0".parse()?, stage.outside4().into())
        };
        let kind = if plan.fresh { flags::SYN } else { flags::ACK };
        let (length, header, at) = if plan.ipv6 { (80, 40, 8) } else { (64, 20, 12) };
        let frame = Frame::new(stage.client_mac(), stage.gateway().mac())
            .ip(source, destination)
            .tcp(Tcp::new(0, 0, kind).sequence(0).acknowledgement(u32::from(!plan.fresh)).checksum(0));
        let mut bytes = frame.pad_to(length).build();
        let (network, transport) = (14, 14 + header);
        if !plan.ipv6 {
            bytes[network + 10..network + 12].fill(0);
        }
        let ip_sum = sum(&bytes[network..transport]);
        // The pseudo-header: both addresses, the protocol and the length of the segment.
        let tcp_sum = sum(&bytes[network + at..transport]) + 6 + 20 + sum(&bytes[transport..transport + 20]);
        let mut words = [0; 10];
        for (word, eight) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*eight);
        }
        Ok(Self { words, length, ip_sum, tcp_sum })
    }
}

/// Sum of the 16-bit words of `bytes`, of which there are an even number.
fn sum(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum()
}
