//! Whole frames in and out of one interface: [`RawSocket`] and what it receives.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frame::View;
use crate::sys::PacketSocket;

/// One frame may be a whole GSO packet, so the buffer must hold more than an MTU.
pub(crate) const LARGEST_FRAME: usize = 1 << 17;

/// A frame as it was on the wire: a tag that the kernel keeps beside the frame is put back.
#[derive(Clone, Debug)]
pub struct Captured {
    pub bytes: Vec<u8>,
    /// Sent by this interface rather than received.
    pub outgoing: bool,
    /// When the kernel saw it, whenever the capture has got it.
    pub time: Option<SystemTime>,
}

impl Captured {
    /// The frame taken apart; `None` for what is not even Ethernet.
    pub fn view(&self) -> Option<View> {
        View::parse(&self.bytes)
    }
}

/// Sends and receives whole frames on one interface. What the interface itself sends is not received.
pub struct RawSocket {
    socket: PacketSocket,
}

impl RawSocket {
    pub(crate) fn new(socket: PacketSocket) -> Self {
        Self { socket }
    }

    /// Sends one frame, Ethernet header included.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // ENOBUFS means the queue of the device is full: it drains within microseconds on a veth.
        for _ in 0..1000 {
            match self.socket.send(frame) {
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) || e.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_micros(100));
                }
                other => {
                    return other.with_context(|| format!("could not send a {}-byte frame", frame.len()));
                }
            }
        }
        anyhow::bail!("the interface's queue stayed full")
    }

    /// The next frame, or `None` after `timeout`.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Captured>> {
        self.receive_matching(|_| true, timeout)
    }

    /// The next frame that `matches`, or `None` after `timeout`; the others are thrown away.
    pub fn receive_matching(
        &self,
        mut matches: impl FnMut(&Captured) -> bool,
        timeout: Duration,
    ) -> Result<Option<Captured>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0; LARGEST_FRAME];
        loop {
            while let Some(frame) = take(&self.socket, &mut buffer)? {
                if matches(&frame) {
                    return Ok(Some(frame));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            wait_readable(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)], Some(left))?;
        }
    }
}

/// Takes one frame from the socket, if there is one.
pub(crate) fn take(socket: &PacketSocket, buffer: &mut [u8]) -> Result<Option<Captured>> {
    let received = match socket.receive(buffer) {
        Ok(received) => received,
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
        Err(e) => return Err(e).context("could not receive from the packet socket"),
    };
    let mut bytes = buffer[..received.length].to_vec();
    if let Some((tpid, tci)) = received.vlan
        && bytes.len() >= 12
    {
        bytes.splice(12..12, [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    }
    Ok(Some(Captured { bytes, outgoing: received.outgoing, time: received.time }))
}

/// Waits until one of `fds` is readable; without `timeout` for as long as it takes.
pub(crate) fn wait_readable(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e).context("poll failed"),
    }
}
