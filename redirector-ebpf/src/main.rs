//! The XDP program: a thin shell around [`redirector_common::process`].
//!
//! | file | holds |
//! |---|---|
//! | `main.rs` | the entry point: process → count → emit |
//! | `packet.rs` | the only pointer arithmetic: a frame between `data` and `data_end` |
//! | `maps.rs` | the maps, and [`redirector_common::Tables`] over them |
//! | `emit.rs` | verdict → XDP action, device map and log line |
#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "a call costs each packet time, and the verifier loses at calls what it knows about pointers"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]

mod emit;
mod maps;
mod packet;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use redirector_common::{Outcome, general, plain};

use crate::{maps::KernelTables, packet::PacketFrame};

/// Decides on every frame that a NIC of the relay receives.
#[xdp]
fn redirector(context: XdpContext) -> u32 {
    let tables = KernelTables::new(&context);
    let mut frame = PacketFrame::new(&context);
    let Some(outcome) = plain(&mut frame, &tables) else {
        let outcome = anything(&context);
        maps::count_told_verdict(outcome.verdict);
        return emit::emit(&context, outcome);
    };
    maps::count_verdict(outcome.verdict);
    emit::emit(&context, outcome)
}

/// All that is not plain, in a function of its own: it may not cost the plain packets registers.
#[inline(never)]
fn anything(context: &XdpContext) -> Outcome {
    let tables = KernelTables::new(context);
    let mut frame = PacketFrame::new(context);
    general(&mut frame, &tables)
}

/// Required of any program without `std`; the verifier proves that it is never reached.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[expect(unsafe_code, reason = "the kernel finds the licence by its section")]
/// The kernel lets only programs with a compatible licence call some helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
