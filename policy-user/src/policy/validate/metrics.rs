//! `metrics`: where they can be asked for.

use std::net::SocketAddr;

use super::super::diagnostics::quoted;
use super::super::file::{self, Written};
use super::super::places::Spot;
use super::Findings;

pub fn validate(
    written: &Written<file::Metrics>,
    root: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<SocketAddr> {
    let section = findings.optional(written, root, "metrics")?;
    let spot = root.key("metrics");
    findings.unknown_keys::<file::Metrics>(spot);
    let text = findings.require(&section.listen, spot, "listen", "listen: \"127.0.0.1:9725\"")?;
    let at = spot.key("listen").span();
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 && address.ip().is_loopback() => return Some(address),
        Ok(address) if address.port() != 0 => findings.error(
            "not-loopback",
            at,
            format!("{} is no loopback address: other machines could ask there, and whoever asks is answered", quoted(text)),
            format!(
                "write 127.0.0.1:{0} or \"[::1]:{0}\"; a Prometheus elsewhere needs an agent, a tunnel or a proxy on this \
                 machine that asks who it is",
                address.port()
            ),
        ),
        _ => findings.error(
            "bad-listen",
            at,
            format!("{} is no address with a port", quoted(text)),
            "write 127.0.0.1:9725 or \"[::1]:9725\"",
        ),
    }
    None
}
