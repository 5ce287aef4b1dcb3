//! TCP: any flags, options, offsets and checksums; the promise is about the port.

use lab::frame::flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};

use super::Bare::Forwards;
use super::parties::Shot;
use super::table::Table;

pub fn rows(t: &mut Table) {
    const ANY_FLAG: &str = "a filter that looks at SYNs alone lets sessions go on and reversed roles begin";
    for (name, flags) in [
        ("null", 0),
        ("SYN with ECN", SYN | ECE | CWR),
        ("SYN+ACK (simultaneous open)", SYN | ACK),
        ("SYN+FIN", SYN | FIN),
        ("SYN+RST", SYN | RST),
        ("SYN+PSH", SYN | PSH),
        ("SYN+URG", SYN | URG),
        ("ACK", ACK),
        ("PSH+ACK", PSH | ACK),
        ("FIN", FIN),
        ("FIN+ACK", FIN | ACK),
        ("RST", RST),
        ("RST+ACK", RST | ACK),
        ("URG", URG),
        ("Xmas", FIN | PSH | URG),
        ("all flags", 0xff),
    ] {
        t.both(name, ANY_FLAG, Forwards, |s| s.ip().tcp(s.segment(flags).acknowledgement(9)));
    }
    for (name, options) in [
        ("Fast Open", &[34u8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..]),
        ("MPTCP", &[30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("40 bytes of options", &[1; 40]),
        ("an option of length 0", &[8, 0, 0, 0]),
    ] {
        t.both(name, "options stand behind the port", Forwards, |s| {
            s.ip().tcp(s.syn().options(options).payload(b"EHLO bot\r\n"))
        });
    }
    for port in [0, 25, 443, 587, 65_535] {
        t.both(&format!("source port {port}"), "only the destination port counts", Forwards, |s| {
            let from = Shot { source_port: port, ..*s };
            from.ip().tcp(from.syn())
        });
    }
    for offset in [0, 4, 6, 15] {
        t.both(&format!("data offset {offset}"), "routers don't look at it", Forwards, |s| {
            s.ip().tcp(s.syn().data_offset(offset))
        });
    }
    for checksum in [0, 0xffff, 0xdead] {
        t.both(&format!("checksum {checksum:#x}"), "routers don't check it", Forwards, |s| {
            s.ip().tcp(s.syn().checksum(checksum))
        });
    }
    for (name, sequence, window) in
        [("sequence 0", 0, 1), ("sequence 2^32-1", u32::MAX, 0xffff), ("window 0", 7, 0)]
    {
        t.both(name, "no part of the decision", Forwards, |s| {
            s.ip().tcp(s.syn().sequence(sequence).window(window))
        });
    }
    t.both("SYN with data", "what a retransmitted Fast Open looks like", Forwards, |s| {
        s.ip().tcp(s.syn().payload(&[0x41; 512]))
    });
}
