//! The programs that send and count, and the maps by which they are told what.

use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues, xdp::DevMap},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use bytemuck::Zeroable as _;
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use redirector_common::bench::{Arrived, Stream};

use crate::lab::Netns;

type Streams = PerCpuArray<MapData, [u8; size_of::<Stream>()]>;
type Arrivals = PerCpuArray<MapData, [u8; size_of::<Arrived>()]>;

/// Frames that the kernel makes at a time. They must all fit into the ring of a veth, which has 256 places.
const BATCH: u32 = 64;

/// What must have become of a packet at the end of the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// Offset of the address that was to be changed.
    pub(crate) address_at: u32,
    /// The address afterwards, as far as the mask goes.
    pub(crate) address: u32,
    /// Bits that matter.
    pub(crate) mask: u32,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Nanoseconds per packet for the whole way, in whole nanoseconds.
    pub(crate) nanos: f64,
    /// Packets that were made.
    pub(crate) made: u64,
    /// Packets that came out as expected.
    pub(crate) right: u64,
    /// Packets that came out otherwise.
    pub(crate) wrong: u64,
}

impl Sent {
    /// Whether every packet came out as expected. The kernel makes whole batches, whatever is asked for.
    pub(crate) fn is_whole(&self, packets: u32) -> bool {
        self.right >= u64::from(packets) && self.wrong == 0
    }
}

/// How often a run that lost packets is repeated: somebody else's work on the processor can make a veth overflow.
pub(crate) const ATTEMPTS: usize = 5;

/// The loaded programs; what they are attached to is released when this is dropped.
pub(crate) struct Traffic {
    programs: Ebpf,
    devices: DevMap<MapData>,
    device_count: u32,
    other_side: DevMap<MapData>,
    streams: Streams,
    arrivals: Arrivals,
}

impl Traffic {
    /// Loads them.
    pub(crate) fn load(object: &Path) -> anyhow::Result<Self> {
        let mut programs =
            Ebpf::load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
        let (devices, other_side) = (
            take(&mut programs, "DEVICES")?,
            take(&mut programs, "OTHER_SIDE")?,
        );
        let (streams, arrivals) = (
            take(&mut programs, "STREAM")?,
            take(&mut programs, "ARRIVED")?,
        );
        let mut traffic = Self {
            programs,
            devices,
            device_count: 0,
            other_side,
            streams,
            arrivals,
        };
        for name in ["generate", "sink", "redirect", "bounce"] {
            traffic.program(name)?.load()?;
        }
        Ok(traffic)
    }

    fn program(&mut self, name: &str) -> anyhow::Result<&mut Xdp> {
        let program = self.programs.program_mut(name);
        let program = program.with_context(|| format!("the object lacks the program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Attaches a program in native mode.
    pub(crate) fn attach(
        &mut self,
        program: &str,
        netns: &Netns,
        interface: &str,
    ) -> anyhow::Result<()> {
        let loaded = self.program(program)?;
        netns
            .run(|| loaded.attach(interface, XdpMode::Driver))?
            .with_context(|| format!("cannot attach {program} to {interface}"))?;
        Ok(())
    }

    /// Lets packets be sent by this interface; gives the number for [`Stream::device`].
    pub(crate) fn add_device(&mut self, netns: &Netns, interface: &str) -> anyhow::Result<u32> {
        let (devices, number) = (&mut self.devices, self.device_count);
        netns.run(|| {
            let ifindex = if_nametoindex(interface)?;
            anyhow::Ok(devices.set(number, ifindex, None, 0)?)
        })??;
        self.device_count += 1;
        Ok(number)
    }

    /// Lets the bare relay send by each of two interfaces what comes in by the other.
    pub(crate) fn connect(&mut self, relay: &Netns, pair: [&str; 2]) -> anyhow::Result<()> {
        let other_side = &mut self.other_side;
        relay.run(|| {
            let (one, other) = (if_nametoindex(pair[0])?, if_nametoindex(pair[1])?);
            other_side.set(one, other, None, 0)?;
            anyhow::Ok(other_side.set(other, one, None, 0)?)
        })?
    }

    /// Sends packets of the stream in frames like this one, and counts what comes out. The stream's counter goes on.
    pub(crate) fn send(
        &mut self,
        stream: &mut Stream,
        frame: &[u8],
        packets: u32,
        expected: Expected,
    ) -> anyhow::Result<Sent> {
        let arrived = Arrived {
            right: 0,
            wrong: 0,
            address_at: expected.address_at,
            address: expected.address,
            mask: expected.mask,
            reserved: 0,
        };
        self.streams
            .set(0, same_on_all(bytemuck::cast(*stream))?, 0)?;
        self.arrivals
            .set(0, same_on_all(bytemuck::cast(arrived))?, 0)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let generate = self.program("generate")?;
        let result = on_processor(0, || generate.test_run(options))?
            .context("cannot send live frames; Linux 5.18 or later is needed")?;
        let mut sent = Sent {
            nanos: result.duration.as_nanos() as f64,
            made: 0,
            right: 0,
            wrong: 0,
        };
        for value in self.arrivals.get(&0, 0)?.iter() {
            let arrived: Arrived = bytemuck::pod_read_unaligned(value);
            sent.right += arrived.right;
            sent.wrong += arrived.wrong;
        }
        let made = self.streams.get(&0, 0)?;
        let made = made.iter().map(|value| {
            let now: Stream = bytemuck::pod_read_unaligned(value);
            now.counter.wrapping_sub(stream.counter)
        });
        let made: u32 = made.sum();
        ensure!(made >= packets, "{made} of {packets} packets were made");
        stream.counter = stream.counter.wrapping_add(made);
        sent.made = made.into();
        Ok(sent)
    }

    /// Sends until a run has lost nothing; gives its nanoseconds per packet.
    pub(crate) fn send_all(
        &mut self,
        stream: &mut Stream,
        frame: &[u8],
        packets: u32,
        expected: Expected,
    ) -> anyhow::Result<f64> {
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            let sent = self.send(stream, frame, packets, expected)?;
            if sent.is_whole(packets) {
                return Ok(sent.nanos);
            }
            lost = Some(sent);
        }
        anyhow::bail!("of {packets} packets not all came out right, {ATTEMPTS} times: {lost:?}")
    }

    /// Lets so many processors send at the same time; gives the packets per second that came out of them together.
    pub(crate) fn rate(
        &mut self,
        stream: &Stream,
        frame: &[u8],
        packets: u32,
        processors: usize,
    ) -> anyhow::Result<f64> {
        self.streams
            .set(0, same_on_all(bytemuck::cast(*stream))?, 0)?;
        let arrived = Arrived::zeroed();
        self.arrivals
            .set(0, same_on_all(bytemuck::cast(arrived))?, 0)?;
        let generate = &*self.program("generate")?;
        let runs = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..processors)
                .map(|number| {
                    scope.spawn(move || {
                        let options = TestRunOptions {
                            data_in: Some(frame),
                            repeat: packets,
                            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                            ..TestRunOptions::new()
                        };
                        let result = on_processor(number, || generate.test_run(options))??;
                        anyhow::Ok(result.duration.as_nanos() as f64)
                    })
                })
                .collect();
            let runs = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            runs.collect::<anyhow::Result<Vec<f64>>>()
        })?;
        let values = self.arrivals.get(&0, 0)?;
        let arrived = values.iter().map(|value| {
            let arrived: Arrived = bytemuck::pod_read_unaligned(value);
            (arrived.right + arrived.wrong) as f64
        });
        let share = arrived.sum::<f64>() / (f64::from(packets) * processors as f64);
        let made: f64 = runs.iter().map(|nanos| 1e9 / nanos).sum();
        Ok(made * share.min(1.0))
    }
}

/// Keeps the calling thread on a processor for the time of `work`; what it starts later goes where it likes.
fn on_processor<T>(number: usize, work: impl FnOnce() -> T) -> anyhow::Result<T> {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    one.set(number)?;
    sched_setaffinity(this, &one).with_context(|| format!("cannot stay on processor {number}"))?;
    let done = work();
    sched_setaffinity(this, &all)?;
    Ok(done)
}

fn same_on_all<T: aya::Pod>(value: T) -> anyhow::Result<PerCpuValues<T>> {
    let processors = aya::util::nr_cpus().map_err(|(what, error)| {
        anyhow::Error::new(error).context(format!("cannot count processors: {what}"))
    })?;
    Ok(PerCpuValues::try_from(vec![value; processors])?)
}

fn take<M: TryFrom<Map, Error = MapError>>(programs: &mut Ebpf, name: &str) -> anyhow::Result<M> {
    let map = programs.take_map(name);
    let map = map.with_context(|| format!("the object lacks the map {name}"))?;
    Ok(map.try_into()?)
}
