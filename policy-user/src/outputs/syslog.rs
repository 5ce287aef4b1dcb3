//! Syslog servers: messages of RFC 5424 over UDP (RFC 5426), TCP (RFC 6587, octet counting) or TLS (RFC 5425).

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Entry, Sink};
use crate::authorities;
use crate::policy::Transport;

/// Facility 10 (security and authorisation), severity 4 (warning).
const PRIORITY: u8 = 10 * 8 + 4;

/// The enterprise number that RFC 5612 keeps for documentation: the project has none of its own.
const STRUCTURE: &str = "smtpfence@32473";

/// A server that takes nothing for so long is away.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Syslog {
    transport: Transport,
    server: String,
    authorities: Option<PathBuf>,
    host: String,
    connection: Option<Connection>,
}

enum Connection {
    Datagrams(UdpSocket),
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    fn send(&mut self, message: &str) -> io::Result<()> {
        let framed = |stream: &mut dyn Write| {
            stream.write_all(format!("{} {message}", message.len()).as_bytes())?;
            stream.flush()
        };
        match self {
            Self::Datagrams(socket) => socket.send(message.as_bytes()).map(drop),
            Self::Plain(stream) => framed(stream),
            Self::Tls(stream) => framed(stream),
        }
    }

    /// Whether the server has ended it: writing would succeed once more, and what was written be lost.
    fn is_over(&mut self) -> bool {
        match self {
            Self::Datagrams(_) => false,
            Self::Plain(stream) => is_end(&unblocked(stream, |stream| stream.peek(&mut [0]))),
            Self::Tls(stream) => {
                // Tickets and the like are read too: the end stands behind them.
                let StreamOwned { conn, sock } = &mut **stream;
                let ended = loop {
                    let read = unblocked(sock, |mut sock| conn.read_tls(&mut sock));
                    match read {
                        Ok(1..) if conn.process_new_packets().is_ok() => {}
                        other => break is_end(&other),
                    }
                };
                ended || conn.process_new_packets().is_ok_and(|state| state.peer_has_closed())
            }
        }
    }
}

/// Does something that must not wait for the server.
fn unblocked(stream: &TcpStream, read: impl FnOnce(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let result = read(stream);
    stream.set_nonblocking(false)?;
    result
}

/// Whether reading has met the end of a stream; that there is nothing to read is none.
fn is_end(read: &io::Result<usize>) -> bool {
    match read {
        Ok(read) => *read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

impl Syslog {
    pub fn new(transport: Transport, server: String, authorities: Option<PathBuf>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { transport, server, authorities, host, connection: None }
    }

    fn connect(&self) -> io::Result<Connection> {
        if self.transport == Transport::Udp {
            let address = self.server.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            return Ok(Connection::Datagrams(socket));
        }
        let stream = connect_tcp(&self.server)?;
        if self.transport == Transport::Tcp {
            return Ok(Connection::Plain(stream));
        }
        let host = self.server.rsplit_once(':').map_or(self.server.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let config = ClientConfig::builder()
            .with_root_certificates(authorities::load(self.authorities.as_deref())?)
            .with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Connection::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

impl Sink for Syslog {
    fn send(&mut self, entry: &Entry) -> io::Result<()> {
        let message = message(&self.host, entry);
        let kept = self.connection.take().and_then(|mut kept| (!kept.is_over()).then_some(kept));
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.send(&message)?;
        // Kept only if it worked: the next entry would not know how much of this one had gone.
        self.connection = Some(connection);
        Ok(())
    }
}

fn connect_tcp(server: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn message(host: &str, entry: &Entry) -> String {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let kind = entry.fields.get("event").and_then(serde_json::Value::as_str).unwrap_or("-");
    let mut data = String::new();
    for (name, value) in entry.texts() {
        data.push_str(&format!(" {name}=\"{}\"", escaped(&value)));
    }
    let time = entry.time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let pid = std::process::id();
    format!("<{PRIORITY}>1 {time} {host} smtpfence {pid} {kind} [{STRUCTURE}{data}] {}", entry.message)
}

/// Escaped as RFC 5424 §6.3.3 asks; control characters too, which servers treat in ways of their own.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => text.extend(['\\', c]),
            c if c.is_control() => text.extend(c.escape_unicode().filter(|c| *c != '\\')),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn a_message_has_the_shape_of_the_standard() {
        let time: Timestamp = "2026-11-24T09:00:00.123456789Z".parse().unwrap();
        let record =
            json!({ "event": "attempt", "client": "10.25.0.77", "interface": "a]\"\\\n", "rule": null });
        let entry = Entry::new(time, "text".to_owned(), &record).unwrap();
        let expected = format!(
            "<84>1 2026-11-24T09:00:00.123456Z gw smtpfence {} attempt [smtpfence@32473 client=\"10.25.0.77\" \
             event=\"attempt\" interface=\"a\\]\\\"\\\\u{{a}}\"] text",
            std::process::id()
        );
        assert_eq!(message("gw", &entry), expected);
    }
}
