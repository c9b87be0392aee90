//! Programs that measure the redirector through `BPF_PROG_TEST_RUN`, which does not restore a packet
//! between repeats. `restore` does: it writes the headers anew, with the next client's address, and
//! tail-calls the program to be measured, or `floor` for a control run to be subtracted.
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
    btf_maps::{Array, ProgramArray},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use redirector_common::bench::{HEADERS, SHORT, Template};

#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();

#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// The least that a program which answers with `XDP_TX` can do.
#[xdp(frags)]
fn floor(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Restores the headers, then runs the program in `TARGET`.
#[xdp(frags)]
fn restore(context: XdpContext) -> u32 {
    let Some(template) = TEMPLATE.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: only one test runs at a time.
    let template = unsafe { &mut *template };
    let written = if template.length as usize == SHORT {
        write::<SHORT>(&context, template)
    } else {
        write::<HEADERS>(&context, template)
    };
    if !written {
        return xdp_action::XDP_ABORTED;
    }
    // By the time a NIC's packet is looked at it has long been written; here the processor would have to
    // forward it from its store buffer, piecemeal. Reading the clock gives it time.
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() };
    // SAFETY: the map holds programs of this type; on success the call does not come back.
    unsafe { TARGET.tail_call(&context, 0) };
    xdp_action::XDP_ABORTED
}

/// Writes the first `N` bytes of the frame, with the next client's address; whether it is that long.
#[inline(always)]
fn write<const N: usize>(context: &XdpContext, template: &mut Template) -> bool {
    let (start, end) = (context.data(), context.data_end());
    if start + N > end {
        return false;
    }
    let words: &[[u8; 8]; HEADERS / 8] = bytemuck::cast_ref(&template.headers);
    for (index, word) in words.iter().take(N / 8).enumerate() {
        // SAFETY: checked against `data_end` above; any bytes will do.
        unsafe { ((start + index * 8) as *mut [u8; 8]).write(*word) };
    }
    // An odd multiplier visits every client once before any twice, in no order that a cache likes.
    let client = template.counter.wrapping_mul(0x9e37_79b1) & template.client_mask;
    template.counter = template.counter.wrapping_add(1);
    // The two places where it stands in IPv4, and in IPv6.
    for at in [26, 30, 34, 50] {
        if template.client_at as usize == at && at + 4 <= N {
            // SAFETY: checked against `data_end` above; any bytes will do.
            let address = unsafe { &mut *((start + at) as *mut [u8; 4]) };
            let [a, b, c, d] = [0, 1, 2, 3].map(|byte| template.headers[at + byte]);
            *address = (u32::from_be_bytes([a, b, c, d]) ^ client).to_be_bytes();
        }
    }
    true
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
