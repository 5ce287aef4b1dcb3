//! What a look-up costs in lists of different lengths: addresses that no list holds, one after the other.

use anyhow::{Result, ensure};
use lab::frame::{Frame, Mac, Tcp, flags};
use policy_common::LinkType;
use policy_user::datapath::{Hook, KernelLog, TestPacket};
use serde::{Deserialize, Serialize};

use crate::filters::{Filter as _, OnDeny, Ours};
use crate::program_time;
use crate::results::Spread;
use crate::stage::Stage;

/// One list, asked about so many addresses in turn.
#[derive(Serialize, Deserialize)]
pub struct LookUp {
    pub entries: usize,
    pub addresses: usize,
    /// Of the whole program for one packet, the kernel's two looks at the clock included.
    pub program_ns: f64,
    /// Longer than with the shortest list.
    pub more_ns: f64,
}

const ENTRIES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
/// So few stay in the processor's nearest cache; so many do not.
const ADDRESSES: [usize; 2] = [256, 65_536];
const ROUNDS: usize = 7;
/// Packets of one measurement; a multiple of all numbers of addresses.
const PACKETS: usize = 65_536;

/// Mail to an internal destination: one look-up, which finds only the network around it, and no report that would cost
/// more than the look-up.
pub fn measure(stage: &Stage) -> Result<Vec<LookUp>> {
    let mut lists = Vec::new();
    for entries in ENTRIES {
        let name = format!("list-{entries}");
        lists.push((entries, Ours::prepare(stage, &name, entries, OnDeny::Drop, KernelLog::Off)?));
    }
    let packets = packets()?;
    let mut found = vec![[(); ADDRESSES.len()].map(|()| Vec::new()); ENTRIES.len()];
    for _ in 0..ROUNDS {
        for ((_, list), found) in lists.iter_mut().zip(&mut found) {
            list.enter(stage)?;
            for (addresses, found) in ADDRESSES.into_iter().zip(found) {
                found.push(time(stage, list, &packets[..addresses])?);
            }
            list.leave(stage)?;
        }
    }
    let mut look_ups = Vec::new();
    for (i, addresses) in ADDRESSES.into_iter().enumerate() {
        let medians: Vec<f64> = found.iter().map(|rounds| Spread::of(&rounds[i]).median).collect();
        for (entries, median) in ENTRIES.into_iter().zip(&medians) {
            look_ups.push(LookUp { entries, addresses, program_ns: *median, more_ns: median - medians[0] });
        }
    }
    Ok(look_ups)
}

/// Nanoseconds of the program for one packet.
fn time(stage: &Stage, list: &mut Ours, packets: &[Vec<u8>]) -> Result<f64> {
    let mut ask = |bytes: &Vec<u8>| -> Result<()> {
        let packet = TestPacket { hook: Hook::Door, link: LinkType::Ethernet, bytes, repeat: 1 };
        let code = list.generation().test_run(&packet)?.code;
        ensure!(code == -1, "the program returned {code}: this is another path");
        Ok(())
    };
    packets.iter().try_for_each(&mut ask)?;
    let mut turns = packets.iter().cycle().take(PACKETS);
    let found = program_time::measure(stage, PACKETS as u32, || turns.try_for_each(&mut ask))?;
    found.ok_or_else(|| anyhow::anyhow!("nothing is attached"))
}

/// To odd addresses all over 10.0.0.0/8, in no order; the even ones between them are the lists'.
fn packets() -> Result<Vec<Vec<u8>>> {
    let mut random = fastrand::Rng::with_seed(26);
    let client = "10.25.0.77".parse()?;
    let segment = Tcp::new(40_000, 25, flags::ACK).acknowledgement(1).payload(&[0; 10]);
    let to =
        std::iter::repeat_with(|| std::net::Ipv4Addr::from_bits(0x0a00_0000 | random.u32(..1 << 24) | 1));
    let frame = |to: std::net::Ipv4Addr| {
        Frame::new(Mac([2, 0, 0, 0, 0, 0x77]), Mac([0; 6])).ip(client, to.into()).tcp(segment.clone()).build()
    };
    Ok(to.map(frame).take(PACKETS).collect())
}
