//! A background capture of everything that one interface sends and receives.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};

use crate::packet::{Captured, LARGEST_FRAME, take, wait_readable};
use crate::sys::PacketSocket;

/// Bounds the memory of a capture that nobody reads; frames beyond it count as lost.
const MOST_FRAMES: usize = 1_000_000;

/// Collects frames until it is dropped. On ingress it sees a frame before TCX, on egress after it.
pub struct Sniffer {
    shared: Arc<Shared>,
    /// Closing our end wakes the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    capture: Mutex<Capture>,
    grown: Condvar,
}

#[derive(Default)]
struct Capture {
    frames: Vec<Captured>,
    lost: u64,
    failure: Option<String>,
}

impl Shared {
    fn capture(&self) -> MutexGuard<'_, Capture> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sniffer {
    pub(crate) fn start(socket: PacketSocket) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (wake, woken) = UnixStream::pair().context("could not make a wake-up channel")?;
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sniffer".into())
            .spawn(move || {
                if let Err(e) = collect(&socket, &woken, &for_thread) {
                    for_thread.capture().failure = Some(format!("{e:#}"));
                }
            })
            .context("could not start the capture thread")?;
        Ok(Self { shared, wake: Some(wake), thread: Some(thread) })
    }

    /// Everything captured so far.
    pub fn frames(&self) -> Vec<Captured> {
        self.shared.capture().frames.clone()
    }

    /// How many of the frames captured so far `matches` accepts.
    pub fn count(&self, matches: impl FnMut(&&Captured) -> bool) -> usize {
        self.shared.capture().frames.iter().filter(matches).count()
    }

    /// Forgets what was captured so far.
    pub fn clear(&self) {
        self.shared.capture().frames.clear();
    }

    /// Waits until a captured frame, old or new, is accepted by `matches`; `None` after `timeout`.
    pub fn wait_for(
        &self,
        mut matches: impl FnMut(&Captured) -> bool,
        timeout: Duration,
    ) -> Option<Captured> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0;
        let mut capture = self.shared.capture();
        loop {
            // clear() may have run while we waited.
            seen = seen.min(capture.frames.len());
            if let Some(found) = capture.frames[seen..].iter().find(|f| matches(f)) {
                return Some(found.clone());
            }
            seen = capture.frames.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.shared.grown.wait_timeout(capture, left);
            capture = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Frames that were missed; a test that counts must see 0 here.
    pub fn lost(&self) -> Result<u64> {
        let capture = self.shared.capture();
        if let Some(failure) = &capture.failure {
            anyhow::bail!("the capture ended early: {failure}");
        }
        Ok(capture.lost)
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed where it happened; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

fn collect(socket: &PacketSocket, woken: &UnixStream, shared: &Shared) -> Result<()> {
    let mut buffer = vec![0; LARGEST_FRAME];
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
        ];
        wait_readable(&mut fds, None)?;
        let stop = !fds[1].revents().is_empty();
        while let Some(frame) = take(socket, &mut buffer)? {
            let mut capture = shared.capture();
            if capture.frames.len() < MOST_FRAMES {
                capture.frames.push(frame);
            } else {
                capture.lost += 1;
            }
            shared.grown.notify_all();
        }
        shared.capture().lost += u64::from(socket.lost()?);
        if stop {
            return Ok(());
        }
    }
}
