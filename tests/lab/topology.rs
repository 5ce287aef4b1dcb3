//! Builds the lab's network and owns it: [`LabBuilder`] and [`Lab`].

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::{fs, iter};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use tempfile::TempDir;

use crate::addresses::{self, ANSWERED, FIRST_CLIENT, MAIL_SERVER, PROVIDER4, PROVIDER6};
use crate::host::{Host, Interface};
use crate::{iproute, leftovers};

/// What to build; see [`Lab::builder`].
#[derive(Clone, Debug)]
pub struct LabBuilder {
    clients: usize,
    nat: bool,
    addresses: Vec<IpAddr>,
}

/// A running network of namespaces. Dropping it ends every process in them and removes all traces.
pub struct Lab {
    tag: String,
    gateway: Host,
    internet: Host,
    mail_server: Host,
    switch: Host,
    clients: Vec<Host>,
    bpffs: Mutex<Option<PathBuf>>,
    directory: TempDir,
}

impl LabBuilder {
    /// How many clients there are on the LAN (1 unless told, 178 at most).
    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// Whether the gateway hides the LAN behind its own addresses, for both families (no unless told).
    pub fn nat(mut self, nat: bool) -> Self {
        self.nat = nat;
        self
    }

    /// One more address for `internet`, beside the networks for which it answers anyway.
    pub fn internet_address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Builds it. On failure nothing is left behind.
    pub fn build(self) -> Result<Lab> {
        ensure!(self.clients <= 178, "at most 178 clients fit the LAN");
        static SWEPT: Once = Once::new();
        SWEPT.call_once(leftovers::sweep);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = leftovers::tag(NUMBER.fetch_add(1, Ordering::Relaxed));
        self.build_as(&tag).inspect_err(|_| leftovers::take_down(&tag))
    }

    fn build_as(&self, tag: &str) -> Result<Lab> {
        let directory = tempfile::Builder::new()
            .prefix(tag)
            // Daemons that give up root must be able to reach their own files below it.
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("could not make the lab's directory")?;
        let numbers: Vec<usize> = (0..self.clients).map(|i| FIRST_CLIENT + i).collect();
        let client_names: Vec<String> = (0..self.clients).map(|i| format!("{tag}client{i}")).collect();
        let fixed = ["switch", "gateway", "internet", "mail"].map(|role| format!("{tag}{role}"));
        let every: Vec<String> = fixed.iter().chain(&client_names).cloned().collect();
        iproute::batch(None, &every.iter().map(|n| format!("netns add {n}")).collect::<Vec<_>>())?;

        let [switch, gateway, internet, mail] = fixed;
        let lan = |n: usize| vec![addresses::lan_interface(n)];
        let hosts = iter::zip(client_names, &numbers).map(|(name, n)| Host::open(name, lan(*n)));
        let lab = Lab {
            tag: tag.into(),
            gateway: Host::open(gateway, addresses::gateway_interfaces())?,
            internet: Host::open(internet, vec![addresses::internet_interface()])?,
            mail_server: Host::open(mail, lan(MAIL_SERVER))?,
            switch: Host::open(switch, Vec::new())?,
            clients: hosts.collect::<Result<_>>()?,
            bpffs: Mutex::new(None),
            directory,
        };
        lab.quieten()?;
        iproute::batch(None, &lab.cables())?;
        lab.set_up_switch()?;
        lab.set_up_lan()?;
        lab.set_up_wan(&self.addresses)?;
        if self.nat {
            lab.set_up_nat()?;
        }
        Ok(lab)
    }
}

impl Lab {
    /// One client, no NAT, unless told otherwise.
    pub fn builder() -> LabBuilder {
        LabBuilder { clients: 1, nat: false, addresses: Vec::new() }
    }

    /// `lan0` inside, `wan0` outside.
    pub fn gateway(&self) -> &Host {
        &self.gateway
    }

    /// Everything outside; its interface is `wan0`.
    pub fn internet(&self) -> &Host {
        &self.internet
    }

    /// The designated mail server on the LAN; its interface is `eth0`.
    pub fn mail_server(&self) -> &Host {
        &self.mail_server
    }

    /// The bridge `lan` that joins `gateway`, `mail` and `client0`…; it has no address.
    pub fn switch(&self) -> &Host {
        &self.switch
    }

    /// The i-th client on the LAN; its interface is `eth0`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn client(&self, i: usize) -> &Host {
        &self.clients[i]
    }

    /// All clients.
    pub fn clients(&self) -> &[Host] {
        &self.clients
    }

    /// A directory for the lab's files, removed with it. Only root may write there.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// A bpffs of the lab's own, mounted at the first call.
    pub fn bpffs(&self) -> Result<PathBuf> {
        let mut known = self.bpffs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*known {
            return Ok(path.clone());
        }
        let path = self.dir().join("bpf");
        fs::create_dir(&path).with_context(|| format!("could not make {}", path.display()))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", &path, "bpf", flags, Some(c"mode=0700"))
            .with_context(|| format!("could not mount a bpffs at {}", path.display()))?;
        Ok(known.insert(path).clone())
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.switch, &self.gateway, &self.internet, &self.mail_server].into_iter().chain(&self.clients)
    }

    /// Before there is any interface: no autoconfiguration, and addresses usable at once.
    fn quieten(&self) -> Result<()> {
        for host in self.hosts() {
            for scope in ["all", "default"] {
                for (key, value) in [("accept_dad", "0"), ("accept_ra", "0"), ("autoconf", "0")] {
                    host.sysctl(&format!("ipv6/conf/{scope}/{key}"), value)?;
                }
            }
        }
        self.switch.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        self.gateway.sysctl("ipv4/ip_forward", "1")?;
        self.gateway.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// The `ip` commands that make every veth pair, each end in its place from the start.
    fn cables(&self) -> Vec<String> {
        let cable = |port: &str, here: &Host, host: &Host, interface: &Interface| {
            let Interface { name, mac, .. } = interface;
            let (here, there) = (here.namespace(), host.namespace());
            format!("link add {port} netns {here} type veth peer name {name} address {mac} netns {there}")
        };
        let lan = [("gateway", &self.gateway), ("mail", &self.mail_server)]
            .map(|(port, host)| (port.to_string(), host))
            .into_iter()
            .chain(self.clients.iter().enumerate().map(|(i, host)| (format!("client{i}"), host)));
        let mut commands: Vec<String> = lan
            .filter_map(|(port, host)| Some(cable(&port, &self.switch, host, host.interfaces().first()?)))
            .collect();
        if let (Some(inner), Some(outer)) =
            (self.gateway.interfaces().get(1), self.internet.interfaces().first())
        {
            let port = format!("{} address {}", inner.name, inner.mac);
            commands.push(cable(&port, &self.gateway, &self.internet, outer));
        }
        commands
    }

    fn set_up_switch(&self) -> Result<()> {
        // Where br_netfilter is built in, a bridge trims and drops malformed IP before the gateway ever sees it.
        for family in ["iptables", "ip6tables"] {
            let key = format!("bridge/bridge-nf-call-{family}");
            if Path::new("/proc/sys/net").join(&key).exists() {
                self.switch.sysctl(&key, "0")?;
            }
        }
        let mut commands = vec![
            // No snooping and no spanning tree: neighbour discovery works from the first packet.
            "link add lan type bridge mcast_snooping 0 stp_state 0 forward_delay 0 ageing_time 30000"
                .to_string(),
            "link set lan up".to_string(),
        ];
        let ports = ["gateway".to_string(), "mail".to_string()]
            .into_iter()
            .chain((0..self.clients.len()).map(|i| format!("client{i}")));
        commands.extend(ports.map(|port| format!("link set {port} master lan up")));
        iproute::batch(Some(self.switch.namespace()), &commands)
    }

    fn set_up_lan(&self) -> Result<()> {
        for host in iter::once(&self.mail_server).chain(&self.clients) {
            let mut commands = addresses::bring_up(host, 64);
            commands.push("route add default via 10.25.0.1".into());
            commands.push("route add default via fd25::1".into());
            iproute::batch(Some(host.namespace()), &commands)?;
        }
        Ok(())
    }

    fn set_up_wan(&self, more: &[IpAddr]) -> Result<()> {
        let mut commands = addresses::bring_up(&self.gateway, 64);
        commands.push(format!("route add default via {PROVIDER4}"));
        commands.push(format!("route add default via {PROVIDER6}"));
        iproute::batch(Some(self.gateway.namespace()), &commands)?;

        let mut commands = addresses::bring_up(&self.internet, 64);
        commands.push("route add default via 203.0.113.1".into());
        commands.push("route add default via 2001:db8:ff::1".into());
        commands.extend(ANSWERED.map(|network| format!("route add local {network} dev lo")));
        commands.extend(more.iter().map(|address| match address {
            IpAddr::V4(a) => format!("addr add {a}/32 dev wan0"),
            IpAddr::V6(a) => format!("addr add {a}/128 dev wan0 nodad"),
        }));
        iproute::batch(Some(self.internet.namespace()), &commands)
    }

    fn set_up_nat(&self) -> Result<()> {
        let table = |family: &str| {
            let chain = "type nat hook postrouting priority 100; oifname \"wan0\" masquerade;";
            format!("table {family} lab {{ chain out {{ {chain} }}; }}\n")
        };
        self.gateway.nft(&(table("ip") + &table("ip6")))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        leftovers::take_down(&self.tag);
    }
}
