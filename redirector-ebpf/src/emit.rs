//! Outcome → the kernel's action.

use aya_log_ebpf::warn;
use redirector_common::{
    Outcome, Stage, Step,
    verdict::{Action, Verdict},
};

use crate::{
    context::Context,
    maps::{self, KernelTables},
};

/// Counts a decision and gives the kernel its answer, or goes on in another program. A `FAST` one is never run for a packet that
/// is captured.
#[inline(always)]
pub(crate) fn go<const FAST: bool, C: Context>(
    context: &C,
    tables: &KernelTables<'_, C>,
    step: Step,
) -> u32 {
    context.reach_further(step);
    match step {
        Step::Done(outcome) => done::<FAST, C>(context, tables, outcome),
        // One call for each, with a constant index: only such a one becomes a direct jump.
        Step::Go(Stage::Ipv4) => jump::<FAST, C>(context, tables, Stage::Ipv4),
        Step::Go(Stage::Ipv6) => jump::<FAST, C>(context, tables, Stage::Ipv6),
        Step::Go(Stage::Plain6) => jump::<FAST, C>(context, tables, Stage::Plain6),
        Step::Go(Stage::Tcp4) => jump::<FAST, C>(context, tables, Stage::Tcp4),
        Step::Go(Stage::Tcp6) => jump::<FAST, C>(context, tables, Stage::Tcp6),
        Step::Go(Stage::Udp4) => jump::<FAST, C>(context, tables, Stage::Udp4),
        Step::Go(Stage::Udp6) => jump::<FAST, C>(context, tables, Stage::Udp6),
        Step::Go(Stage::Icmp4) => jump::<FAST, C>(context, tables, Stage::Icmp4),
        Step::Go(Stage::Icmp6) => jump::<FAST, C>(context, tables, Stage::Icmp6),
        Step::Go(Stage::Negotiate4) => jump::<FAST, C>(context, tables, Stage::Negotiate4),
        Step::Go(Stage::Negotiate6) => jump::<FAST, C>(context, tables, Stage::Negotiate6),
        Step::Go(Stage::Complete) => jump::<FAST, C>(context, tables, Stage::Complete),
        Step::Go(Stage::TooBig4) => jump::<FAST, C>(context, tables, Stage::TooBig4),
        Step::Go(Stage::TooBig6) => jump::<FAST, C>(context, tables, Stage::TooBig6),
        Step::Go(Stage::Refuse4) => jump::<FAST, C>(context, tables, Stage::Refuse4),
        Step::Go(Stage::Refuse6) => jump::<FAST, C>(context, tables, Stage::Refuse6),
    }
}

/// Goes on in the program of `stage`. When it is not there, the frame is dropped.
#[inline(always)]
fn jump<const FAST: bool, C: Context>(
    context: &C,
    tables: &KernelTables<'_, C>,
    stage: Stage,
) -> u32 {
    context.jump(stage);
    done::<FAST, C>(context, tables, Verdict::DropNoStage.into())
}

/// Like [`go`], for a decision that an earlier program has left.
#[inline(always)]
pub(crate) fn finish<C: Context>(context: &C, tables: &KernelTables<'_, C>, step: Step) -> u32 {
    match step {
        Step::Done(outcome) => {
            maps::count_told_verdict(outcome.verdict);
            context.leave_to_capture(maps::left_backend, outcome);
            answer(context, outcome)
        }
        Step::Go(_) => go::<false, C>(context, tables, step),
    }
}

#[inline(always)]
fn done<const FAST: bool, C: Context>(
    context: &C,
    tables: &KernelTables<'_, C>,
    outcome: Outcome,
) -> u32 {
    // How nearly every packet ends; where that is certain, the optimiser comes straight here.
    if FAST && outcome.verdict == Verdict::ForwardSettled {
        maps::count_verdict(Verdict::ForwardSettled);
        return context.transmit(outcome.ifindex);
    }
    if FAST && outcome.verdict == Verdict::Reply {
        maps::count_verdict(Verdict::Reply);
        return context.transmit(outcome.ifindex);
    }
    maps::count_verdict(outcome.verdict);
    if !FAST {
        context.leave_to_capture(|| tables.last_backend(), outcome);
    }
    answer(context, outcome)
}

/// Gives the kernel its answer.
#[inline(always)]
pub(crate) fn answer<C: Context>(context: &C, outcome: Outcome) -> u32 {
    match outcome.verdict.action() {
        Action::Transmit => context.transmit(outcome.ifindex),
        Action::Pass => C::PASS,
        Action::Drop => {
            log_drop(context, outcome.verdict);
            C::DROP
        }
    }
}

/// One line per drop, as long as the agent's budget for this second lasts.
#[inline(never)]
fn log_drop<C: Context>(context: &C, verdict: Verdict) {
    if maps::may_log() {
        warn!(context, "dropped: {}", verdict.name());
    }
}
