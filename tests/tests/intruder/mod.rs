//! A foreign program that ends the chain with TCX_PASS.

use anyhow::{Context, Result};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use lab::Host;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// `r0 = 0; exit`: TCX_PASS, which is TC_ACT_OK (instruction layout: Documentation/bpf/standardization).
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// A relocatable object with that one classifier, as a compiler would write it.
fn object() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"classifier".to_vec(), SectionKind::Text);
    let symbol = object.add_symbol(Symbol {
        name: b"pass".to_vec(),
        value: 0,
        size: CODE.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    });
    object.add_symbol_data(symbol, section, &CODE, 8);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    Ok(object.write()?)
}

pub struct Intruder {
    _ebpf: aya::Ebpf,
    _link: FdLink,
}

pub fn put_in_front(host: &Host, interface: &str) -> Result<Intruder> {
    host.run(|| {
        let mut ebpf = aya::Ebpf::load(&object()?)?;
        let program: &mut SchedClassifier = ebpf.program_mut("pass").context("no program")?.try_into()?;
        program.load()?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(interface, TcAttachType::Ingress, first)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        Ok(Intruder { _ebpf: ebpf, _link: link })
    })?
}
