//! The way to a server: its addresses, a connection, TLS; and what to tell the admin where one of them fails.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::trouble::{Stage, Trouble};

/// One address that takes nothing for so long is away; the next may not be.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
    let found = tokio::net::lookup_host((host, port)).await;
    let why = match found.map(Iterator::collect::<Vec<_>>) {
        Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
        Ok(_) => format!("{host} has no address"),
        Err(error) => format!("{host} has no address: {error}"),
    };
    Err(Trouble::new(Stage::Dns, why, "check the name, and the gateway's name servers in /etc/resolv.conf"))
}

/// Tries the addresses of a host one after the other.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let mut last = String::new();
    for address in resolve(host, port).await? {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = format!("{address} does not take connections: {error}"),
            Err(_) => last = format!("{address} does not answer within {} s", PATIENCE.as_secs()),
        }
    }
    Err(unreachable(last))
}

pub fn unreachable(why: impl Display) -> Trouble {
    let next = "check that the server runs and that no firewall keeps the gateway from it";
    Trouble::new(Stage::Connect, why, next)
}

pub fn no_tls(error: &dyn Display) -> Trouble {
    Trouble::new(
        Stage::Tls,
        format!("no safe TLS connection: {error}"),
        "check the server's certificate: its name, its date, and who has signed it; name an authority of your own in \
         `authorities`",
    )
}
