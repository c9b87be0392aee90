//! What a program is called with: a frame at the driver ([`XdpContext`]), or a packet of the kernel's behind it
//! ([`TcContext`]), whose data may lie outside of the linear part, and may be as much as the device is going to cut into many
//! segments (TSO, GSO).
#![expect(unsafe_code, reason = "helpers take contexts and maps by raw pointers")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lengths within a frame, of at most 17 bits; indices of interfaces; answers of helpers"
)]

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{
        bpf_l4_csum_replace, bpf_redirect, bpf_redirect_map, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
        bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use redirector_common::{
    Outcome, Stage, Step,
    parse::OFFSETS,
    verdict::Verdict,
    wire::{Tcp, Udp, protocol},
};

use crate::{
    capture,
    maps::{self, STAGES, TC_STAGES, TX_PORTS},
    packet::frags,
};

/// One of the two.
pub(crate) trait Context: EbpfContext {
    /// Whether checksums that were left to the device are completed behind the program, whatever the interface.
    const COMPLETES_CHECKSUMS: bool;
    /// What leaves the frame to the kernel.
    const PASS: u32;
    /// What drops it.
    const DROP: u32;

    /// Where the part begins that can be reached by a pointer.
    fn start(&self) -> usize;
    /// Where it ends.
    fn end(&self) -> usize;
    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// Whether more may follow behind [`Context::end`].
    fn is_spread() -> bool;
    /// Bytes of the frame, those behind [`Context::end`] included.
    fn full_length(&self) -> usize;
    /// See [`redirector_common::Tables::checksum_is_whole`].
    fn checksum_is_whole(&self) -> bool;
    /// See [`redirector_common::Frame::segment_data`].
    fn segment_data(&self) -> Option<u32>;
    /// Copies bytes of the frame; whether it could.
    fn load(&self, offset: u32, piece: &mut [u64], length: u32) -> bool;
    /// See [`redirector_common::Frame::make_room`]; `length` is that of the frame so far.
    fn make_room(&self, head: usize, kept: usize, length: usize) -> bool;
    /// Goes on in the program of `stage`, if there is one.
    fn jump(&self, stage: Stage);
    /// Sends the frame by an interface.
    fn transmit(&self, ifindex: u32) -> u32;
    /// Goes on in the program that records the packet, while somebody captures.
    fn leave_to_capture(&self, backend: impl Fn() -> u16, outcome: Outcome);
    /// Begins again where more of the frame can be brought within reach of pointers, and that is what was missing.
    fn reach_further(&self, step: Step);
}

impl Context for XdpContext {
    const COMPLETES_CHECKSUMS: bool = false;
    const PASS: u32 = xdp_action::XDP_PASS;
    const DROP: u32 = xdp_action::XDP_DROP;

    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn is_spread() -> bool {
        frags()
    }

    #[inline(always)]
    fn full_length(&self) -> usize {
        // SAFETY: the helper gets its own context.
        let length = unsafe { bpf_xdp_get_buff_len(self.as_ptr().cast()) };
        length as usize
    }

    #[inline(always)]
    fn checksum_is_whole(&self) -> bool {
        false
    }

    #[inline(always)]
    fn segment_data(&self) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn load(&self, offset: u32, piece: &mut [u64], length: u32) -> bool {
        // SAFETY: the helper gets its own context; the caller's `length` is at most that of the piece.
        let copied = unsafe {
            bpf_xdp_load_bytes(
                self.as_ptr().cast(),
                offset,
                piece.as_mut_ptr().cast(),
                length,
            )
        };
        copied == 0
    }

    #[inline(always)]
    fn make_room(&self, head: usize, kept: usize, length: usize) -> bool {
        let cut = length - kept;
        // SAFETY: the helpers get their own context.
        unsafe {
            bpf_xdp_adjust_tail(self.as_ptr().cast(), -(cut as i32)) == 0
                && bpf_xdp_adjust_head(self.as_ptr().cast(), -(head as i32)) == 0
        }
    }

    #[inline(always)]
    fn jump(&self, stage: Stage) {
        // SAFETY: no references into the frame are held, and nothing has to be dropped.
        unsafe { STAGES.tail_call(self, stage.index()) };
    }

    /// A frame that leaves by the interface it came in by is turned around there, which is cheaper than the device map. Where
    /// the interface is not in the map the frame is dropped: it has been rewritten already, and the kernel must not see
    /// half of a translation.
    #[inline(always)]
    fn transmit(&self, ifindex: u32) -> u32 {
        if ifindex as usize == self.ingress_ifindex() {
            return xdp_action::XDP_TX;
        }
        // SAFETY: a helper call with a valid map; the low bits of the flags are the action on a miss.
        unsafe {
            bpf_redirect_map(
                core::ptr::from_ref(&TX_PORTS).cast_mut().cast(),
                u64::from(ifindex),
                u64::from(xdp_action::XDP_DROP),
            ) as u32
        }
    }

    #[inline(always)]
    fn leave_to_capture(&self, backend: impl Fn() -> u16, outcome: Outcome) {
        capture::leave(self, backend, outcome);
    }

    #[inline(always)]
    fn reach_further(&self, _step: Step) {}
}

/// So many bytes of a packet hold all of its headers, those that an ICMP error quotes included.
const HEADERS: u32 = 256;
/// And so many what is said in one segment of a SOCKS negotiation.
const NEGOTIATION: u32 = 2048;

/// Brings the first `wanted` bytes of a packet, or all of a shorter one, within reach of pointers. Says whether that has
/// brought any more.
#[inline(always)]
fn pull(context: &TcContext, wanted: u32) -> bool {
    let length = context.len();
    let wanted = if length < wanted { length } else { wanted };
    if context.data_end() - context.data() >= wanted as usize {
        return false;
    }
    // SAFETY: the helper gets its own context; the frame is read anew by whoever has called.
    unsafe { bpf_skb_pull_data(context.skb.skb, wanted) == 0 }
}

/// Before the program of an ICMP stage: what an error quotes.
#[inline(always)]
pub(crate) fn pull_headers(context: &TcContext) {
    pull(context, HEADERS);
}

/// Before the program of a negotiation.
#[inline(always)]
pub(crate) fn pull_negotiation(context: &TcContext) {
    pull(context, NEGOTIATION);
}

/// Which word of the packet's control buffer says that its checksum is complete.
const NOTE: usize = 0;

/// At the beginning nothing is known of the checksum.
#[inline(always)]
pub(crate) fn note_nothing(context: &TcContext) {
    // SAFETY: the kernel gives a valid context, whose control buffer is the program's.
    unsafe { (*context.skb.skb).cb[NOTE] = 0 };
}

/// Notes whether the checksum of the segment or datagram in IPv4 that an earlier program has found is complete.
#[inline(always)]
pub(crate) fn note_checksum4(context: &TcContext) {
    note_checksum(context, maps::left_transport(false));
}

/// The same in IPv6.
#[inline(always)]
pub(crate) fn note_checksum6(context: &TcContext) {
    note_checksum(context, maps::left_transport(true));
}

/// The kernel does not tell, but it does not change a checksum that is left to the device unless the pseudo-header changes
/// (`inet_proto_csum_replace4`). What it would have cut into segments is always left to it.
#[inline(always)]
fn note_checksum(context: &TcContext, left: Option<(usize, u8)>) {
    let skb = context.skb.skb;
    let mut whole = false;
    if let (Some((transport, protocol)), None) = (left, context.segment_data()) {
        let checksum = if protocol == protocol::TCP {
            offset_of!(Tcp, checksum)
        } else {
            offset_of!(Udp, checksum)
        };
        let at = (transport % OFFSETS + checksum) as u32;
        let (mut before, mut after) = ([0_u8; 2], [0_u8; 2]);
        // SAFETY: the helpers get their own context, and two bytes each. The frame is read anew by whoever has called.
        unsafe {
            let read = |bytes: &mut [u8; 2]| {
                bpf_skb_load_bytes(skb.cast(), at, bytes.as_mut_ptr().cast(), 2) == 0
            };
            // In UDP 0 means that there is none, which looks like nothing else.
            if read(&mut before)
                && before != [0; 2]
                && bpf_l4_csum_replace(skb, at, 0, 1, 2) == 0
                && read(&mut after)
                && after != before
            {
                whole = true;
                bpf_skb_store_bytes(skb, at, before.as_ptr().cast(), 2, 0);
            }
        }
    }
    // SAFETY: the kernel gives a valid context, whose control buffer is the program's.
    unsafe { (*skb).cb[NOTE] = u32::from(whole) };
}

impl Context for TcContext {
    const COMPLETES_CHECKSUMS: bool = true;
    const PASS: u32 = TC_ACT_UNSPEC as u32;
    const DROP: u32 = TC_ACT_SHOT as u32;

    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn is_spread() -> bool {
        true
    }

    #[inline(always)]
    fn full_length(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn checksum_is_whole(&self) -> bool {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*self.skb.skb).cb[NOTE] != 0 }
    }

    #[inline(always)]
    fn segment_data(&self) -> Option<u32> {
        // SAFETY: the kernel gives a valid context.
        let size = unsafe { (*self.skb.skb).gso_size };
        (size != 0).then_some(size)
    }

    #[inline(always)]
    fn load(&self, offset: u32, piece: &mut [u64], length: u32) -> bool {
        // SAFETY: the helper gets its own context; the caller's `length` is at most that of the piece.
        let copied = unsafe {
            bpf_skb_load_bytes(
                self.as_ptr().cast(),
                offset,
                piece.as_mut_ptr().cast(),
                length,
            )
        };
        copied == 0
    }

    #[inline(always)]
    fn make_room(&self, head: usize, kept: usize, _length: usize) -> bool {
        // SAFETY: the helpers get their own context.
        unsafe {
            bpf_skb_change_tail(self.skb.skb, kept as u32, 0) == 0
                && (head == 0 || bpf_skb_change_head(self.skb.skb, head as u32, 0) == 0)
        }
    }

    #[inline(always)]
    fn jump(&self, stage: Stage) {
        // SAFETY: no references into the frame are held, and nothing has to be dropped.
        unsafe { TC_STAGES.tail_call(self, stage.index()) };
    }

    /// Where the interface is not in the map, the program is not on it.
    #[inline(always)]
    fn transmit(&self, ifindex: u32) -> u32 {
        if TX_PORTS.get_ifindex(ifindex).is_none() {
            return Self::DROP;
        }
        // SAFETY: a helper call; it takes any index.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }

    /// Whoever captures on such an interface sees all packets without the data path's help, with tcpdump.
    #[inline(always)]
    fn leave_to_capture(&self, _backend: impl Fn() -> u16, _outcome: Outcome) {}

    #[inline(always)]
    fn reach_further(&self, step: Step) {
        if let Step::Done(outcome) = step
            && outcome.verdict == Verdict::PassTruncated
            && pull(self, HEADERS)
        {
            // SAFETY: no references into the frame are held, and nothing has to be dropped.
            unsafe { TC_STAGES.tail_call(self, Stage::TC_BEGIN) };
        }
    }
}
