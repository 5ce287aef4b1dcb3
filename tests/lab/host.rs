//! One machine of the lab: a network namespace, and what can be done inside it.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::child::ChildGuard;
use crate::frame::Mac;
use crate::iproute;
use crate::listener::Listener;
use crate::packet::RawSocket;
use crate::sniffer::Sniffer;
use crate::sys::{self, PacketSocket};
use crate::tun::Tun;

/// A network interface as the lab set it up.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub mac: Mac,
    pub addr4: Ipv4Addr,
    pub addr6: Ipv6Addr,
}

/// A network namespace with its interfaces; the first of them is the one that `mac()` and `addr…()` speak of.
#[derive(Debug)]
pub struct Host {
    namespace: String,
    entry: File,
    interfaces: Vec<Interface>,
}

impl Host {
    /// Opens the namespace that `ip netns add` has made.
    pub(crate) fn open(namespace: String, interfaces: Vec<Interface>) -> Result<Self> {
        let path = PathBuf::from("/run/netns").join(&namespace);
        let entry = File::open(&path).with_context(|| format!("could not open {}", path.display()))?;
        Ok(Self { namespace, entry, interfaces })
    }

    /// The name of the namespace, for `ip -n`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The IPv4 address of the first interface.
    pub fn addr4(&self) -> Ipv4Addr {
        self.interfaces.first().map_or(Ipv4Addr::UNSPECIFIED, |i| i.addr4)
    }

    /// The IPv6 address of the first interface.
    pub fn addr6(&self) -> Ipv6Addr {
        self.interfaces.first().map_or(Ipv6Addr::UNSPECIFIED, |i| i.addr6)
    }

    /// The address of the first interface in the family of `other`.
    pub fn addr_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.addr4().into() } else { self.addr6().into() }
    }

    /// The MAC of the first interface.
    pub fn mac(&self) -> Mac {
        self.interfaces.first().map_or(Mac([0; 6]), |i| i.mac)
    }

    /// The interfaces that the lab made, as it made them.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interface called `name`, as the lab made it.
    pub fn interface(&self, name: &str) -> Result<&Interface> {
        let found = self.interfaces.iter().find(|i| i.name == name);
        found.with_context(|| format!("{} was made without an interface {name}", self.namespace))
    }

    /// The present index of an interface.
    pub fn ifindex(&self, name: &str) -> Result<u32> {
        let index = self.run(|| -> std::io::Result<u32> {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
            Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
        })?;
        index.with_context(|| format!("{} has no interface {name}", self.namespace))
    }

    /// A command that will run in this namespace. Mounts stay the caller's, so a bpffs is in sight.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program);
        command
    }

    /// Runs `command` in the background, in this namespace however it was made.
    pub fn spawn(&self, command: Command) -> Result<ChildGuard> {
        self.run(|| ChildGuard::spawn(command))?
    }

    /// Runs one `ip` command here, words separated by spaces: `host.ip("link set lan0 down")`.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.namespace]).args(words.split_whitespace());
        iproute::feed(ip, "").with_context(|| format!("`ip {words}` failed in {}", self.namespace))
    }

    /// Loads an nftables ruleset here.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        let mut nft = self.command("nft");
        nft.args(["-f", "-"]);
        iproute::feed(nft, ruleset)
            .with_context(|| format!("nft refused this ruleset in {}:\n{ruleset}", self.namespace))?;
        Ok(())
    }

    /// Writes a sysctl below `/proc/sys/net`: `host.sysctl("ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys/net").join(key);
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("could not write {}", path.display()))
    }

    /// Runs `work` on a thread of its own inside this namespace; sockets opened there stay in it.
    /// A panic in `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let body = || {
                move_into_link_name_space(self.entry.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("could not enter namespace {}", self.namespace))?;
                Ok(work())
            };
            let thread = std::thread::Builder::new()
                .name(std::thread::current().name().unwrap_or("lab").into())
                .spawn_scoped(scope, body)
                .context("could not start a thread")?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Whether a connection comes about within 300 ms; on the lab's wires it takes less than one.
    pub fn can_connect(&self, to: SocketAddr) -> bool {
        self.connect(to, Duration::from_millis(300)).is_ok()
    }

    /// Opens a TCP connection from here. A silent drop shows as `TimedOut`.
    pub fn connect(&self, to: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, timeout)).map_err(std::io::Error::other)?
    }

    /// Opens a TCP connection from a given address of this host; port 0 lets the kernel choose.
    pub fn connect_from(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        timeout: Duration,
    ) -> std::io::Result<TcpStream> {
        let open = || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), timeout)?;
            Ok(socket.into())
        };
        self.run(open).map_err(std::io::Error::other)?
    }

    /// Starts a server that accepts, greets and echoes; `[::]:25` serves both families.
    pub fn listen(&self, address: SocketAddr) -> Result<Listener> {
        let socket = self
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("could not listen on {address} in {}", self.namespace))?;
        Listener::start(socket)
    }

    /// A socket for whole frames on one interface.
    pub fn raw_socket(&self, interface: &str) -> Result<RawSocket> {
        Ok(RawSocket::new(self.packet_socket(interface, true)?))
    }

    /// Starts to capture what an interface sends and receives.
    pub fn sniff(&self, interface: &str) -> Result<Sniffer> {
        Sniffer::start(self.packet_socket(interface, false)?)
    }

    /// Makes a tun device, up, whose other end is the caller.
    pub fn tun(&self, name: &str) -> Result<Tun> {
        let file = self.run(|| sys::open_tun(name))?;
        let file =
            file.with_context(|| format!("could not make the tun device {name} in {}", self.namespace))?;
        self.ip(&format!("link set {name} up"))?;
        Ok(Tun::new(file))
    }

    fn packet_socket(&self, interface: &str, ignore_outgoing: bool) -> Result<PacketSocket> {
        let index = self.ifindex(interface)?;
        self.run(|| PacketSocket::open(index, ignore_outgoing))?
            .with_context(|| format!("could not open a packet socket on {interface} in {}", self.namespace))
    }
}
