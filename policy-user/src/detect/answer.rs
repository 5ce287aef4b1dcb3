//! One DNS answer, read with care: anybody may have written it.

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ToName;
use domain::base::{Message, RecordSection};
use domain::rdata::{A, Aaaa};

use super::site::{fnv, spread};

/// Addresses that are taken from one answer.
const MOST_ADDRESSES: usize = 32;
/// Records that are looked at.
const MOST_RECORDS: usize = 128;
/// Characters of a name that are kept; the longest have 253, more with what had to be escaped.
const LONGEST_NAME: usize = 128;

/// What is learnt from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Number of the question, by which a repeated answer is known.
    pub id: u16,
    /// Somebody wants to know who takes a domain's mail: mail servers ask that, and bots.
    pub asks_for_mail_server: bool,
    pub addresses: Vec<Named>,
}

/// An address with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub address: IpAddr,
    pub domain: Domain,
    /// What was asked for, or what the answer adds of its own accord; printable.
    pub name: Box<str>,
}

/// What somebody has registered, such as `example.co.uk`: all names below it are theirs. Only the hash is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain(u64);

impl Answer {
    /// Reads a message as far as it goes; `None` where it is no answer that tells something. One that was cut off tells what
    /// is in front of the cut.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let message = Message::from_octets(message).ok()?;
        let header = message.header();
        if !header.qr() || header.rcode() != Rcode::NOERROR {
            return None;
        }
        let question = message.sole_question().ok()?;
        if question.qclass() != Class::IN {
            return None;
        }
        let mut answer = Self {
            id: header.id(),
            asks_for_mail_server: question.qtype() == Rtype::MX,
            addresses: Vec::new(),
        };
        let asked = printable(question.qname());
        if let Ok(section) = message.answer() {
            answer.learn(section, Some(&asked));
        }
        // The addresses of the mail servers that were asked for.
        if answer.asks_for_mail_server
            && let Ok(section) = message.additional()
        {
            answer.learn(section, None);
        }
        Some(answer)
    }

    fn learn(&mut self, section: RecordSection<'_, &[u8]>, asked: Option<&str>) {
        for record in section.take(MOST_RECORDS) {
            let Ok(record) = record else { return };
            if self.addresses.len() >= MOST_ADDRESSES {
                return;
            }
            if record.class() != Class::IN {
                continue;
            }
            // The name that has the address: behind aliases it is the provider's own.
            let owner = record.owner();
            let address = if let Ok(Some(v4)) = record.to_record::<A>() {
                IpAddr::from(v4.data().addr())
            } else if let Ok(Some(v6)) = record.to_record::<Aaaa>() {
                IpAddr::from(v6.data().addr())
            } else {
                continue;
            };
            let owner = printable(&owner);
            let name = asked.map_or_else(|| capped(&owner), capped);
            self.addresses.push(Named { address, domain: Domain::of(&owner), name });
        }
    }
}

impl Domain {
    /// By the public suffix list; a name that is a suffix itself stands for itself.
    pub fn of(name: &str) -> Self {
        let registered = psl::domain_str(name).unwrap_or(name);
        Self(spread(fnv(registered.as_bytes())))
    }
}

/// Lower case, without the last dot; bytes that are no letters come out as `\ddd`.
fn printable(name: &impl ToName) -> String {
    let mut text = name.to_vec().to_string().to_ascii_lowercase();
    if text.ends_with('.') && text.len() > 1 {
        text.pop();
    }
    text
}

/// Escaping leaves nothing but ASCII, so that any place is good for a cut.
fn capped(name: &str) -> Box<str> {
    name.get(..LONGEST_NAME).unwrap_or(name).into()
}
