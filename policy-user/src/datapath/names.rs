//! The program that copies DNS answers: loaded only where the policy asks for names, and gone with the agent.
//!
//! Nothing of it is pinned or shared with the programs that decide, so whatever becomes of it, enforcement does not notice.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use policy_common::abi::Answer;
use policy_common::{Addr, LinkType};
use tokio::io::unix::AsyncFd;

use super::error::DatapathError;
use super::events::watch;
use crate::netlink::Interface;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/names"));

/// Answers that one batch holds at most, so that a flood can't keep the caller from its other work.
const BATCH: usize = 1024;

/// The loaded program and where it looks.
pub struct NameTap {
    ebpf: Ebpf,
    links: BTreeMap<u32, (LinkType, SchedClassifierLinkId)>,
}

/// The answers that it hands on.
pub struct AnswerStream {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl NameTap {
    /// Loads it for answers of these resolvers; attached to nothing until `attach`.
    pub fn load(resolvers: &[IpAddr]) -> Result<(Self, AnswerStream), DatapathError> {
        let unusable = |error: &dyn std::fmt::Display| DatapathError::Object(error.to_string());
        let mut loader = EbpfLoader::new();
        loader.btf(None).verifier_log_level(VerifierLogLevel::STATS);
        let ebpf = loader.load(OBJECT).map_err(|error| unusable(&error))?;
        let mut tap = Self { ebpf, links: BTreeMap::new() };
        let failed = |source| DatapathError::Fill { map: "RESOLVERS", source };
        let map = tap.ebpf.map_mut("RESOLVERS").ok_or_else(|| unusable(&"no map RESOLVERS"))?;
        let mut known: HashMap<_, Addr, u8> = HashMap::try_from(map).map_err(failed)?;
        for resolver in resolvers {
            known.insert(Addr::from(*resolver), 1, 0).map_err(failed)?;
        }
        for link in [LinkType::Ethernet, LinkType::Ip] {
            let program = program_name(link);
            tap.classifier(link)?
                .load()
                .map_err(|source| DatapathError::Load { program, source: Box::new(source) })?;
        }
        let ring = tap.ebpf.take_map("ANSWERS").ok_or_else(|| unusable(&"no map ANSWERS"))?;
        let ring = RingBuf::try_from(ring).map_err(|error| unusable(&error))?;
        Ok((tap, AnswerStream { ring: watch(ring, Path::new("ANSWERS"))? }))
    }

    /// Looks at exactly these inside interfaces from now on. Behind whatever else is attached there: it needs no place of
    /// its own, and what others drop reaches no client.
    pub fn attach(&mut self, inside: &[Interface]) -> Result<(), DatapathError> {
        let gone: Vec<u32> =
            self.links.keys().copied().filter(|index| !inside.iter().any(|it| it.index == *index)).collect();
        for index in gone {
            if let Some((link, id)) = self.links.remove(&index) {
                // It died with its interface, if that is what is gone.
                let _ = self.classifier(link)?.detach(id);
            }
        }
        for interface in inside {
            let Some(link) = interface.link.filter(|_| !self.links.contains_key(&interface.index)) else {
                continue;
            };
            let options = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = self
                .classifier(link)?
                .attach_with_options(&interface.name, TcAttachType::Egress, options)
                .map_err(|source| DatapathError::Attach {
                    interface: interface.name.clone(),
                    source: Box::new(source),
                })?;
            self.links.insert(interface.index, (link, id));
        }
        Ok(())
    }

    /// Answers that nobody learnt from, because they were too many at once.
    pub fn left_out(&self) -> Result<u64, DatapathError> {
        let failed = |source| DatapathError::State { doing: "read", map: "BUDGET", source: Box::new(source) };
        let map: &Map =
            self.ebpf.map("BUDGET").ok_or_else(|| DatapathError::Object("no map BUDGET".to_owned()))?;
        let budget: PerCpuArray<_, [u64; 3]> = PerCpuArray::try_from(map).map_err(failed)?;
        Ok(budget.get(&0, 0).map_err(failed)?.iter().map(|[_, _, left_out]| left_out).sum())
    }

    /// Instructions that the verifier had to look at, of the 1,000,000 it allows.
    pub fn verified_instructions(&mut self, link: LinkType) -> Result<u32, DatapathError> {
        let info = self.classifier(link)?.info().map_err(|error| DatapathError::Object(error.to_string()))?;
        Ok(info.verified_instruction_count().unwrap_or(0))
    }

    fn classifier(&mut self, link: LinkType) -> Result<&mut SchedClassifier, DatapathError> {
        let name = program_name(link);
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| DatapathError::Object(format!("the built-in object has no classifier {name}")))
    }
}

impl AnswerStream {
    /// Waits until there is something to drain.
    pub async fn readable(&mut self) -> std::io::Result<()> {
        self.ring.readable_mut().await.map(|mut ready| ready.clear_ready())
    }

    /// Appends what is in the ring right now, up to a batch.
    pub fn drain(&mut self, answers: &mut Vec<Answer>) {
        for _ in 0..BATCH {
            let Some(record) = self.ring.get_mut().next() else { return };
            answers.extend(Answer::from_bytes(&record));
        }
    }
}

const fn program_name(link: LinkType) -> &'static str {
    match link {
        LinkType::Ethernet => "names",
        LinkType::Ip => "names_ip",
    }
}
