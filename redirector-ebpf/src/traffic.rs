//! Programs that send packets over a relay and count what comes out at the other end, all in one soft interrupt of
//! one processor: `generate` is run by `BPF_PROG_TEST_RUN` with live frames, which puts a batch into a veth; by the
//! time the kernel gives the processor back, the relay has forwarded the batch and `sink` has counted it.
//! `redirect` and `bounce` are relays that do nothing else: the limit for any other.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packets, maps and helpers are the kernel's")]
#![expect(
    clippy::inline_always,
    reason = "the verifier loses at calls what it knows about pointers"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{DevMap, PerCpuArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use redirector_common::bench::{Arrived, CLIENTS, CLIENTS_MASK, SHORT, Stream};

#[btf_map]
static STREAM: PerCpuArray<Stream, 1> = PerCpuArray::new();

#[btf_map]
static ARRIVED: PerCpuArray<Arrived, 1> = PerCpuArray::new();

/// Where generated frames go, by [`Stream::device`].
#[btf_map]
static DEVICES: DevMap<256> = DevMap::new();

/// Where the bare relay sends what comes in, by the interface it came in by.
#[btf_map]
static OTHER_SIDE: DevMap<256> = DevMap::new();

/// Makes the next packet of the stream and sends it.
#[xdp(frags)]
fn generate(context: XdpContext) -> u32 {
    let Some(stream) = STREAM.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the entry is this processor's, and generating is not interrupted by generating.
    let stream = unsafe { &mut *stream };
    if !write(&context, stream) {
        return xdp_action::XDP_ABORTED;
    }
    match DEVICES.redirect(stream.device, 0) {
        Ok(action) | Err(action) => action,
    }
}

/// Sends everything by the other interface.
#[xdp(frags)]
fn redirect(context: XdpContext) -> u32 {
    let ifindex = u32::try_from(context.ingress_ifindex()).unwrap_or(0);
    match OTHER_SIDE.redirect(ifindex, 0) {
        Ok(action) | Err(action) => action,
    }
}

/// Sends everything back.
#[xdp(frags)]
fn bounce(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Counts and discards the stream's packets; others go on to the network stack.
#[xdp(frags)]
fn sink(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + 34 > end {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: checked against `data_end` above; any bytes will do.
    let ethertype = unsafe { *((start + 12) as *const [u8; 2]) };
    let [source, destination] = [26, 30].map(|at| {
        // SAFETY: as above.
        u32::from_be_bytes(unsafe { *((start + at) as *const [u8; 4]) })
    });
    let of_stream = |address: u32| address & CLIENTS_MASK == CLIENTS;
    if ethertype != [8, 0] || !(of_stream(source) || of_stream(destination)) {
        return xdp_action::XDP_PASS;
    }
    let Some(arrived) = ARRIVED.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the entry is this processor's.
    let arrived = unsafe { &mut *arrived };
    let address = if arrived.address_at == 26 {
        source
    } else {
        destination
    };
    if (address ^ arrived.address) & arrived.mask == 0 {
        arrived.right += 1;
    } else {
        arrived.wrong += 1;
    }
    xdp_action::XDP_DROP
}

/// Writes the headers with the next client's address and both checksums; whether the frame is that long.
#[inline(always)]
fn write(context: &XdpContext, stream: &mut Stream) -> bool {
    let (start, end) = (context.data(), context.data_end());
    if start + SHORT > end {
        return false;
    }
    let words: &[[u8; 8]; SHORT / 8] = bytemuck::cast_ref(&stream.headers);
    for (index, word) in words.iter().enumerate() {
        // SAFETY: checked against `data_end` above; any bytes will do.
        unsafe { ((start + index * 8) as *mut [u8; 8]).write(*word) };
    }
    // An odd multiplier visits every client once before any twice, in no order that a cache likes.
    let client = CLIENTS | (stream.counter.wrapping_mul(0x9e37_79b1) & stream.client_mask);
    stream.counter = stream.counter.wrapping_add(1);
    let client_at = if stream.client_at == 26 { 26 } else { 30 };
    let sum = (client >> 16) + (client & 0xffff);
    // SAFETY: as above.
    unsafe {
        ((start + client_at) as *mut [u8; 4]).write(client.to_be_bytes());
        ((start + 24) as *mut [u8; 2]).write(checksum(stream.ip_sum + sum));
        ((start + 50) as *mut [u8; 2]).write(checksum(stream.segment_sum + sum));
    }
    true
}

/// RFC 1071, of a sum of at most 65,536 words.
#[inline(always)]
fn checksum(sum: u32) -> [u8; 2] {
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    let [_, _, high, low] = (!twice).to_be_bytes();
    [high, low]
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
