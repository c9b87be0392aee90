//! Outcome → XDP action.
#![expect(unsafe_code, reason = "helpers take maps by raw pointers")]

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect_map, programs::XdpContext};
use aya_log_ebpf::warn;
use redirector_common::{
    Outcome, Stage, Step,
    verdict::{Action, Verdict},
};

use crate::{
    capture,
    maps::{self, KernelTables, STAGES, TX_PORTS},
};

/// Counts a decision and gives the kernel its answer, or goes on in another program. A `FAST` one is never run for a packet that
/// is captured.
#[inline(always)]
pub(crate) fn go<const FAST: bool>(
    context: &XdpContext,
    tables: &KernelTables<'_>,
    step: Step,
) -> u32 {
    match step {
        Step::Done(outcome) => done::<FAST>(context, tables, outcome),
        // One call for each, with a constant index: only such a one becomes a direct jump.
        Step::Go(Stage::Ipv4) => jump::<FAST>(context, tables, Stage::Ipv4),
        Step::Go(Stage::Ipv6) => jump::<FAST>(context, tables, Stage::Ipv6),
        Step::Go(Stage::Plain6) => jump::<FAST>(context, tables, Stage::Plain6),
        Step::Go(Stage::Tcp4) => jump::<FAST>(context, tables, Stage::Tcp4),
        Step::Go(Stage::Tcp6) => jump::<FAST>(context, tables, Stage::Tcp6),
        Step::Go(Stage::Udp4) => jump::<FAST>(context, tables, Stage::Udp4),
        Step::Go(Stage::Udp6) => jump::<FAST>(context, tables, Stage::Udp6),
        Step::Go(Stage::Icmp4) => jump::<FAST>(context, tables, Stage::Icmp4),
        Step::Go(Stage::Icmp6) => jump::<FAST>(context, tables, Stage::Icmp6),
        Step::Go(Stage::Negotiate4) => jump::<FAST>(context, tables, Stage::Negotiate4),
        Step::Go(Stage::Negotiate6) => jump::<FAST>(context, tables, Stage::Negotiate6),
        Step::Go(Stage::Complete) => jump::<FAST>(context, tables, Stage::Complete),
        Step::Go(Stage::TooBig4) => jump::<FAST>(context, tables, Stage::TooBig4),
        Step::Go(Stage::TooBig6) => jump::<FAST>(context, tables, Stage::TooBig6),
        Step::Go(Stage::Refuse4) => jump::<FAST>(context, tables, Stage::Refuse4),
        Step::Go(Stage::Refuse6) => jump::<FAST>(context, tables, Stage::Refuse6),
    }
}

/// Goes on in the program of `stage`. When it is not there, the frame is dropped.
#[inline(always)]
fn jump<const FAST: bool>(context: &XdpContext, tables: &KernelTables<'_>, stage: Stage) -> u32 {
    // SAFETY: no references into the frame are held, and nothing has to be dropped.
    unsafe { STAGES.tail_call(context, stage.index()) };
    done::<FAST>(context, tables, Verdict::DropNoStage.into())
}

/// Like [`go`], for a decision that an earlier program has left.
#[inline(always)]
pub(crate) fn finish(context: &XdpContext, tables: &KernelTables<'_>, step: Step) -> u32 {
    match step {
        Step::Done(outcome) => {
            maps::count_told_verdict(outcome.verdict);
            capture::leave(context, maps::left_backend, outcome);
            answer(context, outcome)
        }
        Step::Go(_) => go::<false>(context, tables, step),
    }
}

#[inline(always)]
fn done<const FAST: bool>(
    context: &XdpContext,
    tables: &KernelTables<'_>,
    outcome: Outcome,
) -> u32 {
    // How nearly every packet ends; where that is certain, the optimiser comes straight here.
    if FAST && outcome.verdict == Verdict::ForwardSettled {
        maps::count_verdict(Verdict::ForwardSettled);
        return transmit(context, outcome.ifindex);
    }
    if FAST && outcome.verdict == Verdict::Reply {
        maps::count_verdict(Verdict::Reply);
        return transmit(context, outcome.ifindex);
    }
    maps::count_verdict(outcome.verdict);
    if !FAST {
        capture::leave(context, || tables.last_backend(), outcome);
    }
    answer(context, outcome)
}

/// Gives the kernel its answer.
#[inline(always)]
pub(crate) fn answer(context: &XdpContext, outcome: Outcome) -> u32 {
    match outcome.verdict.action() {
        Action::Transmit => transmit(context, outcome.ifindex),
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => {
            log_drop(context, outcome.verdict);
            xdp_action::XDP_DROP
        }
    }
}

/// A frame that leaves by the interface it came in by is turned around there, which is cheaper than the device map.
#[inline(always)]
fn transmit(context: &XdpContext, ifindex: u32) -> u32 {
    if ifindex as usize == context.ingress_ifindex() {
        xdp_action::XDP_TX
    } else {
        redirect(ifindex)
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
