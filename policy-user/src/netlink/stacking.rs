//! What interfaces are made of and built upon: whether what arrives at one is what its own door sees.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo};

use super::{Netlink, NetlinkError, failed};

/// What speaks against XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgainstXdp {
    /// Made by software: every frame would be copied out of, or taken from, what the stack has put together.
    Software,
    /// A port of a bridge or bond, which has the door.
    Port,
    /// Others take frames from it that its door never sees as its own; of a tag that the card has taken out XDP knows nothing.
    BuiltUpon,
}

impl Netlink {
    /// The interfaces that XDP does not suit, by index.
    pub async fn against_xdp(&self) -> Result<BTreeMap<u32, AgainstXdp>, NetlinkError> {
        let mut found = BTreeMap::new();
        let mut note = |index, why: AgainstXdp| {
            let known = found.entry(index).or_insert(why);
            *known = why.max(*known);
        };
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed("interfaces"))? {
            let mut kind = None;
            let mut below = None;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::Link(index) => below = Some(index),
                    LinkAttribute::Controller(_) => note(link.header.index, AgainstXdp::Port),
                    LinkAttribute::LinkInfo(about) => {
                        kind = about.into_iter().find_map(|info| match info {
                            LinkInfo::Kind(kind) => Some(kind),
                            _ => None,
                        });
                    }
                    _ => {}
                }
            }
            let Some(kind) = kind else { continue };
            note(link.header.index, AgainstXdp::Software);
            // The two ends of a veth name each other too, and take nothing from each other.
            if let (
                Some(below),
                InfoKind::Vlan | InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan | InfoKind::IpVtap,
            ) = (below, kind)
            {
                note(below, AgainstXdp::BuiltUpon);
            }
        }
        Ok(found)
    }
}
