//! The traffic of the endurance test: a flood from many clients, a steady flow of the mail server, and who counts what arrives.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::addresses::PROVIDER4;
use crate::frame::{Frame, Mac, Tcp};
use crate::{Captured, Host, Lab, Sniffer};

/// Clients that flood.
const CLIENTS: u32 = 100;
/// SYNs of the mail server in each second: far more than a busy one opens, and few enough that none is lost for want of room.
const MAIL_RATE: u32 = 500;
/// How often a sender looks at the clock.
const TICKS: u32 = 200;
/// Where a frame's TCP sequence number stands: Ethernet, 20 bytes of IPv4, both ports.
const SEQUENCE: usize = 14 + 20 + 4;

pub struct Traffic<'lab> {
    lab: &'lab Lab,
    outside: Sniffer,
    flood: u32,
}

/// Frames that were sent.
#[derive(Clone, Copy)]
pub struct Loads {
    pub flood: u64,
    pub mail: u64,
}

/// Frames to port 25 that have come out on the outside.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub mail: u64,
    pub others: u64,
}

impl<'lab> Traffic<'lab> {
    pub fn new(lab: &'lab Lab, flood: u32) -> Result<Self> {
        Ok(Self { lab, outside: lab.internet().sniff("wan0")?, flood })
    }

    /// Runs `work` with both flows on; returns what it returned, and what was sent.
    pub fn during<T>(&self, work: &mut dyn FnMut() -> Result<T>) -> Result<(T, Loads)> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| send(self.lab.client(0), &self.flood_frames(), self.flood, &stop));
            let mail = scope.spawn(|| send(self.lab.mail_server(), &self.mail_frames(), MAIL_RATE, &stop));
            let result = work();
            stop.store(true, Ordering::Relaxed);
            let sent = [flood, mail].map(|thread| thread.join().ok());
            let [flood, mail] = sent.map(|result| result.context("a sender has panicked")?);
            Ok((result?, Loads { flood: flood?, mail: mail? }))
        })
    }

    /// Counts anew from here.
    pub fn forget(&self) {
        self.outside.clear();
    }

    pub fn arrived(&self) -> Arrived {
        let mail = self.outside.count(|frame| source(frame) == Some(self.lab.mail_server().addr4().into()));
        let all = self.outside.count(|frame| source(frame).is_some());
        Arrived { mail: mail as u64, others: (all - mail) as u64 }
    }

    /// Waits until one more SYN of the mail server has arrived.
    pub fn wait_for_mail(&self) -> Result<()> {
        let (before, begun) = (self.arrived().mail, Instant::now());
        while self.arrived().mail == before {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the mail server's packets arrive no more");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Frames that the capture has missed: with any of them nothing is proved.
    pub fn capture_lost(&self) -> Result<u64> {
        self.outside.lost()
    }

    fn flood_frames(&self) -> Vec<Vec<u8>> {
        let gateway = self.lab.gateway().mac();
        let client = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 25, 64, 1)) + n);
            syn(Mac([0x06, 0x25, a, b, c, d]), gateway, address, 20_000)
        };
        (0..CLIENTS).map(client).collect()
    }

    fn mail_frames(&self) -> Vec<Vec<u8>> {
        let (mail, gateway) = (self.lab.mail_server(), self.lab.gateway().mac());
        (0..MAIL_RATE as u16).map(|n| syn(mail.mac(), gateway, mail.addr4(), 20_000 + n)).collect()
    }
}

fn syn(from: Mac, gateway: Mac, source: Ipv4Addr, port: u16) -> Vec<u8> {
    Frame::new(from, gateway).ip(source.into(), PROVIDER4.into()).tcp(Tcp::syn(port, 25)).build()
}

/// Sends the frames in turn, as many a second as it is told, each time with another sequence number: every one is a new
/// attempt. Routers don't look at the checksum that this breaks. Returns how many it has sent.
fn send(host: &Host, frames: &[Vec<u8>], rate: u32, stop: &AtomicBool) -> Result<u64> {
    let socket = host.raw_socket("eth0")?;
    let mut frames = frames.to_vec();
    let (begun, mut sent) = (Instant::now(), 0_u64);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // A sender that was not let onto a processor makes up for it, but not all at once: no line is that fast.
        for _ in 0..due.saturating_sub(sent).min(u64::from(4 * rate / TICKS).max(1)) {
            let frame = &mut frames[next];
            frame[SEQUENCE..SEQUENCE + 4].copy_from_slice(&(sent as u32).to_be_bytes());
            socket.send(frame)?;
            sent += 1;
            next = (next + 1) % frames.len();
        }
        std::thread::sleep(Duration::from_secs(1) / TICKS);
    }
    Ok(sent)
}

/// The sender of a SYN to port 25; `None` for everything else.
fn source(frame: &Captured) -> Option<IpAddr> {
    frame.view().filter(|view| view.is_syn_to(25))?.source
}
