//! `mode`, `track` and `sticky` of a redirect.

use serde_spanned::Spanned;

use super::meaning::choice;
use super::model::{Delivery, Listen, Mode, Sticky, Track};
use super::problem::{Complaint, Findings};
use super::{values, words, written};
use crate::family::Family;

pub(super) struct Written {
    pub(super) mode: Option<Spanned<String>>,
    pub(super) track: Option<Spanned<String>>,
    pub(super) sticky: Option<written::Sticky>,
}

/// How connections are given to nodes.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) mode: Mode,
    pub(super) track: Track,
    pub(super) sticky: Sticky,
}

pub(super) fn selection(
    written: Written,
    delivery: Delivery,
    listen: &[Listen],
    findings: &mut Findings,
) -> Selection {
    let mode_at = written.mode.as_ref().map(Spanned::span);
    let mode = choice("mode", written.mode, &words::MODES, findings).unwrap_or_default();
    let track_at = written.track.as_ref().map(Spanned::span);
    let track = choice("track", written.track, &words::TRACKS, findings);
    if let (Some(Track::Auto), Some(at)) = (track, track_at)
        && mode != Mode::SourceHash
    {
        let complaint = Complaint::new(format!(
            "mode `{}` has every connection recorded, `track = \"auto\"` does not",
            mode.word()
        ));
        let help = "leave `track` out, or use mode = \"source-hash\", which finds connections by their clients";
        findings.add(at, complaint.help(help));
    }
    if let (Mode::RoundRobin | Mode::LeastStates, Delivery::Route, Some(at)) =
        (mode, delivery, mode_at)
    {
        let complaint = Complaint::new(format!(
            "mode `{}` does not go with `route-to`",
            mode.word()
        ));
        let help = "nodes that answer past the relay don't tell which of two got a SYN that came twice: use \
                    \"random\" or \"source-hash\"";
        findings.add(at, complaint.help(help));
    }
    let sticky = written.sticky.map(|written| {
        if mode != Mode::SourceHash {
            let complaint =
                Complaint::new(format!("`sticky` does not go with mode `{}`", mode.word()));
            let help =
                "mode = \"source-hash\" with `sticky` keeps the clients of a prefix together";
            findings.add(written.at.clone(), complaint.help(help));
        }
        sticky(written, listen, findings)
    });
    Selection {
        mode,
        track: track.unwrap_or_default(),
        sticky: sticky.unwrap_or_default(),
    }
}

fn sticky(written: written::Sticky, listen: &[Listen], findings: &mut Findings) -> Sticky {
    let whole = Sticky::default();
    let mut listens = Family::BOTH.into_iter().filter(|family| {
        let mut listen = listen.iter();
        listen.any(|listen| Family::of(listen.address) == *family)
    });
    let (mut ipv4, mut ipv6) = (written.ipv4, written.ipv6);
    if let Some(only) = written.only {
        match (listens.next(), listens.next()) {
            (Some(Family::V4), None) => ipv4 = Some(only),
            (Some(Family::V6), None) => ipv6 = Some(only),
            (None, _) => {}
            (Some(_), Some(_)) => {
                let complaint =
                    Complaint::new("`sticky` is for which family? The redirect listens in both");
                let help = "name the length of each: sticky = { ipv4 = 24, ipv6 = 56 }";
                findings.add(written.at, complaint.help(help));
            }
        }
    }
    let mut length = |key: &str, value: Option<Spanned<i64>>, whole: u32| {
        let length = value.and_then(|value| {
            let number = values::number(key, *value.get_ref(), &(1..=whole));
            findings.check(value.span(), number)
        });
        length.unwrap_or(whole)
    };
    Sticky {
        ipv4: length("sticky", ipv4, whole.ipv4),
        ipv6: length("sticky", ipv6, whole.ipv6),
    }
}
