//! Who a client is beyond its address: the maker of its network card, its name by DHCP, and whether the machine's own
//! neighbour table agrees about its MAC.

mod leases;
mod vendors;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::attempt::Mac;
use crate::netlink::Netlink;
use leases::Lease;

/// What is known of one client; the field names are a contract. Names come from the network: escape them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub mac: Option<Mac>,
    pub vendor: Option<String>,
    /// As a DHCP lease says, at most 64 characters.
    pub name: Option<String>,
    pub neighbour: Agreement,
}

/// What the neighbour table (ARP, ND) says about address and MAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// It has the same MAC for the address.
    Agrees,
    /// It has another one: two machines claim the address, or one lies.
    Differs,
    /// It has no entry, or no MAC was seen: behind a router, or silent for a while.
    #[default]
    Unknown,
}

/// Everything that clients are looked up in, as it is at one moment.
#[derive(Default)]
pub struct Directory {
    neighbours: HashMap<IpAddr, Vec<Mac>>,
    leases: HashMap<IpAddr, Lease>,
}

impl Directory {
    /// Reads the neighbour table and the lease files. What can't be read is told and left out: an identity is a help, and
    /// no reason to show nothing.
    pub async fn read(lease_files: &[PathBuf]) -> Self {
        let mut directory = Self::default();
        match neighbours().await {
            Ok(found) => directory.neighbours = found,
            Err(error) => log::warn!("{error}; clients are shown without it"),
        }
        for path in lease_files {
            match leases::read(path) {
                Ok(found) => directory.leases.extend(found),
                Err(error) => log::warn!("{error}; clients are shown without names from it"),
            }
        }
        directory
    }

    /// What is known of `client`, whose packets carried `seen`.
    pub fn look_up(&self, client: IpAddr, seen: Option<Mac>) -> Identity {
        let known = self.neighbours.get(&client);
        let lease = self.leases.get(&client);
        let mac = seen.or_else(|| known?.first().copied());
        // A lease of another machine says who had the address before.
        let lease = lease.filter(|lease| mac.is_none() || lease.mac.is_none() || lease.mac == mac);
        let neighbour = match (seen, known) {
            (Some(seen), Some(known)) if known.contains(&seen) => Agreement::Agrees,
            (Some(_), Some(_)) => Agreement::Differs,
            _ => Agreement::Unknown,
        };
        let name = lease.and_then(|lease| lease.name.clone());
        Identity { mac, vendor: mac.and_then(vendors::of), name, neighbour }
    }
}

async fn neighbours() -> Result<HashMap<IpAddr, Vec<Mac>>, crate::netlink::NetlinkError> {
    let (netlink, _) = Netlink::connect()?;
    let mut found: HashMap<IpAddr, Vec<Mac>> = HashMap::new();
    for (address, mac) in netlink.neighbours().await? {
        found.entry(address).or_default().push(Mac(mac));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "10.25.0.77";
    const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x78]);

    fn directory(neighbour: Mac, leased: Option<Mac>) -> Directory {
        let client: IpAddr = CLIENT.parse().unwrap();
        Directory {
            neighbours: HashMap::from([(client, vec![neighbour])]),
            leases: HashMap::from([(client, Lease { mac: leased, name: Some("pc-77".to_owned()) })]),
        }
    }

    #[test]
    fn a_name_belongs_to_the_machine_that_leased_it() {
        let client = CLIENT.parse().unwrap();
        let of = |leased| directory(OURS, leased).look_up(client, Some(OURS)).name;
        assert_eq!(of(Some(OURS)).as_deref(), Some("pc-77"));
        assert_eq!(of(Some(OTHER)), None);
        assert_eq!(of(None).as_deref(), Some("pc-77"));
    }

    #[test]
    fn the_neighbour_table_agrees_differs_or_does_not_know() {
        let client = CLIENT.parse().unwrap();
        assert_eq!(directory(OURS, None).look_up(client, Some(OURS)).neighbour, Agreement::Agrees);
        assert_eq!(directory(OTHER, None).look_up(client, Some(OURS)).neighbour, Agreement::Differs);
        assert_eq!(Directory::default().look_up(client, Some(OURS)).neighbour, Agreement::Unknown);
        assert_eq!(directory(OURS, None).look_up(client, None).mac, Some(OURS));
    }
}
