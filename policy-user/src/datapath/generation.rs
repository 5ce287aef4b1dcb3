//! One generation: freshly loaded programs with their own, filled policy maps.

use std::time::Duration;

use aya::maps::{HashMap, MapData, MapError};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use policy_common::LinkType;
use policy_common::abi::{DOOR_AWAITED, Settings};

use super::error::DatapathError;
use super::links::{Hook, Inside};
use super::packets;
use super::pins::Pins;
use super::state::{STATE_MAPS, drop_misshapen};
use crate::policy::compile::Tables;
use crate::policy::long_list::LongList;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/policy-ebpf"));

/// SHA-256 of the built-in kernel programs: what an admin compares with a build of their own.
pub fn object_digest() -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(OBJECT).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How much the kernel programs tell about rare paths. Off costs nothing: the level is a constant of the generation, so the
/// verifier removes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelLog {
    Off,
    Warn,
    Debug,
}

/// Loaded programs; attached to nothing until `attach`.
pub struct Generation {
    ebpf: Ebpf,
}

impl Generation {
    /// Loads programs for `tables` that share the pinned state maps.
    pub fn load(pins: &Pins, tables: &Tables, kernel_log: KernelLog) -> Result<Self, DatapathError> {
        let object =
            aya_obj::Object::parse(OBJECT).map_err(|error| DatapathError::Object(error.to_string()))?;
        drop_misshapen(pins, &object)?;
        Self::load_with(Some(pins), tables, kernel_log)
    }

    /// Loads programs with state maps of their own, for tests of single packets.
    pub fn load_unpinned(tables: &Tables) -> Result<Self, DatapathError> {
        Self::load_with(None, tables, KernelLog::Off)
    }

    fn load_with(pins: Option<&Pins>, tables: &Tables, kernel_log: KernelLog) -> Result<Self, DatapathError> {
        let revision = u64::from_ne_bytes(tables.revision.0);
        let gateway_mail = u8::from(tables.gateway_mail);
        let one_treatment = u8::from(tables.settings.iter().skip(1).all(|it| *it == Settings::UNSET));
        let level: u8 = match kernel_log {
            KernelLog::Off => 0,
            KernelLog::Warn => aya_log::Level::Warn as u8,
            KernelLog::Debug => aya_log::Level::Debug as u8,
        };
        let long_list = LongList::of(&tables.nets);
        let sieve_words = long_list.words();
        let mut loader = EbpfLoader::new();
        loader
            // The programs read no kernel structures, so there is nothing to relocate against the kernel's own BTF.
            .btf(None)
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global("BLOCKED_PORTS", &tables.blocked_ports, true)
            .override_global("SUBMISSION_PORTS", &tables.submission_ports, true)
            .override_global("SPARED_PORTS", &tables.spared_ports, true)
            .override_global("REVISION", &revision, true)
            .override_global("GATEWAY_MAIL", &gateway_mail, true)
            .override_global("ONE_TREATMENT", &one_treatment, true)
            .override_global(aya_log::LEVEL, &level, true)
            .override_global("SIEVE_WORDS", &sieve_words, true)
            .map_max_entries("NETS", entries(tables.nets.len() - long_list.len()))
            .map_max_entries("LISTED", entries(long_list.len()))
            .map_max_entries("SIEVE", entries(long_list.sieve().len()))
            .map_max_entries("SCOPES", entries(tables.permits.len()))
            .map_max_entries("MAIL_SERVERS", entries(tables.mail_servers.len()))
            .map_max_entries("SETTINGS", entries(tables.settings.len()));
        for name in STATE_MAPS {
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let ebpf = loader.load(OBJECT).map_err(refused)?;
        let mut generation = Self { ebpf };
        packets::draw_salt(&mut generation.ebpf)?;
        generation.fill(tables, &long_list)?;
        for hook in [Hook::Door, Hook::Guard] {
            for link in [LinkType::Ethernet, LinkType::Ip] {
                let program = program_name(hook, link);
                generation
                    .classifier(hook, link)?
                    .load()
                    .map_err(|source| DatapathError::Load { program, source: Box::new(source) })?;
            }
        }
        if tables.early {
            let program = "early";
            let failed = |source| DatapathError::Load { program, source: Box::new(source) };
            generation.early()?.load().map_err(failed)?;
        }
        Ok(generation)
    }

    /// Gives doors their settings before their programs run, and the guard no reason to believe in those that are new.
    pub(super) fn announce_doors(&mut self, inside: &[Inside]) -> Result<(), DatapathError> {
        let mut doors = self.doors()?;
        for door in inside {
            let stands = doors.get(&door.interface.index, 0).is_ok_and(|known| known & DOOR_AWAITED == 0);
            let value = if stands { door.settings } else { door.settings | DOOR_AWAITED };
            doors.insert(door.interface.index, value, 0).map_err(doors_failed)?;
        }
        Ok(())
    }

    /// Makes the guard believe in exactly these doors, which must have their programs.
    pub(super) fn confirm_doors<'a>(
        &mut self,
        inside: impl Iterator<Item = &'a Inside>,
    ) -> Result<(), DatapathError> {
        let mut doors = self.doors()?;
        let mut stand = Vec::new();
        for door in inside {
            doors.insert(door.interface.index, door.settings, 0).map_err(doors_failed)?;
            stand.push(door.interface.index);
        }
        let known: Vec<u32> = doors.keys().filter_map(Result::ok).collect();
        for gone in known.iter().filter(|index| !stand.contains(index)) {
            doors.remove(gone).map_err(doors_failed)?;
        }
        Ok(())
    }

    /// Takes a door off the list, before its program goes.
    pub(super) fn forget_door(&mut self, index: u32) -> Result<(), DatapathError> {
        let mut doors = self.doors()?;
        match doors.get(&index, 0) {
            Ok(_) => doors.remove(&index).map_err(doors_failed),
            Err(_) => Ok(()),
        }
    }

    fn doors(&mut self) -> Result<HashMap<&mut MapData, u32, u32>, DatapathError> {
        self.policy_map("DOORS")
    }

    pub(super) fn policy_map<'a, M>(&'a mut self, map: &'static str) -> Result<M, DatapathError>
    where
        M: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
    {
        let found = self
            .ebpf
            .map_mut(map)
            .ok_or_else(|| DatapathError::Object(format!("the built-in programs have no map {map}")))?;
        M::try_from(found).map_err(|source| DatapathError::Fill { map, source })
    }

    /// One of the programs, loaded or about to be.
    pub(super) fn classifier(
        &mut self,
        hook: Hook,
        link: LinkType,
    ) -> Result<&mut SchedClassifier, DatapathError> {
        let name = program_name(hook, link);
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| DatapathError::Object(format!("the built-in object has no classifier {name}")))
    }

    /// The program in front of doors; loaded only where the policy asks for it.
    pub(super) fn early(&mut self) -> Result<&mut Xdp, DatapathError> {
        self.ebpf
            .program_mut("early")
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| DatapathError::Object("the built-in object has no XDP program".to_owned()))
    }

    /// Runs the early door on one frame; the code is one of XDP's.
    pub fn test_run_early(&mut self, frame: &[u8]) -> Result<i32, DatapathError> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        let result = self.early()?.test_run(options);
        let result = result.map_err(|error| DatapathError::Object(format!("test run: {error}")))?;
        Ok(result.return_value as i32)
    }

    /// The reader of the kernel programs' own diagnostics.
    pub(super) fn kernel_logger(
        &mut self,
    ) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
    }

    /// Instructions that the verifier had to look at, of the 1,000,000 it allows.
    pub fn verified_instructions(&mut self, hook: Hook, link: LinkType) -> Result<u32, DatapathError> {
        let info =
            self.classifier(hook, link)?.info().map_err(|error| DatapathError::Object(error.to_string()))?;
        Ok(info.verified_instruction_count().unwrap_or(0))
    }

    /// Runs a program on one packet without a network (`BPF_PROG_TEST_RUN`).
    pub fn test_run(&mut self, packet: &TestPacket<'_>) -> Result<TestResult, DatapathError> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet.bytes);
        options.repeat = packet.repeat;
        let result = self
            .classifier(packet.hook, packet.link)?
            .test_run(options)
            .map_err(|error| DatapathError::Object(format!("test run: {error}")))?;
        Ok(TestResult { code: result.return_value as i32, duration: result.duration })
    }

    /// The counters of an unpinned generation.
    pub fn counters(&self) -> Result<super::Counters, DatapathError> {
        super::state::counters_of(
            self.ebpf.map("COUNTERS").ok_or_else(|| DatapathError::Object("no map COUNTERS".to_owned()))?,
        )
    }
}

/// One packet for [`Generation::test_run`].
pub struct TestPacket<'a> {
    pub hook: Hook,
    pub link: LinkType,
    /// At least 14 bytes; the kernel refuses fewer.
    pub bytes: &'a [u8],
    pub repeat: u32,
}

/// What the program returned, and how long one run took on average.
pub struct TestResult {
    /// A TCX code: -1 (next), 2 (drop) or 7 (redirect).
    pub code: i32,
    pub duration: Duration,
}

fn doors_failed(source: MapError) -> DatapathError {
    DatapathError::Fill { map: "DOORS", source }
}

const fn program_name(hook: Hook, link: LinkType) -> &'static str {
    match (hook, link) {
        (Hook::Door, LinkType::Ethernet) => "door",
        (Hook::Door, LinkType::Ip) => "door_ip",
        (Hook::Guard, LinkType::Ethernet) => "guard",
        (Hook::Guard, LinkType::Ip) => "guard_ip",
    }
}

/// The kernel refuses a map of no entries.
fn entries(len: usize) -> u32 {
    u32::try_from(len.max(1)).unwrap_or(u32::MAX)
}

fn refused(error: EbpfError) -> DatapathError {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::EPERM) =>
        {
            DatapathError::NoRights
        }
        other => DatapathError::Object(format!("{:#}", anyhow::Error::from(other))),
    }
}
