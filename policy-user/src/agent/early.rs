//! Which inside interfaces may have XDP in front of their doors, of those that the policy asks it for.

use policy_common::LinkType;

use crate::datapath::{EarlyDoor, Inside};
use crate::netlink::{AgainstXdp, Netlink, NetlinkError};

/// Refuses it where it would judge other frames than the door, or would cost more than it spares.
pub async fn refuse_unfit(mut inside: Vec<Inside>, netlink: &Netlink) -> Result<Vec<Inside>, NetlinkError> {
    if inside.iter().all(|place| place.early == EarlyDoor::Unasked) {
        return Ok(inside);
    }
    let against = netlink.against_xdp().await?;
    for place in &mut inside {
        let why = against.get(&place.interface.index).copied();
        if let Some(why) = refusal(&place.early, place.interface.link, why) {
            place.early = EarlyDoor::Refused(why.to_owned());
        }
    }
    Ok(inside)
}

fn refusal(asked: &EarlyDoor, link: Option<LinkType>, against: Option<AgainstXdp>) -> Option<&'static str> {
    match (asked, link, against) {
        (EarlyDoor::Unasked | EarlyDoor::Refused(_), ..) => None,
        (_, link, _) if link != Some(LinkType::Ethernet) => Some("it has no Ethernet header"),
        (_, _, Some(AgainstXdp::Port)) => Some("it is a port of a bridge or bond, which has the door"),
        (_, _, Some(AgainstXdp::BuiltUpon)) => {
            Some("a VLAN or MACVLAN interface is built upon it, whose frames XDP can't tell apart")
        }
        (EarlyDoor::Native, _, Some(AgainstXdp::Software)) => Some(
            "it is no network card: permitted traffic would pay more than blocked traffic spares (`xdp-forced` does it all the same)",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_overrules_costs_and_nothing_else() {
        let refused = |asked, link, against| refusal(&asked, link, against).is_some();
        let ethernet = Some(LinkType::Ethernet);
        assert!(!refused(EarlyDoor::Native, ethernet, None));
        assert!(refused(EarlyDoor::Native, ethernet, Some(AgainstXdp::Software)));
        assert!(!refused(EarlyDoor::Forced, ethernet, Some(AgainstXdp::Software)));
        assert!(refused(EarlyDoor::Forced, ethernet, Some(AgainstXdp::BuiltUpon)));
        assert!(refused(EarlyDoor::Forced, ethernet, Some(AgainstXdp::Port)));
        assert!(refused(EarlyDoor::Forced, Some(LinkType::Ip), None));
        assert!(!refused(EarlyDoor::Unasked, Some(LinkType::Ip), Some(AgainstXdp::Port)));
    }
}
