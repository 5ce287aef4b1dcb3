//! DNS messages as a resolver writes them, and as nobody should.
#![allow(dead_code, clippy::expect_used, reason = "each test needs a part of it, and may panic")]

use std::net::IpAddr;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const MX: u16 = 15;
pub const AAAA: u16 = 28;

/// One resource record: owner, type, data.
pub type Record = (Vec<u8>, u16, Vec<u8>);

/// A name on the wire, without compression. A label may hold any byte but a dot.
pub fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

pub fn address(owner: &str, address: IpAddr) -> Record {
    match address {
        IpAddr::V4(ip) => (wire(owner), A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (wire(owner), AAAA, ip.octets().to_vec()),
    }
}

pub fn alias(owner: &str, to: &str) -> Record {
    (wire(owner), CNAME, wire(to))
}

pub fn mail_server(owner: &str, server: &str) -> Record {
    (wire(owner), MX, [vec![0, 10], wire(server)].concat())
}

/// A message with one question; `flags` are the header's.
pub fn message(
    id: u16,
    flags: u16,
    question: (&str, u16),
    answers: &[Record],
    additional: &[Record],
) -> Vec<u8> {
    let count = |records: &[Record]| (records.len() as u16).to_be_bytes();
    let mut bytes = [id.to_be_bytes(), flags.to_be_bytes(), [0, 1]].concat();
    bytes.extend([count(answers), [0, 0], count(additional)].concat());
    bytes.extend(wire(question.0));
    bytes.extend([question.1.to_be_bytes(), [0, 1]].concat());
    for (owner, kind, data) in answers.iter().chain(additional) {
        bytes.extend(owner);
        bytes.extend([kind.to_be_bytes(), [0, 1], [0, 0], [0, 60]].concat());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// An answer without an error that the client may have asked for.
pub fn answer(id: u16, question: (&str, u16), answers: &[Record], additional: &[Record]) -> Vec<u8> {
    message(id, 0x8180, question, answers, additional)
}

/// The answer to a question for a name's address.
pub fn found(name: &str, at: IpAddr) -> Vec<u8> {
    let kind = if at.is_ipv4() { A } else { AAAA };
    answer(1, (name, kind), &[address(name, at)], &[])
}
