//! The early door: XDP in front of the doors of interfaces whose policy entry asks for it. It only spares the stack work: where it
//! can't be, the door does all of it.

use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};
use aya::sys::SyscallError;
use serde::{Deserialize, Serialize};

use super::error::DatapathError;
use super::generation::Generation;
use super::links::{Inside, is_dead, pin_error, remove};
use super::pins::Pins;
use crate::netlink::Interface;

/// Whether an inside interface has XDP in front of its door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyDoor {
    Unasked,
    /// Where the driver has XDP of its own.
    Native,
    /// In the kernel's generic form where the driver has none.
    Forced,
    /// Asked for, and why it is not there.
    Refused(String),
}

/// The early door of one interface, or why there is none; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyPlace {
    pub interface: String,
    /// None where it is there.
    pub refused: Option<String>,
}

/// Puts the generation's early door in front of every door that asks for it. Tells where it is and is not, and the pins of
/// those that are; the others' pins must go, since what they hold is of another policy.
pub(super) fn attach(
    pins: &Pins,
    generation: &mut Generation,
    inside: &[Inside],
) -> (Vec<EarlyPlace>, Vec<PathBuf>) {
    let (mut places, mut kept) = (Vec::new(), Vec::new());
    for Inside { interface, early, .. } in inside {
        let refused = match early {
            EarlyDoor::Unasked => continue,
            EarlyDoor::Refused(why) => Some(why.clone()),
            EarlyDoor::Native | EarlyDoor::Forced => {
                let pin = pins.links().join(format!("early-{}", interface.index));
                let forced = *early == EarlyDoor::Forced;
                match generation.early().and_then(|program| cover(program, interface, forced, &pin)) {
                    Ok(None) => {
                        kept.push(pin);
                        None
                    }
                    Ok(refused) => refused,
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        places.push(EarlyPlace { interface: interface.name.clone(), refused });
    }
    (places, kept)
}

/// `Some` with the reason where the interface takes no XDP.
fn cover(
    program: &mut Xdp,
    interface: &Interface,
    forced: bool,
    pin: &Path,
) -> Result<Option<String>, DatapathError> {
    if pin.exists() && swap(program, interface, pin)? {
        return Ok(None);
    }
    let made = match attach_in(program, interface.index, XdpMode::Driver) {
        Err(_) if forced => attach_in(program, interface.index, XdpMode::Skb),
        made => made,
    };
    match made {
        Ok(link) => {
            link.pin(pin).map_err(|error| pin_error("write", pin, error))?;
            Ok(None)
        }
        Err(error) => Ok(Some(worded(&error))),
    }
}

/// Puts the program into a link that is pinned already; `false` where that link was dead, and is gone now.
fn swap(program: &mut Xdp, interface: &Interface, pin: &Path) -> Result<bool, DatapathError> {
    let link = PinnedLink::from_pin(pin).map_err(|error| pin_error("open", pin, error))?;
    let link = XdpLink::try_from(FdLink::from(link))
        .map_err(|error| pin_error("use", pin, format!("{error}; it is not ours, remove it")))?;
    let failed =
        |source| DatapathError::Attach { interface: interface.name.clone(), source: Box::new(source) };
    match program.attach_to_link(link) {
        // Taken out of the program's own list, where dropping the generation would count on it.
        Ok(id) => program.take_link(id).map(|_| true).map_err(failed),
        Err(error) if is_dead(&error) => remove(pin).map(|()| false),
        Err(error) => Err(failed(error)),
    }
}

fn attach_in(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = program.attach_to_if_index(ifindex, mode)?;
    let link = program.take_link(id)?;
    // aya falls back to netlink where the kernel refuses a link; such a one ends with the agent, so it is none for us.
    FdLink::try_from(link).map_err(|_| {
        let io_error = io::Error::from_raw_os_error(libc::EINVAL);
        ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error })
    })
}

/// What an admin can do about it. Codes of `dev_xdp_attach` (net/core/dev.c) and of drivers.
fn worded(error: &ProgramError) -> String {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else { return error.to_string() };
    match io_error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "its driver has no XDP".to_owned(),
        Some(libc::EBUSY | libc::EEXIST) => "another XDP program is there".to_owned(),
        Some(libc::ERANGE) => "its MTU is too large for XDP".to_owned(),
        _ => io_error.to_string(),
    }
}
