//! Packets before and after, for whoever captures them.
//!
//! While nobody does, interfaces run `redirector`, which knows nothing of this, and there is one load and one test where one of
//! the later stages ends, which most packets don't see. While somebody does, they run `watched`, which goes on in `capture`, which keeps the packet's
//! front and decides in its place (`capture6` in place of `plain6`), and each program ends in `report`, which makes the
//! record. The map of the three is held by the agent alone: when that is gone, the kernel has emptied it, the call comes
//! back, and capturing is over.
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths within a frame, indices of interfaces and of verdicts"
)]

use core::cell::UnsafeCell;

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray, ProgramArray, RingBuf},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
    programs::XdpContext,
};
use redirector_common::{
    Frame as _, Outcome,
    abi::{
        CAPTURE_BEGIN, CAPTURE_BURST, CAPTURE_END, CAPTURE_PLAIN6, CAPTURE_PROGRAMS,
        CAPTURE_RING_BYTES, CAPTURE_SNAP, CaptureCounts, CaptureFilter, CaptureRecord,
    },
    capture::Front,
    verdict::{Action, Verdict},
};

use crate::{maps, packet::PacketFrame};

/// `BPF_RB_NO_WAKEUP`: the agent looks by itself.
const NO_WAKEUP: u64 = 1;

/// The number of the capture that runs; 0 while none does. Beside the code, where it is one load away.
#[unsafe(no_mangle)]
static CAPTURING: Session = Session(UnsafeCell::new(0));

#[repr(transparent)]
struct Session(UnsafeCell<u32>);

// SAFETY: it is read and written whole, and every packet may see the old or the new value.
unsafe impl Sync for Session {}

#[btf_map]
static CAPTURE_FILTER: Array<CaptureFilter, 1> = Array::new();

#[btf_map]
static CAPTURE_RING: RingBuf<CaptureRecord, CAPTURE_RING_BYTES> = RingBuf::new();

#[btf_map]
static CAPTURE_COUNTS: PerCpuArray<CaptureCounts, 1> = PerCpuArray::new();

#[btf_map]
static CAPTURE_STAGES: ProgramArray<CAPTURE_PROGRAMS> = ProgramArray::new();

/// The record of the packet at hand.
#[btf_map]
static CAPTURE_RECORD: PerCpuArray<CaptureRecord, 1> = PerCpuArray::new();

#[inline(always)]
fn session() -> u32 {
    // SAFETY: the section is mapped as long as the program is loaded.
    unsafe { CAPTURING.0.get().read_volatile() }
}

/// Nobody captures any more.
#[inline(always)]
fn end() {
    // SAFETY: as above.
    unsafe { CAPTURING.0.get().write_volatile(0) };
}

/// Goes on in the program that keeps the packet's front, while somebody captures.
#[inline(always)]
pub(crate) fn enter(context: &XdpContext) {
    if session() != 0 {
        // SAFETY: no references into the frame are held, and nothing has to be dropped.
        unsafe { CAPTURE_STAGES.tail_call(context, CAPTURE_BEGIN) };
        end();
    }
}

/// Goes on in the program for plain TCP in IPv6.
#[inline(always)]
pub(crate) fn go_on(context: &XdpContext) {
    // SAFETY: no references into the frame are held, and nothing has to be dropped.
    unsafe { CAPTURE_STAGES.tail_call(context, CAPTURE_PLAIN6) };
    end();
}

/// Goes on in the program that makes the record, while somebody captures.
#[inline(always)]
pub(crate) fn leave(context: &XdpContext, backend: impl Fn() -> u16, outcome: Outcome) {
    if session() != 0 {
        if let Some(record) = CAPTURE_RECORD.get_ptr_mut(0) {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            let record = unsafe { &mut *record };
            record.verdict = outcome.verdict.index() as u8;
            record.egress = outcome.ifindex;
            record.backend = backend();
        }
        // SAFETY: no references into the frame are held, and nothing has to be dropped.
        unsafe { CAPTURE_STAGES.tail_call(context, CAPTURE_END) };
        end();
    }
}

/// Keeps the packet's front.
#[inline(always)]
pub(crate) fn keep(context: &XdpContext) {
    let frame = PacketFrame::<true>::new(context);
    let (Some(filter), Some(record)) = (CAPTURE_FILTER.get(0), CAPTURE_RECORD.get_ptr_mut(0))
    else {
        return;
    };
    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
    let record = unsafe { &mut *record };
    // SAFETY: the helper has no preconditions.
    record.time = unsafe { bpf_ktime_get_ns() };
    record.session = session();
    record.ingress = context.ingress_ifindex() as u32;
    record.before_length = frame.full_length() as u32;
    record.before_caught = copy(&frame, filter, &mut record.before);
}

/// Makes the record of a packet whose front was kept, if it is wanted. Gives what was decided.
#[inline(always)]
pub(crate) fn record(context: &XdpContext) -> Option<Outcome> {
    let record = CAPTURE_RECORD.get_ptr_mut(0)?;
    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
    let record = unsafe { &mut *record };
    let verdict = *Verdict::ALL.get(usize::from(record.verdict))?;
    let outcome = Outcome {
        verdict,
        ifindex: record.egress,
    };
    let began = core::mem::take(&mut record.session);
    // Of a packet that was there before the capture began, the front was not kept.
    if began != 0
        && began == session()
        && let Some(filter) = CAPTURE_FILTER.get(0)
        && filter.wants_outcome(verdict, record.backend)
    {
        fill(context, filter, record, verdict);
        if filter.family == 0
            || filter.wants_front(&record.before)
            || record.after_caught != 0 && filter.wants_front(&record.after)
        {
            record.session = began;
            send(filter, record);
            record.session = 0;
        }
    }
    Some(outcome)
}

/// Adds what became of the packet.
#[inline(always)]
fn fill(
    context: &XdpContext,
    filter: &CaptureFilter,
    record: &mut CaptureRecord,
    verdict: Verdict,
) {
    if verdict.action() == Action::Transmit {
        let frame = PacketFrame::<true>::new(context);
        record.after_length = frame.full_length() as u32;
        record.after_caught = copy(&frame, filter, &mut record.after);
    } else {
        record.egress = 0;
        record.after_length = 0;
        record.after_caught = 0;
    }
}

/// One in so many, as long as there is room for it and this CPU has not made too many in this second.
#[inline(always)]
fn send(filter: &CaptureFilter, record: &CaptureRecord) {
    let Some(counts) = CAPTURE_COUNTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
    let counts = unsafe { &mut *counts };
    let earlier = counts.matched;
    counts.matched += 1;
    if !earlier.is_multiple_of(u64::from(filter.sample.max(1))) {
        return;
    }
    let epoch = maps::epoch();
    if counts.epoch != epoch {
        counts.epoch = epoch;
        counts.used = 0;
    }
    if counts.used >= CAPTURE_BURST || CAPTURE_RING.output(record, NO_WAKEUP).is_err() {
        counts.lost += 1;
    } else {
        counts.used += 1;
    }
}

/// Copies the frame's front, whole words of it; says how many bytes are wanted of it.
#[inline(always)]
fn copy(frame: &PacketFrame<'_, true>, filter: &CaptureFilter, front: &mut Front) -> u16 {
    for (index, word) in front.iter_mut().enumerate() {
        let at = index * 8;
        if at >= filter.snap as usize {
            break;
        }
        if let Some(bytes) = frame.header::<[u8; 8]>(at) {
            *word = *bytes;
        } else {
            *word = last(frame, at);
            break;
        }
    }
    frame.length().min(filter.snap as usize).min(CAPTURE_SNAP) as u16
}

/// The frame's last bytes, less than a word.
#[inline(always)]
fn last(frame: &PacketFrame<'_, true>, at: usize) -> [u8; 8] {
    let (mut word, mut used) = (0, 0);
    if let Some(bytes) = frame.header::<[u8; 4]>(at) {
        word = u64::from(u32::from_le_bytes(*bytes));
        used = 4;
    }
    if let Some(bytes) = frame.header::<[u8; 2]>(at + used) {
        word |= u64::from(u16::from_le_bytes(*bytes)) << (8 * used);
        used += 2;
    }
    if let Some([byte]) = frame.header::<[u8; 1]>(at + used) {
        word |= u64::from(*byte) << (8 * used);
    }
    word.to_le_bytes()
}
