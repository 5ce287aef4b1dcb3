//! Who is at the other end of the control socket, for the log and the history.

use std::fs;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// What an audit subsystem that nobody logged in to says.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub struct Peer {
    /// "root", or "root (anna)" where anna logged in and became root.
    pub user: Option<String>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        let user = credentials.map(|who| shown(who.uid(), who.pid().and_then(login)));
        Self { user }
    }
}

fn shown(uid: u32, login: Option<u32>) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    match login {
        Some(login) if login != uid => format!("{} ({})", name(uid, &users), name(login, &users)),
        _ => name(uid, &users),
    }
}

/// The user that a process's session began with, whoever it has become since.
fn login(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|login| *login != NOBODY)
}

/// Only the machine's own list is asked: a directory service that doesn't answer must not hold up a reload.
fn name(uid: u32, users: &str) -> String {
    let named = |line: &str| -> Option<String> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.escape_debug().to_string())
    };
    users.lines().find_map(named).unwrap_or_else(|| format!("user {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_from_the_machines_own_list() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name(0, users), "root");
        assert_eq!(name(1000, users), "anna");
        assert_eq!(name(77, users), "user 77");
    }
}
