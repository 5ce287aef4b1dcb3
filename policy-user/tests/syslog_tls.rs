//! Syslog over TLS from end to end: whom the agent believes, and what becomes of entries while a server is away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policy_user::outputs::{Entry, Outputs};
use policy_user::policy::{LogTarget, Transport};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// An authority and the file that names it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authorities.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file, _dir: dir }
    }

    /// A server's configuration with a certificate for this name.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

type Session = StreamOwned<ServerConnection, std::net::TcpStream>;

/// The next connection, before its handshake.
fn accepted(listener: &TcpListener, config: &Arc<ServerConfig>) -> Session {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// One message by its length in front (RFC 5425).
fn message(session: &mut Session) -> std::io::Result<String> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        session.read_exact(&mut byte)?;
        match byte[0] {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut text = vec![0; length];
    session.read_exact(&mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

fn outputs(authority: &Authority, address: SocketAddr) -> Outputs {
    let server = format!("localhost:{}", address.port());
    let authorities = Some(authority.file.clone());
    Outputs::start(vec![LogTarget::Syslog { transport: Transport::Tls, server, authorities }])
}

fn entry(n: u32) -> Vec<Entry> {
    let fields = json!({ "event": "attempt", "client": "10.25.0.77" });
    vec![Entry::new(Timestamp::UNIX_EPOCH, format!("line {n}"), &fields).unwrap()]
}

#[test]
fn a_server_with_a_certificate_of_the_authority_gets_every_entry_in_order() {
    let authority = Authority::new();
    let (listener, address) = listener();
    let outputs = outputs(&authority, address);
    outputs.offer(entry(1));
    outputs.offer(entry(2));
    let mut session = accepted(&listener, &authority.server("localhost"));
    for n in 1..=2 {
        let text = message(&mut session).unwrap();
        assert!(text.contains("client=\"10.25.0.77\"") && text.ends_with(&format!("line {n}")), "{text}");
    }
}

#[test]
fn a_server_that_cannot_prove_its_name_gets_nothing_and_the_entry_waits_for_one_that_can() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (listener, address) = listener();
    let outputs = outputs(&authority, address);
    outputs.offer(entry(1));
    // The right authority for another name, then the right name from an authority that nobody trusts.
    for impostor in [authority.server("other.example"), stranger.server("localhost")] {
        let refused = message(&mut accepted(&listener, &impostor)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData, "{refused}");
    }
    let text = message(&mut accepted(&listener, &authority.server("localhost"))).unwrap();
    assert!(text.ends_with("line 1"), "{text}");
}

#[test]
fn a_server_that_restarts_loses_nothing_that_comes_later() {
    let authority = Authority::new();
    let (listener, address) = listener();
    let config = authority.server("localhost");
    let outputs = outputs(&authority, address);
    for n in 1..=5 {
        outputs.offer(entry(n));
        let mut session = accepted(&listener, &config);
        let text = message(&mut session).unwrap();
        assert!(text.ends_with(&format!("line {n}")), "{text}");
        // Every other time without a word.
        if n % 2 == 0 {
            session.conn.send_close_notify();
            session.conn.complete_io(&mut session.sock).unwrap();
        }
        drop(session);
        // The end travels to the other side.
        std::thread::sleep(Duration::from_millis(50));
    }
}
