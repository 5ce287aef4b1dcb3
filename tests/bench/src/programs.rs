//! The benchmark's own kernel programs: loaded, attached, and asked what they have seen.

use aya::maps::{Map, PerCpuArray};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use anyhow::{Context, Result};
use lab::Host;

pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench-ebpf"));

/// One of the classifiers, loaded with maps of its own.
pub struct Classifier {
    ebpf: Ebpf,
    name: &'static str,
}

impl Classifier {
    pub fn load(name: &'static str) -> Result<Self> {
        let mut classifier = Self { ebpf: EbpfLoader::new().btf(None).load(OBJECT)?, name };
        classifier.program()?.load()?;
        Ok(classifier)
    }

    pub fn program(&mut self) -> Result<&mut SchedClassifier> {
        let program =
            self.ebpf.program_mut(self.name).with_context(|| format!("no program {}", self.name))?;
        Ok(program.try_into()?)
    }

    /// Attaches to the ingress of an interface, until the link is dropped.
    pub fn attach(&mut self, host: &Host, interface: &str) -> Result<SchedClassifierLink> {
        self.attach_at(host, interface, TcAttachType::Ingress)
    }

    /// The same on either side.
    pub fn attach_at(
        &mut self,
        host: &Host,
        interface: &str,
        side: TcAttachType,
    ) -> Result<SchedClassifierLink> {
        let program = self.program()?;
        host.run(|| {
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            let id = program.attach_with_options(interface, side, options)?;
            Ok(program.take_link(id)?)
        })?
    }

    /// Runs it on one packet so many times.
    pub fn test_run(&mut self, bytes: &[u8], repeat: u32) -> Result<i32> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.repeat = repeat;
        Ok(self.program()?.test_run(options)?.return_value as i32)
    }

    /// Packets that the sink has counted.
    pub fn arrived(&self) -> Result<u64> {
        slot(self.ebpf.map("ARRIVED").context("no map ARRIVED")?, 0)
    }
}

/// Attaches the program that does nothing to the driver of `interface`, until the link is dropped.
pub fn attach_driver(host: &Host, interface: &str) -> Result<XdpLink> {
    let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT)?;
    let program: &mut Xdp = ebpf.program_mut("driver").context("no program driver")?.try_into()?;
    program.load()?;
    host.run(|| {
        let id = program.attach(interface, XdpMode::Driver)?;
        Ok(program.take_link(id)?)
    })?
}

/// One counter, over all processors.
pub fn slot(map: &Map, index: u32) -> Result<u64> {
    let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    Ok(counters.get(&index, 0)?.iter().sum())
}
