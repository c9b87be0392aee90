//! The programs: a thin shell around [`redirector_common::process`].
//!
//! | file | holds |
//! |---|---|
//! | `main.rs` | the entry points at the driver (XDP), one for each stage: process → count → emit |
//! | `tc.rs` | the same behind the driver (tc) |
//! | `context.rs` | what the two are called with, and what each can do |
//! | `packet.rs` | the only pointer arithmetic: a frame between `data` and `data_end` |
//! | `maps/` | the maps, and [`redirector_common::Tables`] over them |
//! | `emit.rs` | verdict → the kernel's action and log line |
//! | `capture.rs` | packets before and after, while somebody captures |
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

mod capture;
mod context;
mod emit;
mod maps;
mod packet;
mod tc;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use redirector_common::{
    Stage, Step, associate, enter, icmp, ip, partial, refuse, too_big, transport, verdict::Verdict,
    wire::protocol,
};

use crate::{maps::KernelTables, packet::PacketFrame};

/// Decides on every frame that a NIC of the relay receives, or hands it to a later stage.
#[xdp(frags)]
#[inline(always)]
fn redirector(context: XdpContext) -> u32 {
    decide(&context)
}

/// What interfaces run in place of `redirector` while somebody captures.
#[xdp(frags)]
#[inline(always)]
fn watched(context: XdpContext) -> u32 {
    capture::enter(&context);
    decide(&context)
}

#[inline(always)]
fn decide(context: &XdpContext) -> u32 {
    let mut frame = PacketFrame::<false>::new(context);
    let tables = KernelTables::new(context);
    let step = enter(&mut frame, &tables);
    emit::go::<true, _>(context, &tables, step)
}

/// `CAPTURE_BEGIN`.
#[xdp(frags)]
#[inline(always)]
fn capture(context: XdpContext) -> u32 {
    capture::keep(&context);
    let mut frame = PacketFrame::<false>::new(&context);
    let tables = KernelTables::new(&context);
    let step = enter(&mut frame, &tables);
    if step == Step::Go(Stage::Plain6) {
        capture::go_on(&context);
    }
    emit::go::<false, _>(&context, &tables, step)
}

/// `CAPTURE_PLAIN6`.
#[xdp(frags)]
#[inline(always)]
fn capture6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<false>::new(&context);
    let tables = KernelTables::new(&context);
    let step = redirector_common::plain6(&mut frame, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `CAPTURE_END`.
#[xdp(frags)]
#[inline(always)]
fn report(context: XdpContext) -> u32 {
    let decided = capture::record(&context);
    emit::answer(&context, decided.unwrap_or(Verdict::DropNoStage.into()))
}

/// `Stage::Ipv4`.
#[xdp(frags)]
#[inline(always)]
fn ipv4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = ip::<[u8; 4], _, _>(&mut frame, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Ipv6`.
#[xdp(frags)]
#[inline(always)]
fn ipv6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = ip::<[u8; 16], _, _>(&mut frame, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Tcp4`.
#[xdp(frags)]
#[inline(always)]
fn tcp4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = transport::<[u8; 4], _, _>(&mut frame, protocol::TCP, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Tcp6`.
#[xdp(frags)]
#[inline(always)]
fn tcp6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = transport::<[u8; 16], _, _>(&mut frame, protocol::TCP, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Udp4`.
#[xdp(frags)]
#[inline(always)]
fn udp4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = transport::<[u8; 4], _, _>(&mut frame, protocol::UDP, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Udp6`.
#[xdp(frags)]
#[inline(always)]
fn udp6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = transport::<[u8; 16], _, _>(&mut frame, protocol::UDP, &tables);
    emit::go::<false, _>(&context, &tables, step)
}

/// `Stage::Plain6`.
#[xdp(frags)]
#[inline(always)]
fn plain6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<false>::new(&context);
    let tables = KernelTables::new(&context);
    let step = redirector_common::plain6(&mut frame, &tables);
    emit::go::<true, _>(&context, &tables, step)
}

/// `Stage::Icmp4`.
#[xdp(frags)]
#[inline(always)]
fn icmp4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = icmp::translate::<[u8; 4], _, _>(&mut frame, &tables);
    emit::go::<false, _>(&context, &tables, Step::Done(outcome))
}

/// `Stage::Icmp6`.
#[xdp(frags)]
#[inline(always)]
fn icmp6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = icmp::translate::<[u8; 16], _, _>(&mut frame, &tables);
    emit::go::<false, _>(&context, &tables, Step::Done(outcome))
}

/// `Stage::Negotiate4`.
#[xdp(frags)]
#[inline(always)]
fn negotiate4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = associate::negotiate::<[u8; 4], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, step)
}

/// `Stage::Negotiate6`.
#[xdp(frags)]
#[inline(always)]
fn negotiate6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let step = associate::negotiate::<[u8; 16], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, step)
}

/// `Stage::Complete`.
#[xdp(frags)]
#[inline(always)]
fn complete(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = partial::complete(&mut frame, &tables);
    emit::finish(&context, &tables, Step::Done(outcome))
}

/// `Stage::TooBig4`.
#[xdp(frags)]
#[inline(always)]
fn too_big4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = too_big::answer::<[u8; 4], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, Step::Done(outcome))
}

/// `Stage::TooBig6`.
#[xdp(frags)]
#[inline(always)]
fn too_big6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = too_big::answer::<[u8; 16], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, Step::Done(outcome))
}

/// `Stage::Refuse4`.
#[xdp(frags)]
#[inline(always)]
fn refuse4(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = refuse::answer::<[u8; 4], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, Step::Done(outcome))
}

/// `Stage::Refuse6`.
#[xdp(frags)]
#[inline(always)]
fn refuse6(context: XdpContext) -> u32 {
    let mut frame = PacketFrame::<true>::new(&context);
    let tables = KernelTables::new(&context);
    let outcome = refuse::answer::<[u8; 16], _, _>(&mut frame, &tables);
    emit::finish(&context, &tables, Step::Done(outcome))
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
