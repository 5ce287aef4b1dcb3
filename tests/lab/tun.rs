//! An interface without a link layer, whose other end is the test itself.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};

use crate::packet::{LARGEST_FRAME, wait_readable};
use crate::sys;

/// A tun device; it is gone when dropped.
pub struct Tun {
    file: File,
}

impl Tun {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    /// Pretends to be of another hardware type; the device must be down.
    pub fn set_hardware(&self, hardware: u16) -> Result<()> {
        sys::set_hardware(&self.file, hardware)
            .context("could not change the hardware type of the tun device")
    }

    /// Hands one IP packet to the host, as if it came in through the device. `false` where the device refuses it: it takes
    /// only what begins like IPv4 or IPv6.
    pub fn send(&self, packet: &[u8]) -> Result<bool> {
        match (&self.file).write(packet) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(false),
            Err(error) => Err(error).context("could not write to the tun device"),
        }
    }

    /// All packets that the host sends out through the device, until it was quiet for `quiet`.
    pub fn receive_until_quiet(&self, quiet: Duration) -> Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; LARGEST_FRAME];
        let mut last = Instant::now();
        while let Some(left) = quiet.checked_sub(last.elapsed()) {
            let mut fds = [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::IN)];
            wait_readable(&mut fds, Some(left))?;
            if fds[0].revents().contains(PollFlags::IN) {
                let length = (&self.file).read(&mut buffer).context("could not read from the tun device")?;
                packets.push(buffer[..length].to_vec());
                last = Instant::now();
            }
        }
        Ok(packets)
    }
}
