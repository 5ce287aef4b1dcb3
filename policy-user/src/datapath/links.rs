//! Attaching: pinned TCX links that outlive the agent, adopted and swapped so that no packet meets an empty hook.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, loaded_programs};
use aya::sys::SyscallError;
use serde::{Deserialize, Serialize};

use super::chain::programs_at;
use super::early::{self, EarlyDoor, EarlyPlace};
use super::error::DatapathError;
use super::generation::Generation;
use super::pins::Pins;
use crate::netlink::Interface;

/// Which of our programs a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Ingress of an inside interface.
    Door,
    /// Egress of an outside interface.
    Guard,
}

impl Hook {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Guard => "guard",
        }
    }

    const fn direction(self) -> TcAttachType {
        match self {
            Self::Door => TcAttachType::Ingress,
            Self::Guard => TcAttachType::Egress,
        }
    }
}

/// One interface that carries our program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub interface: String,
    pub ifindex: u32,
    pub hook: Hook,
}

/// An inside interface and which of the policy's settings apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    pub interface: Interface,
    /// Index into the settings table.
    pub settings: u32,
    /// Whether XDP stands in front of its door.
    pub early: EarlyDoor,
}

/// What to do where an interface refuses our program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Takes back what was made, and fails.
    TakeBack,
    /// Covers the others, unless none is left.
    GoOn,
}

/// What `attach` has done.
#[derive(Debug, Default)]
pub struct Attached {
    pub coverage: Vec<Coverage>,
    /// Why interfaces are not covered, by name.
    pub failed: BTreeMap<String, String>,
    /// Where the policy asks for XDP in front of a door.
    pub early: Vec<EarlyPlace>,
}

/// Puts `generation` in force on exactly these interfaces; afterwards the one before is gone.
///
/// A link that is pinned already gets the new program in place of the old one, atomically for each packet.
pub fn attach(
    pins: &Pins,
    generation: &mut Generation,
    inside: &[Inside],
    outside: &[Interface],
    refusal: Refusal,
) -> Result<Attached, DatapathError> {
    let mut made = Vec::new();
    let result = attach_all(pins, generation, (inside, outside), refusal, &mut made);
    if result.is_err() {
        for (place, pin) in &made {
            // First the guard must not believe in it any more; without its map it does not believe in anything.
            let _ = generation.forget_door(place.ifindex);
            let _ = fs::remove_file(pin);
        }
    }
    result
}

fn attach_all(
    pins: &Pins,
    generation: &mut Generation,
    (inside, outside): (&[Inside], &[Interface]),
    refusal: Refusal,
    made: &mut Vec<(Coverage, PathBuf)>,
) -> Result<Attached, DatapathError> {
    let mut done = Attached::default();
    let mut refused = None;
    let mut kept = Vec::new();
    let mut try_on = |generation: &mut Generation, hook, interface: &Interface, done: &mut Attached| {
        kept.push(pin_path(pins, hook, interface.index));
        match put_on(pins, generation, hook, interface, made) {
            Ok(place) => done.coverage.push(place),
            Err(error) if refusal == Refusal::TakeBack => return Err(error),
            Err(error) => {
                // It names the interface, and a name may hold control characters.
                let why = error.to_string().replace(char::is_control, "?");
                done.failed.insert(interface.name.clone(), why);
                refused.get_or_insert(error);
            }
        }
        Ok(())
    };
    generation.announce_doors(inside)?;
    for door in inside {
        try_on(generation, Hook::Door, &door.interface, &mut done)?;
    }
    // In between: a guard that believes in a door without a program lets its packets out, and a guard of this generation
    // that knows no doors would stop the mail servers.
    let stands = |door: &&Inside| done.coverage.iter().any(|place| place.ifindex == door.interface.index);
    generation.confirm_doors(inside.iter().filter(stands))?;
    for guarded in outside {
        try_on(generation, Hook::Guard, guarded, &mut done)?;
    }
    if let Some(error) = refused.filter(|_| done.coverage.is_empty()) {
        return Err(error);
    }
    // Last: it only spares the doors work, which are new by now.
    let early_pins;
    (done.early, early_pins) = early::attach(pins, generation, inside);
    kept.extend(early_pins);
    for pin in pinned(pins)?.into_iter().filter(|pin| !kept.contains(pin)) {
        remove(&pin)?;
    }
    Ok(done)
}

/// Covers one interface; what that makes is noted.
fn put_on(
    pins: &Pins,
    generation: &mut Generation,
    hook: Hook,
    interface: &Interface,
    made: &mut Vec<(Coverage, PathBuf)>,
) -> Result<Coverage, DatapathError> {
    let link =
        interface.link.ok_or_else(|| DatapathError::UnsupportedLink { interface: interface.name.clone() })?;
    let pin = pin_path(pins, hook, interface.index);
    let place = Coverage { interface: interface.name.clone(), ifindex: interface.index, hook };
    if cover(generation.classifier(hook, link)?, hook, interface, &pin)? {
        made.push((place.clone(), pin));
    }
    Ok(place)
}

/// Ends enforcement: removes every pin of every version, and waits until the kernel has let go of the hooks. Tells whether
/// there was anything to remove.
pub fn detach(bpffs: &Path) -> Result<bool, DatapathError> {
    let pins = Pins::at(bpffs);
    let found = pins.root().exists();
    let programs: Vec<u32> = pinned(&pins)?.iter().filter_map(|pin| program_of(pin)).collect();
    pins.remove()?;
    // The kernel frees a link from a work queue, milliseconds after its pin is gone (`bpf_link_put`), and its id before
    // it leaves the hook; the program goes last. A caller that may not list programs can't see it and goes on.
    let deadline = Instant::now() + LET_GO;
    while loaded_programs().flatten().any(|program| programs.contains(&program.id()))
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(found)
}

/// How long the kernel gets to free a link; it takes a few milliseconds.
const LET_GO: Duration = Duration::from_secs(2);

/// Number of the program that a pinned link carries.
fn program_of(pin: &Path) -> Option<u32> {
    let link = PinnedLink::from_pin(pin).ok()?;
    FdLink::from(link).info().ok().map(|info| info.program_id())
}

/// Where our program stands among the programs of its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    First,
    /// Programs in front of ours can let packets out before it sees them.
    Behind,
    Missing,
    /// The kernel did not tell: listing a hook takes rights the caller lacks.
    Unknown,
}

/// Looks up the position of our program on an interface.
pub fn position(pins: &Pins, coverage: &Coverage) -> Position {
    position_at(&pin_path(pins, coverage.hook, coverage.ifindex), coverage.hook, coverage.ifindex)
}

fn position_at(pin: &Path, hook: Hook, ifindex: u32) -> Position {
    let Some(ours) = program_of(pin) else { return Position::Missing };
    let Ok(programs) = programs_at(ifindex, hook) else { return Position::Unknown };
    match programs.iter().position(|program| *program == ours) {
        Some(0) => Position::First,
        Some(_) => Position::Behind,
        None => Position::Missing,
    }
}

/// Covers one interface; `true` where that made a pin that was not there.
fn cover(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &Interface,
    pin: &Path,
) -> Result<bool, DatapathError> {
    let failed =
        |source| DatapathError::Attach { interface: interface.name.clone(), source: Box::new(source) };
    if !pin.exists() {
        make_first(program, hook, interface)?.pin(pin).map_err(|error| pin_error("write", pin, error))?;
        return Ok(true);
    }
    if position_at(pin, hook, interface.index) == Position::Behind {
        // A swapped program would stand where the old one stood, so a new link goes in front before the old one leaves.
        log::warn!(
            "{}: another program has put itself in front of ours; taking the first place",
            interface.name
        );
        let new = pin.with_file_name(format!("new-{}-{}", hook.label(), interface.index));
        let link = make_first(program, hook, interface)?;
        link.pin(&new).map_err(|error| pin_error("write", &new, error))?;
        fs::rename(&new, pin).map_err(|error| pin_error("replace", pin, error))?;
        return Ok(false);
    }
    let link = PinnedLink::from_pin(pin).map_err(|error| pin_error("open", pin, error))?;
    let link = SchedClassifierLink::try_from(FdLink::from(link))
        .map_err(|error| pin_error("use", pin, format!("{error}; it is not ours, remove it")))?;
    match program.attach_to_link(link) {
        // Taken out of the program's own list, where dropping the generation would count on it.
        Ok(id) => program.take_link(id).map(|_| false).map_err(failed),
        Err(error) if is_dead(&error) => {
            log::warn!("{}: its link died with an earlier interface of this index", interface.name);
            remove(pin)?;
            make_first(program, hook, interface)?.pin(pin).map_err(|error| pin_error("write", pin, error))?;
            Ok(true)
        }
        // Anything else (no memory, say) leaves the old program in force.
        Err(error) => Err(failed(error)),
    }
}

/// A new link in front of all others.
fn make_first(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &Interface,
) -> Result<FdLink, DatapathError> {
    let failed =
        |source| DatapathError::Attach { interface: interface.name.clone(), source: Box::new(source) };
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(&interface.name, hook.direction(), options).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    FdLink::try_from(link).map_err(|error| pin_error("make", Path::new(&interface.name), error))
}

/// A link whose interface is gone answers an update with ENOLINK (`tcx_link_update`, net/bpf/tcx.c), while its pin file
/// stays until somebody removes it.
pub(super) fn is_dead(error: &ProgramError) -> bool {
    match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => {
            io_error.raw_os_error() == Some(libc::ENOLINK)
        }
        _ => false,
    }
}

fn pinned(pins: &Pins) -> Result<Vec<PathBuf>, DatapathError> {
    let dir = pins.links();
    let failed = |source| DatapathError::Io { doing: "list", path: dir.clone(), source };
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        found.push(entry.map_err(failed)?.path());
    }
    Ok(found)
}

pub(super) fn remove(pin: &Path) -> Result<(), DatapathError> {
    fs::remove_file(pin).map_err(|source| DatapathError::Io { doing: "remove", path: pin.to_owned(), source })
}

/// Index, not name: names may hold characters that a bpffs refuses, and they change.
fn pin_path(pins: &Pins, hook: Hook, ifindex: u32) -> PathBuf {
    pins.links().join(format!("{}-{ifindex}", hook.label()))
}

pub(super) fn pin_error(doing: &'static str, path: &Path, error: impl std::fmt::Display) -> DatapathError {
    DatapathError::Pin { doing, path: path.to_owned(), why: error.to_string() }
}
