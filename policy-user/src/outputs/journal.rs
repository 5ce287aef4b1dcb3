//! systemd's journal: one datagram an entry, in its native protocol, so that every field can be searched for.
//!
//! Written by hand: the crates that speak it fix the socket's path, so that no test could listen there.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::{Entry, Sink};

/// Where the journal of the machine listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// `journalctl MESSAGE_ID=…` finds our entries whatever they say.
const MESSAGE_ID: &str = "6f2b0c1d8a7e4b5f9c3d5a1e7f402519";

/// Warning, as in syslog: a blocked attempt is for a human to look at, not to wake for.
const PRIORITY: &str = "4";

pub struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), socket: None }
    }

    fn socket(&mut self) -> io::Result<&UnixDatagram> {
        match &mut self.socket {
            Some(socket) => Ok(socket),
            none => Ok(none.insert(UnixDatagram::unbound()?)),
        }
    }
}

impl Sink for Journal {
    fn send(&mut self, entry: &Entry) -> io::Result<()> {
        let datagram = datagram(entry);
        let path = self.path.clone();
        self.socket()?.send_to(&datagram, path).map(drop)
    }
}

fn datagram(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    field(&mut bytes, "MESSAGE", &entry.message);
    field(&mut bytes, "MESSAGE_ID", MESSAGE_ID);
    field(&mut bytes, "PRIORITY", PRIORITY);
    field(&mut bytes, "SYSLOG_IDENTIFIER", "smtpfence");
    for (name, value) in entry.texts() {
        field(&mut bytes, &format!("SMTPFENCE_{}", name.to_ascii_uppercase()), &value);
    }
    bytes
}

/// `NAME=value`; with the length in front (64 bits, little endian) where the value has a line break, which would begin
/// another field (systemd, `docs/JOURNAL_NATIVE_PROTOCOL`).
fn field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn a_line_break_in_a_name_begins_no_field() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let record = json!({ "client": "10.25.0.77", "interface": "a\nPRIORITY=0", "rule": null });
        let entry = Entry::new(Timestamp::UNIX_EPOCH, "one line".to_owned(), &record).unwrap();
        Journal::at(&path).send(&entry).unwrap();
        let mut buffer = [0; 4096];
        let len = listener.recv(&mut buffer).unwrap();
        let mut expected =
            format!("MESSAGE=one line\nMESSAGE_ID={MESSAGE_ID}\nPRIORITY=4\nSYSLOG_IDENTIFIER=smtpfence\n")
                .into_bytes();
        expected.extend_from_slice(b"SMTPFENCE_CLIENT=10.25.0.77\nSMTPFENCE_INTERFACE\n");
        expected.extend_from_slice(&12u64.to_le_bytes());
        expected.extend_from_slice(b"a\nPRIORITY=0\n");
        assert_eq!(&buffer[..len], expected);
    }
}
