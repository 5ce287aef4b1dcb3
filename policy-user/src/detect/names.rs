//! Which networks are one site of a host because it knows them by one name: the memory of DNS answers, bounded in every way.
//!
//! Whoever runs a bot may also run the domain it asks for, and can put all its victims' addresses into it. So a name is
//! believed only by the host that asked, names only ever *join* networks, and a host gets no more than `MOST_JOINED` of them
//! joined: so many sites a lie can hide, and none beyond.

use std::net::IpAddr;

use indexmap::IndexMap;

use super::answer::{Answer, Domain};
use super::key::Key;
use super::site::Site;

/// Networks of a host that names may join, the first of each name among them. More than the addresses of a provider that no
/// list has are spread over; less than half of what a bot with one mail in twenty minutes tries in a day.
pub const MOST_JOINED: usize = 16;
/// Addresses of a host whose names are known; the one that was heard of longest ago is forgotten first.
const MOST_ADDRESSES: usize = 128;
/// Hosts of which names are known: 50 MB if each has all it may have.
const MOST_HOSTS: usize = 4096;
/// A resolver is asked again with the same number within seconds, if at all.
const REPEATED: u32 = 5;

/// What hosts know by name.
#[derive(Debug)]
pub struct Names {
    /// Seconds that a name is believed after it was heard or used last.
    keep: u32,
    hosts: IndexMap<Key, Book>,
}

#[derive(Debug, Default)]
struct Book {
    newest: u32,
    asked_for_mail_servers: u32,
    /// Number and time of the newest question for a mail server.
    last_asked: (u16, u32),
    addresses: Vec<Known>,
    joined: Vec<Joined>,
}

#[derive(Debug)]
struct Known {
    address: IpAddr,
    heard: u32,
    domain: Domain,
    name: Box<str>,
}

/// A network and the site that it is counted as, which is the first network that the host tried under the domain.
#[derive(Clone, Copy, Debug)]
struct Joined {
    network: Site,
    home: Site,
    domain: Domain,
    used: u32,
}

impl Names {
    pub fn new(keep: u32) -> Self {
        Self { keep, hosts: IndexMap::new() }
    }

    /// Believes names for so many seconds from now on.
    pub fn set_keep(&mut self, keep: u32) {
        self.keep = keep;
    }

    /// Takes an answer into account that a host got.
    pub fn learn(&mut self, host: Key, answer: Answer, time: u32) {
        if answer.addresses.is_empty() && !answer.asks_for_mail_server {
            return;
        }
        if self.hosts.len() >= MOST_HOSTS && !self.hosts.contains_key(&host) {
            self.forget_quietest();
        }
        let book = self.hosts.entry(host).or_default();
        book.newest = book.newest.max(time);
        if answer.asks_for_mail_server {
            let (id, asked) = book.last_asked;
            if id != answer.id || time.saturating_sub(asked) > REPEATED || book.asked_for_mail_servers == 0 {
                book.asked_for_mail_servers = book.asked_for_mail_servers.saturating_add(1);
            }
            book.last_asked = (answer.id, time);
        }
        for named in answer.addresses {
            let known = Known {
                address: named.address.to_canonical(),
                heard: time,
                domain: named.domain,
                name: named.name,
            };
            book.hear(known, time, self.keep);
        }
    }

    /// The site that a host's attempt at `network` is counted as.
    pub fn site(&mut self, host: &Key, destination: IpAddr, network: Site, time: u32) -> Site {
        let keep = self.keep;
        self.hosts.get_mut(host).map_or(network, |book| book.site(destination, network, time, keep))
    }

    /// What a host calls an address.
    pub fn name(&self, host: &Key, destination: IpAddr, time: u32) -> Option<&str> {
        let known = self.hosts.get(host)?.known(destination, time, self.keep)?;
        Some(&known.name)
    }

    /// A name for a site that this host knows by one.
    pub fn name_of_site(&self, host: &Key, site: Site, network: impl Fn(IpAddr) -> Site) -> Option<&str> {
        let book = self.hosts.get(host)?;
        let domain = book.joined.iter().find(|joined| joined.home == site)?.domain;
        let of_domain = |known: &&Known| known.domain == domain;
        let at_home = |known: &&Known| known.domain == domain && network(known.address) == site;
        let known = book.addresses.iter().find(at_home).or_else(|| book.addresses.iter().find(of_domain))?;
        Some(&known.name)
    }

    /// How often a host has asked for mail servers.
    pub fn asked_for_mail_servers(&self, host: &Key) -> u32 {
        self.hosts.get(host).map_or(0, |book| book.asked_for_mail_servers)
    }

    /// Forgets what is too old to be believed.
    pub fn age(&mut self, now: u32) {
        let fresh = |time: u32| now.saturating_sub(time) < self.keep;
        self.hosts.retain(|_, book| {
            book.addresses.retain(|known| fresh(known.heard));
            book.joined.retain(|joined| fresh(joined.used));
            fresh(book.newest) || !book.joined.is_empty()
        });
    }

    /// Hosts, and addresses with a name.
    pub fn len(&self) -> (usize, usize) {
        (self.hosts.len(), self.hosts.values().map(|book| book.addresses.len()).sum())
    }

    fn forget_quietest(&mut self) {
        let quietest = self.hosts.values().enumerate().min_by_key(|(_, book)| book.newest);
        if let Some((index, _)) = quietest {
            self.hosts.swap_remove_index(index);
        }
    }
}

impl Book {
    /// The first name that is heard of an address stays until it is old: a site must not change with the customer of a
    /// provider that was asked for.
    fn hear(&mut self, new: Known, time: u32, keep: u32) {
        if let Some(known) = self.addresses.iter_mut().find(|known| known.address == new.address) {
            if known.domain == new.domain {
                (known.heard, known.name) = (time, new.name);
            } else if time.saturating_sub(known.heard) >= keep {
                *known = new;
            }
            return;
        }
        if self.addresses.len() < MOST_ADDRESSES {
            self.addresses.push(new);
        } else if let Some(oldest) = self.addresses.iter_mut().min_by_key(|known| known.heard) {
            *oldest = new;
        }
    }

    fn known(&self, address: IpAddr, time: u32, keep: u32) -> Option<&Known> {
        let address = address.to_canonical();
        let known = self.addresses.iter().find(|known| known.address == address)?;
        (time.saturating_sub(known.heard) < keep).then_some(known)
    }

    fn site(&mut self, destination: IpAddr, network: Site, time: u32, keep: u32) -> Site {
        self.joined.retain(|joined| time.saturating_sub(joined.used) < keep);
        if let Some(home) = self.joined.iter().find(|joined| joined.network == network).map(|it| it.home) {
            // A home stays for as long as any of its networks is in use.
            let of_it = |joined: &&mut Joined| joined.network == network || joined.network == home;
            self.joined.iter_mut().filter(of_it).for_each(|joined| joined.used = joined.used.max(time));
            return home;
        }
        let Some(domain) = self.known(destination, time, keep).map(|known| known.domain) else {
            return network;
        };
        if self.joined.len() >= MOST_JOINED {
            return network;
        }
        let home =
            self.joined.iter_mut().find(|joined| joined.domain == domain && joined.network == joined.home);
        let home = home.map_or(network, |joined| {
            joined.used = joined.used.max(time);
            joined.home
        });
        self.joined.push(Joined { network, home, domain, used: time });
        home
    }
}
