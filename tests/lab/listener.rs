//! A TCP server for tests: accepts, greets, echoes, and remembers who came.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};

use crate::packet::wait_readable;

/// What every accepted connection is sent first, so that a client can tell who answered.
pub const GREETING: &[u8] = b"220 lab.example ready\r\n";

/// Connections kept open at once; the oldest is closed beyond it.
const MOST_OPEN: usize = 900;

/// Listens until dropped; then its connections are closed too.
pub struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Closing our end wakes the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    peers: Vec<SocketAddr>,
    received: u64,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    pub(crate) fn start(socket: TcpListener) -> Result<Self> {
        socket.set_nonblocking(true).context("could not make the listener non-blocking")?;
        let address = socket.local_addr().context("the listener has no address")?;
        let shared = Arc::new(Shared::default());
        let (wake, woken) = UnixStream::pair().context("could not make a wake-up channel")?;
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("listener".into())
            .spawn(move || serve(&socket, &woken, &for_thread))
            .context("could not start the listener thread")?;
        Ok(Self { address, shared, wake: Some(wake), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.seen().peers.len()
    }

    /// The address of each accepted connection as it looks from here, oldest first.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.shared.seen().peers.clone()
    }

    /// Bytes received (and echoed) on all connections.
    pub fn received(&self) -> u64 {
        self.shared.seen().received
    }

    /// Waits until `n` connections were accepted; false after `timeout`.
    pub fn wait_for(&self, n: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut seen = self.shared.seen();
        while seen.peers.len() < n {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed where it happened; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &TcpListener, woken: &UnixStream, shared: &Shared) {
    let mut open: Vec<TcpStream> = Vec::new();
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
        ];
        fds.extend(open.iter().map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)));
        if wait_readable(&mut fds, None).is_err() || !fds[0].revents().is_empty() {
            return;
        }
        open.retain_mut(|stream| echo(stream, shared));
        while let Ok((stream, peer)) = socket.accept() {
            if open.len() == MOST_OPEN {
                open.remove(0);
            }
            // Before the greeting, so that whoever has read it finds itself counted.
            shared.seen().peers.push(peer);
            shared.changed.notify_all();
            if stream.set_nonblocking(true).is_ok() && (&stream).write_all(GREETING).is_ok() {
                open.push(stream);
            }
        }
    }
}

/// Sends back what has arrived; false once the connection is over.
fn echo(stream: &mut TcpStream, shared: &Shared) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => {
            shared.seen().received += n as u64;
            stream.write_all(&buffer[..n]).is_ok()
        }
        Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
