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

mod emit;
mod maps;
mod packet;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use redirector_common::process;

use crate::{maps::KernelTables, packet::PacketFrame};

/// Decides on every frame that a NIC of the relay receives.
#[xdp]
fn redirector(context: XdpContext) -> u32 {
    let tables = KernelTables::new(&context);
    let mut frame = PacketFrame::new(&context);
    let outcome = process(&mut frame, &tables);
    maps::count_verdict(outcome.verdict);
    emit::emit(&context, outcome)
}

/// Required of any program without `std`; the verifier proves that it is never reached.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only programs with a compatible licence call some helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
