//! Access to a frame before the stack has seen it: the only place that touches `xdp_md`.

use aya_ebpf::programs::XdpContext;
use policy_common::PacketView;
use policy_common::abi::Macs;
use policy_common::decide::Arrival;

/// An Ethernet frame at the XDP hook. All of it lies in one piece: the program doesn't ask for frames in several
/// (`BPF_F_XDP_HAS_FRAGS`), so the kernel attaches it nowhere where they occur.
pub struct Frame<'a>(pub &'a XdpContext);

impl Frame<'_> {
    #[inline(always)]
    pub fn macs(&self) -> Macs {
        match self.load::<12>(0) {
            Some([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) => {
                Macs { known: 1, src: [s0, s1, s2, s3, s4, s5], dst: [d0, d1, d2, d3, d4, d5] }
            }
            None => Macs::NONE,
        }
    }
}

impl PacketView for Frame<'_> {
    /// Offsets must be constants, or the verifier has a range to follow at every step.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let begin = self.0.data() + offset as usize;
        if begin + N > self.0.data_end() {
            return None;
        }
        // SAFETY: the N bytes end in front of the end of the frame, which the verifier checks as well, and any bytes are a
        // valid array.
        Some(unsafe { (begin as *const [u8; N]).read_unaligned() })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }
}

impl Arrival for Frame<'_> {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn src_mac(&self) -> Option<[u8; 6]> {
        self.load::<6>(6)
    }
}
