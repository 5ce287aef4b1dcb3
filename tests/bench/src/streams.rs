//! Connections of real sockets through the gateway: bulk, small segments, and new ones as fast as they come.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::SockRef;

use crate::filters::{Contender, Filter};
use crate::floods::Effort;
use crate::results::Series;
use crate::scenarios::Wanted;
use crate::stage::Stage;

const CONTENDERS: &[&str] =
    &["forwarding", "forwarding-again", "tcx-empty", "tcx-empty-both", "ours", "nft-forward", "nft-netdev"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bulk,
    Small,
    Connections,
}

const KINDS: [(Kind, &str, &str, &str); 3] = [
    (Kind::Bulk, "stream-bulk", "one TCP stream, with segmentation offload", "Gbit/s"),
    (Kind::Small, "stream-small", "one TCP stream in segments of 64 bytes", "segments/s"),
    (Kind::Connections, "stream-connections", "new connections to port 587", "connections/s"),
];

/// As `--scenario` knows them.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().map(|(_, name, ..)| name)
}

/// Runs every kind with every contender; tells on standard error how far it is.
pub fn run(effort: Effort, wanted: Wanted<'_>, random: &mut fastrand::Rng) -> Result<Vec<Series>> {
    let kinds: Vec<_> = KINDS.into_iter().filter(|(_, scenario, ..)| wanted.scenario(scenario)).collect();
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let stage = Stage::for_streams()?;
    let names: Vec<&'static str> = CONTENDERS.iter().copied().filter(|name| wanted.contender(name)).collect();
    let mut filters: HashMap<&str, Box<dyn Filter>> = HashMap::new();
    for name in &names {
        filters.insert(name, Contender::named(name)?.prepare(&stage)?);
    }
    let duration = Duration::from_millis(if effort.quick { 250 } else { 1000 });
    let mut all = Vec::new();
    for (kind, scenario, label, unit) in kinds {
        let mut series = Vec::new();
        for name in &names {
            series.push(Series { unit, ..Series::new(scenario, label, Contender::named(name)?) });
        }
        for round in 1..=effort.rounds {
            eprintln!("{label}: round {round} of {}", effort.rounds);
            let mut order: Vec<usize> = (0..names.len()).collect();
            random.shuffle(&mut order);
            for i in order {
                let filter = filters.get_mut(names[i]).context("it was not prepared")?;
                filter.enter(&stage)?;
                let rate = rate(&stage, kind, duration).with_context(|| format!("{label}, {}", names[i]));
                filter.leave(&stage)?;
                series[i].rounds.push(rate?);
            }
        }
        all.extend(series);
    }
    Ok(all)
}

/// What comes through in a second.
fn rate(stage: &Stage, kind: Kind, duration: Duration) -> Result<f64> {
    let port = if kind == Kind::Connections { 587 } else { 443 };
    let to = SocketAddr::from((stage.outside4(), port));
    let listener = stage.lab().internet().run(|| TcpListener::bind(to))??;
    let (stop, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    // How often the server looks whether it shall stop.
    SockRef::from(&listener).set_read_timeout(Some(Duration::from_millis(20)))?;
    std::thread::scope(|scope| {
        // smtpfence's reader of events wakes as often, which keeps the processors awake; so it must be for everybody.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let server = scope.spawn(|| serve(&listener, kind, &stop, &bytes));
        let done = stage.lab().client(0).run(|| match kind {
            Kind::Bulk => send(to, duration, &vec![0; 256 << 10], &bytes),
            Kind::Small => send(to, duration, &[0; 64], &bytes),
            Kind::Connections => connect(to, duration),
        });
        stop.store(true, Ordering::Relaxed);
        let served = server.join().map_err(|_| anyhow::anyhow!("the server panicked"))?;
        let rate = done??;
        served?;
        Ok(if kind == Kind::Bulk { rate * 8.0 * f64::from(256 << 10) / 1e9 } else { rate })
    })
}

/// Accepts one connection after the other and reads each to its end, or ends it at once where only new ones count.
fn serve(listener: &TcpListener, kind: Kind, stop: &AtomicBool, bytes: &AtomicU64) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        if kind == Kind::Connections {
            // Ends with a reset: a connection that is closed in order would hold its ports for a minute.
            SockRef::from(&connection).set_linger(Some(Duration::ZERO))?;
            continue;
        }
        // Inherited from the listener.
        connection.set_read_timeout(None)?;
        loop {
            match connection.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => _ = bytes.fetch_add(read as u64, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Writes of `block` a second, all of which have arrived.
fn send(to: SocketAddr, duration: Duration, block: &[u8], arrived: &AtomicU64) -> Result<f64> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    let (begin, mut blocks) = (Instant::now(), 0u64);
    while begin.elapsed() < duration {
        connection.write_all(block)?;
        blocks += 1;
    }
    let sent = blocks * block.len() as u64;
    while arrived.load(Ordering::Relaxed) < sent {
        ensure!(begin.elapsed() < duration + Duration::from_secs(10), "not all that was sent has arrived");
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(blocks as f64 / begin.elapsed().as_secs_f64())
}

/// Connections a second, one after the other: each is over when the server has ended it.
fn connect(to: SocketAddr, duration: Duration) -> Result<f64> {
    let (begin, mut connections) = (Instant::now(), 0u32);
    while begin.elapsed() < duration {
        let mut connection = match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
            Ok(connection) => connection,
            // It came about, and was ended before we heard of it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                connections += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        match connection.read(&mut [0]) {
            Ok(0) => connections += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => connections += 1,
            Ok(_) => anyhow::bail!("the server has said something"),
            Err(error) => return Err(error).context("the server did not end the connection"),
        }
    }
    Ok(f64::from(connections) / begin.elapsed().as_secs_f64())
}
