//! A reader of nftables' log group, as a logging daemon would be: without one `log group` does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::stage::Stage;

/// linux/netfilter/nfnetlink_log.h
const NFULNL_MSG_CONFIG: u16 = (4 << 8) | 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULNL_COPY_PACKET: u8 = 2;

pub(super) struct NflogReader {
    stop: Arc<AtomicBool>,
    datagrams: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl NflogReader {
    pub fn start(stage: &Stage, group: u16) -> Result<Self> {
        let socket = stage.gateway().run(|| bound(group))?.context("could not ask for the log group")?;
        let (stop, datagrams) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let (stop, datagrams) = (stop.clone(), datagrams.clone());
            std::thread::spawn(move || {
                let mut buffer = Vec::with_capacity(1 << 17);
                while !stop.load(Ordering::Relaxed) {
                    buffer.clear();
                    // An error tells that the socket was full: what was lost is lost.
                    match socket.recv(&mut buffer, 0) {
                        Ok(_) => _ = datagrams.fetch_add(1, Ordering::Relaxed),
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            })
        };
        Ok(Self { stop, datagrams, thread: Some(thread) })
    }

    pub fn must_have_read(&self) -> Result<()> {
        // The kernel holds back what it has for up to a second, so that it can send more at once.
        for _ in 0..1500 {
            if self.datagrams.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("nothing came through the log group")
    }
}

impl Drop for NflogReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends within a millisecond.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bound(group: u16) -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    request(&socket, group, NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND])?;
    // Whole packets: a big-endian length, the mode, and a byte of padding.
    request(&socket, group, NFULA_CFG_MODE, &[0, 0, 0xff, 0xff, NFULNL_COPY_PACKET, 0])?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Sends one attribute of a group's configuration and waits for the answer.
fn request(socket: &Socket, group: u16, attribute: u16, value: &[u8]) -> Result<()> {
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let mut body = vec![0, 0];
    body.extend(group.to_be_bytes());
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(attribute.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(NFULNL_MSG_CONFIG.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    socket.send(&message, 0)?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0)?;
    // NLMSG_ERROR carries an error number behind the header; 0 is the acknowledgement.
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    ensure!(error == Some(0), "the kernel answered {error:?}");
    Ok(())
}
