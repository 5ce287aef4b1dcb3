//! Access to a packet's bytes and metadata through the kernel's helpers: the only place that touches `__sk_buff`.

use aya_ebpf::programs::TcContext;
use policy_common::abi::Macs;
use policy_common::decide::Arrival;
use policy_common::{LinkType, PacketView};

/// A packet at a TC hook.
pub struct Skb<'a> {
    ctx: &'a TcContext,
    link: LinkType,
}

impl<'a> Skb<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a TcContext, link: LinkType) -> Self {
        Self { ctx, link }
    }

    #[inline(always)]
    pub fn ctx(&self) -> &'a TcContext {
        self.ctx
    }

    #[inline(always)]
    pub fn link(&self) -> LinkType {
        self.link
    }

    #[inline(always)]
    pub fn macs(&self) -> Macs {
        if self.link != LinkType::Ethernet {
            return Macs::NONE;
        }
        match Linear(self).load::<12>(0).or_else(|| self.load::<12>(0)) {
            Some([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) => {
                Macs { known: 1, src: [s0, s1, s2, s3, s4, s5], dst: [d0, d1, d2, d3, d4, d5] }
            }
            None => Macs::NONE,
        }
    }

    /// Interface the packet came in through, before routing; 0 for one that a process of the gateway sent.
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: the kernel hands a classifier a valid context, and the verifier checks each access to its fields.
        unsafe { (*self.ctx.skb.skb).ingress_ifindex }
    }

    /// Whether the frame was sent to this machine alone, not broadcast or overheard.
    #[inline(always)]
    pub fn is_for_us(&self) -> bool {
        // PACKET_HOST of linux/if_packet.h.
        const HOST: u32 = 0;
        // SAFETY: as in `ingress_ifindex`.
        unsafe { (*self.ctx.skb.skb).pkt_type == HOST }
    }

    /// VLAN id of the tag that the network card or the stack took out of the frame; 0 for none or a priority tag.
    #[inline(always)]
    pub fn outer_vlan(&self) -> u16 {
        // SAFETY: as in `ingress_ifindex`.
        let (present, tci) = unsafe { ((*self.ctx.skb.skb).vlan_present, (*self.ctx.skb.skb).vlan_tci) };
        if present == 0 { 0 } else { (tci & 0x0fff) as u16 }
    }
}

/// The linear part of a packet by direct access, without a call of the kernel; headers almost always lie in it.
pub struct Linear<'a>(pub &'a Skb<'a>);

impl PacketView for Linear<'_> {
    /// Offsets must be constants, or the verifier has a range to follow at every step.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let ctx = self.0.ctx;
        let begin = ctx.data() + offset as usize;
        if begin + N > ctx.data_end() {
            return None;
        }
        // SAFETY: the N bytes end in front of the end of the linear part, which the verifier checks as well, and any bytes
        // are a valid array.
        Some(unsafe { (begin as *const [u8; N]).read_unaligned() })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.ctx.len()
    }
}

impl PacketView for Skb<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // bpf_skb_load_bytes also reads what is not in the linear part, where direct access would miss a header.
        self.ctx.load(offset as usize).ok()
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.ctx.len()
    }
}

impl Arrival for Skb<'_> {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as in `ingress_ifindex`.
        unsafe { (*self.ctx.skb.skb).ifindex }
    }

    #[inline(always)]
    fn src_mac(&self) -> Option<[u8; 6]> {
        if self.link == LinkType::Ethernet { self.load::<6>(6) } else { None }
    }
}
