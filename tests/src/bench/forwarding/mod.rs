//! Whole ways over a relay, everything that a packet costs on them in one soft interrupt of one processor.
//!
//! A generator puts a batch of frames into a veth; before it has the processor back the relay has forwarded them and
//! a program at the far end has counted and discarded them. Nothing is lost, nothing waits, so time per packet is
//! the cost of generating, two veths, the relay and counting, which are the same for all but for the relay.
//! Where an XDP program hands a frame over to the kernel's stack, making a socket buffer of it is part of the cost, as
//! it is on a NIC.
//!
//! | file | holds |
//! |---|---|
//! | `cases.rs` | the kinds of traffic |
//! | `rig.rs` | the relays |
//! | `traffic.rs` | sending and counting |
//! | `conntrack.rs` | forgetting tracked connections |
//! | `section.rs` | tables and plot |

mod cases;
mod conntrack;
pub(crate) mod rig;
mod section;
pub(crate) mod traffic;

use std::path::Path;

use anyhow::{Context as _, ensure};
use redirector_common::bench::Stream;
use serde::{Deserialize, Serialize};

pub use self::cases::{ANSWERS, Case, Direction, Flows, MANY, NEW, ONE};
pub use self::rig::Variant;
use self::{
    rig::Rig,
    traffic::{ATTEMPTS, Traffic},
};
use super::rounds::Spread;

/// What a variant took for a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The traffic.
    pub case: Case,
    /// Who forwarded it.
    pub variant: Variant,
    /// Nanoseconds per packet, one value of each round.
    pub nanos: Vec<f64>,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row for each variant and case.
    pub rows: Vec<Row>,
    /// Variants that could not be measured, and why.
    pub missing: Vec<(Variant, String)>,
    /// Rounds.
    pub rounds: usize,
    /// Packets in each run.
    pub packets: u32,
}

impl Report {
    /// Nanoseconds per packet of each round.
    pub fn nanos(&self, case: Case, variant: Variant) -> Option<&[f64]> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.case == case && row.variant == variant)?;
        Some(&row.nanos)
    }

    /// How many packets of the one go by while one of the other does.
    pub fn speed(&self, case: Case, of: Variant, against: Variant) -> Option<Spread> {
        Some(Spread::of_ratios(
            self.nanos(case, against)?,
            self.nanos(case, of)?,
        ))
    }

    /// The cases, in the order of measurement.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for row in &self.rows {
            if !cases.contains(&row.case) {
                cases.push(row.case);
            }
        }
        cases
    }
}

/// Packets of the proof that mistakes are seen.
const CONTROL: u32 = 4096;
/// As many flows as [`Flows::Many`] has.
const MANY_FLOWS: u32 = 1 << 16;

/// Measures all variants in turn, `rounds` times, with `packets` packets in each run.
///
/// # Errors
///
/// The programs can't be loaded or a relay can't be made; or one of the product's or the limits loses packets or
/// treats them wrong. A rival that can't be had, or doesn't do what it should, is listed as missing.
pub fn measure(object: &Path, rounds: usize, packets: u32, quick: bool) -> anyhow::Result<Report> {
    let mut traffic = Traffic::load(object)?;
    let cases = cases::all(quick);
    let mut missing = Vec::new();
    let mut rigs = Vec::new();
    for variant in Variant::ALL {
        match Rig::new(variant, &mut traffic) {
            Ok(rig) => rigs.push(rig),
            Err(error) if variant.is_ours() || variant.limit() == variant => {
                return Err(error.context(format!("cannot bring up {}", variant.name())));
            }
            Err(error) => missing.push((variant, format!("{error:#}"))),
        }
    }
    for rig in rigs.iter().filter(|rig| rig.variant == Variant::Redirect) {
        prove_that_mistakes_are_seen(&mut traffic, rig)?;
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut streams: Vec<(Variant, Case, Vec<u8>, Stream)> = Vec::new();
    for rig in &rigs {
        for case in &cases {
            let (frame, mut stream) = case.packets(rig.variant.destination());
            stream.device = rig.devices[usize::from(case.direction == Direction::Reply)];
            streams.push((rig.variant, *case, frame, stream));
            rows.push(Row {
                case: *case,
                variant: rig.variant,
                nanos: Vec::new(),
            });
        }
    }
    // The first round warms up and is thrown away.
    for round in 0..=rounds {
        for rig in rigs.iter().filter(|rig| rig.variant.tracks()) {
            conntrack::flush(&rig.relay)?;
        }
        let mut fails: Vec<(Variant, String)> = Vec::new();
        for case in &cases {
            for rig in &rigs {
                let own = |variant: &Variant, of: &Case| *variant == rig.variant && of == case;
                let mut prepared = streams.iter_mut();
                let (.., frame, stream) = prepared
                    .find(|(variant, of, ..)| own(variant, of))
                    .context("a case without a stream")?;
                match one_run(&mut traffic, rig, *case, frame, stream, packets) {
                    Ok(nanos) if round > 0 => {
                        let mut rows = rows.iter_mut();
                        let row = rows.find(|row| own(&row.variant, &row.case));
                        row.context("a case without a row")?.nanos.push(nanos);
                    }
                    Ok(_) => {}
                    Err(error) if rig.variant.is_ours() || rig.variant.limit() == rig.variant => {
                        return Err(error);
                    }
                    Err(error) => fails.push((rig.variant, format!("{error:#}"))),
                }
            }
        }
        for (variant, error) in fails {
            rigs.retain(|rig| rig.variant != variant);
            rows.retain(|row| row.variant != variant);
            if !missing.iter().any(|(known, _)| *known == variant) {
                missing.push((variant, error));
            }
        }
    }
    Ok(Report {
        rows,
        missing,
        rounds,
        packets,
    })
}

/// Were the bare relay taken for one that translates, each of its packets would have to be found wrong.
fn prove_that_mistakes_are_seen(traffic: &mut Traffic, bare: &Rig) -> anyhow::Result<()> {
    let to = bare.variant.destination();
    for case in [MANY, ANSWERS] {
        let (frame, mut stream) = case.packets(to);
        stream.device = bare.devices[usize::from(case.direction == Direction::Reply)];
        let sent = traffic.send(&mut stream, &frame, CONTROL, case.expected(to, true))?;
        ensure!(
            sent.right == 0 && sent.wrong >= u64::from(CONTROL),
            "{}: of {CONTROL} packets that nobody has translated {} were taken for right and {} for wrong",
            case.name(),
            sent.right,
            sent.wrong
        );
    }
    Ok(())
}

fn one_run(
    traffic: &mut Traffic,
    rig: &Rig,
    case: Case,
    frame: &[u8],
    stream: &mut Stream,
    packets: u32,
) -> anyhow::Result<f64> {
    let to = rig.variant.destination();
    let expected = case.expected(to, rig.variant.translates());
    if case.flows != Flows::New {
        stream.counter = 0;
    }
    if rig.variant.tracks() && case.flows != Flows::New {
        // Answers belong to connections that clients have opened.
        let opening = Case {
            direction: Direction::Forward,
            length: MANY.length,
            ..case
        };
        let (frame, mut stream) = opening.packets(to);
        stream.device = rig.devices[0];
        let expected = opening.expected(to, true);
        traffic.send(&mut stream, &frame, MANY_FLOWS, expected)?;
    }
    let mut lost = String::new();
    for _ in 0..ATTEMPTS {
        let sent = traffic.send(stream, frame, packets, expected)?;
        if sent.is_whole(packets) {
            return Ok(sent.nanos);
        }
        lost = format!(
            "{}, {}: of {packets} packets {} came out right and {} wrong",
            rig.variant.name(),
            case.name(),
            sent.right,
            sent.wrong
        );
        if rig.variant.tracks() && case.flows == Flows::New {
            conntrack::flush(&rig.relay)?;
        }
    }
    let most = rig::tracked_at_most().map_or(String::new(), |most| {
        format!(" (the kernel tracks {most} connections at most)")
    });
    anyhow::bail!(
        "{lost}{}",
        if rig.variant.tracks() {
            most
        } else {
            String::new()
        }
    )
}
