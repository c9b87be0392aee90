//! What the program tells of single packets to whoever captures them. Nothing of it outlives the agent.

use bytemuck::{Pod, Zeroable};

use super::MAX_BACKENDS;

/// Bytes of a packet's front that a record has room for: all headers, of both families, with two tags and all options.
pub const CAPTURE_SNAP: usize = 256;

/// Records that one CPU may make within one [`super::Globals::epoch`]; what is more is counted as lost.
pub const CAPTURE_BURST: u32 = 4096;

/// Bytes of the ring of records: room for those that the agent does not come to for a moment.
pub const CAPTURE_RING_BYTES: usize = 512 << 10;

/// Index in the map of capturing programs: keeps the packet's front, then decides like the first program.
pub const CAPTURE_BEGIN: u32 = 0;
/// Index in the map of capturing programs: makes the record, then gives the kernel its answer.
pub const CAPTURE_END: u32 = 1;

/// Index in the map of capturing programs: decides like [`crate::Stage::Plain6`].
pub const CAPTURE_PLAIN6: u32 = 2;
/// Capturing programs.
pub const CAPTURE_PROGRAMS: usize = 3;

/// Which packets are wanted.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct CaptureFilter {
    /// The client's network; IPv4 in the first four bytes, the rest zero.
    pub client: [u8; 16],
    /// The bits of it that matter.
    pub mask: [u8; 16],
    /// A set bit for each [`crate::verdict::Verdict::index`] that is wanted.
    pub verdicts: u64,
    /// A set bit for each backend that is wanted, where not every packet is.
    pub backends: [u64; MAX_BACKENDS as usize / 64],
    /// The family of `client`, 4 or 6; 0 where every packet is wanted.
    pub family: u32,
    /// 1 where only packets of `backends` are wanted.
    pub by_backend: u32,
    /// Of so many packets that match, one is recorded.
    pub sample: u32,
    /// Bytes of each packet that are recorded, [`CAPTURE_SNAP`] at most.
    pub snap: u32,
}

/// A packet before and after.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct CaptureRecord {
    /// When it came in: nanoseconds of the kernel's monotonic clock.
    pub time: u64,
    /// Which capture it is for; 0 where nothing is recorded.
    pub session: u32,
    /// The interface it came in by.
    pub ingress: u32,
    /// The interface it was sent by; 0 where it was not.
    pub egress: u32,
    /// Its length, bytes from the Ethernet header on.
    pub before_length: u32,
    /// Its length when it was sent; 0 where it was not.
    pub after_length: u32,
    /// The backend it was for or from; 0 where there is none.
    pub backend: u16,
    /// Bytes of `before` that are the packet's.
    pub before_caught: u16,
    /// Bytes of `after` that are the packet's.
    pub after_caught: u16,
    /// [`crate::verdict::Verdict::index`].
    pub verdict: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Its front as it came in.
    pub before: [[u8; 8]; CAPTURE_SNAP / 8],
    /// Its front as it was sent.
    pub after: [[u8; 8]; CAPTURE_SNAP / 8],
}

/// What one CPU has made of packets while somebody captured.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CaptureCounts {
    /// Packets that matched.
    pub matched: u64,
    /// Records that were lost: no room, or more than [`CAPTURE_BURST`].
    pub lost: u64,
    /// [`super::Globals::epoch`] that `used` is about.
    pub epoch: u32,
    /// Records made within it.
    pub used: u32,
}

const _: () = {
    assert!(size_of::<CaptureFilter>() == 568);
    assert!(size_of::<CaptureRecord>() == 40 + 2 * CAPTURE_SNAP);
    assert!(size_of::<CaptureCounts>() == 24);
    assert!(crate::verdict::EVENT_BASE <= 64);
    assert!(CAPTURE_RING_BYTES.is_power_of_two());
};
