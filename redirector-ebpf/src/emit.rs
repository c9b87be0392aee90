//! Outcome → XDP action.
#![expect(unsafe_code, reason = "a helper takes the map by a raw pointer")]

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect_map, programs::XdpContext};
use aya_log_ebpf::warn;
use redirector_common::{
    Outcome,
    verdict::{Action, Verdict},
};

use crate::maps::{self, TX_PORTS};

/// Gives the kernel its answer. A frame that leaves by the interface it came in by is turned around
/// there, which is cheaper than the device map.
#[inline(always)]
pub(crate) fn emit(context: &XdpContext, outcome: Outcome) -> u32 {
    match outcome.verdict.action() {
        Action::Transmit if outcome.ifindex as usize == context.ingress_ifindex() => {
            xdp_action::XDP_TX
        }
        Action::Transmit => redirect(outcome.ifindex),
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => {
            log_drop(context, outcome.verdict);
            xdp_action::XDP_DROP
        }
    }
}

/// Where the interface is not in the map the frame is dropped: it has been rewritten already, and the
/// kernel must not see half of a translation.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the helper gives one of the XDP actions"
)]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper call with a valid map; the low bits of the flags are the action on a miss.
    unsafe {
        bpf_redirect_map(
            core::ptr::from_ref(&TX_PORTS).cast_mut().cast(),
            u64::from(ifindex),
            u64::from(xdp_action::XDP_DROP),
        ) as u32
    }
}

/// One line per drop, as long as the agent's budget for this second lasts.
#[inline(never)]
fn log_drop(context: &XdpContext, verdict: Verdict) {
    if maps::may_log() {
        warn!(context, "dropped: {}", verdict.name());
    }
}
