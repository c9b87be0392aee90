//! The data path's side of a capture: what it looks for, and the ring that it writes to.
//!
//! **Architecture invariant:** nothing of this is pinned. When the agent ends, however that comes about, the kernel empties the
//! map of capturing programs, and the data path goes on without.

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::Xdp,
};
use bytemuck::TransparentWrapper as _;
use redirector_common::abi::{
    CAPTURE_BEGIN, CAPTURE_END, CAPTURE_PLAIN6, CAPTURE_PROGRAMS, CaptureCounts, CaptureFilter,
    CaptureRecord, map,
};

use super::{
    load::{LoadError, classify, program},
    maps::{MapsError, failed, take},
    plain::Plain,
};

/// The programs, and where each belongs.
const PROGRAMS: [(&str, u32); CAPTURE_PROGRAMS] = [
    ("capture", CAPTURE_BEGIN),
    ("capture6", CAPTURE_PLAIN6),
    ("report", CAPTURE_END),
];

/// The maps of a capture.
pub struct Capture {
    capturing: Array<MapData, u32>,
    filter: Array<MapData, Plain<CaptureFilter>>,
    counts: PerCpuArray<MapData, Plain<CaptureCounts>>,
    ring: RingBuf<MapData>,
    _programs: ProgramArray<MapData>,
    /// Counts the captures.
    session: u32,
    /// What had been counted before this one.
    before: Counts,
}

/// What the data path has made of packets that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that matched.
    pub matched: u64,
    /// Of those that were to be recorded, the ones that there was no room for.
    pub lost: u64,
}

impl Capture {
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut programs: ProgramArray<MapData> = take(ebpf, map::CAPTURE_STAGES)?;
        for (name, index) in PROGRAMS {
            let program: &mut Xdp = program(ebpf, name)?;
            program.load().map_err(classify)?;
            let descriptor = program.fd().map_err(classify)?;
            programs.set(index, descriptor, 0).map_err(classify)?;
        }
        Ok(Self {
            capturing: take(ebpf, map::CAPTURING)?,
            filter: take(ebpf, map::CAPTURE_FILTER)?,
            counts: take(ebpf, map::CAPTURE_COUNTS)?,
            ring: take(ebpf, map::CAPTURE_RING)?,
            _programs: programs,
            session: 0,
            before: Counts::default(),
        })
    }

    /// Begins.
    ///
    /// # Errors
    ///
    /// A map can't be written; nothing has begun then.
    pub fn begin(&mut self, filter: &CaptureFilter) -> Result<(), MapsError> {
        self.look_for(filter)?;
        self.before = self.total()?;
        // What an earlier one has left.
        while self.ring.next().is_some() {}
        self.session = self.session.wrapping_add(1).max(1);
        self.capturing
            .set(0, self.session, 0)
            .map_err(failed("write", map::CAPTURING))
    }

    /// Looks for something else from now on.
    ///
    /// # Errors
    ///
    /// The map can't be written.
    pub fn look_for(&mut self, filter: &CaptureFilter) -> Result<(), MapsError> {
        self.filter
            .set(0, Plain::wrap_ref(filter), 0)
            .map_err(failed("write", map::CAPTURE_FILTER))
    }

    /// Ends; what is in the ring stays there.
    ///
    /// # Errors
    ///
    /// The map can't be written.
    pub fn end(&mut self) -> Result<(), MapsError> {
        self.capturing
            .set(0, 0, 0)
            .map_err(failed("write", map::CAPTURING))
    }

    /// The next record of this capture, if there is one.
    pub fn take(&mut self) -> Option<CaptureRecord> {
        loop {
            let item = self.ring.next()?;
            let record: Result<CaptureRecord, _> = bytemuck::try_pod_read_unaligned(&item);
            if let Ok(record) = record
                && record.session == self.session
            {
                return Some(record);
            }
        }
    }

    /// What was counted since this capture began.
    ///
    /// # Errors
    ///
    /// The map can't be read.
    pub fn counts(&self) -> Result<Counts, MapsError> {
        let total = self.total()?;
        Ok(Counts {
            matched: total.matched - self.before.matched,
            lost: total.lost - self.before.lost,
        })
    }

    fn total(&self) -> Result<Counts, MapsError> {
        let per_cpu = self.counts.get(&0, 0);
        let per_cpu = per_cpu.map_err(failed("read", map::CAPTURE_COUNTS))?;
        let mut total = Counts::default();
        for Plain(cpu) in per_cpu.iter() {
            total.matched += cpu.matched;
            total.lost += cpu.lost;
        }
        Ok(total)
    }
}
