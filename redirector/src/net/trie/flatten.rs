//! Nested prefixes of routes become disjoint ranges of addresses.

use super::{
    super::{
        routes::{Route, Table},
        view::NetView,
    },
    Hops, Way, last_bits,
};
use crate::family::{Family, bits};

/// A range of addresses with one way. Addresses are numbers as [`bits`] makes them; the last one has ones
/// behind it.
pub(super) struct Span {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) way: Way,
}

/// Addresses that the kernel treats alike whatever the routes, as address and prefix length: 0.0.0.0,
/// multicast, broadcast.
const RESERVED4: [(&[u8], u8, Way); 3] = [
    (&[0, 0, 0, 0], 32, Way::Local),
    (&[224], 4, Way::Local),
    (&[255, 255, 255, 255], 32, Way::Local),
];

/// The same in IPv6: the unspecified address and multicast. Besides, link-local addresses: which of the
/// hosts that have one is meant depends on the interface, and that is the kernel's to say.
const RESERVED6: [(&[u8], u8, Way); 3] = [
    (&[], 128, Way::Local),
    (&[0xfe, 0x80], 10, Way::AskKernel),
    (&[0xff], 8, Way::Local),
];

/// A prefix while it is open in the sweep of [`flatten`].
struct Open {
    last: u128,
    way: Way,
    /// Whether it or a prefix around it is one of the table local.
    within_local: bool,
}

/// Turns the nested prefixes of all routes into disjoint ranges, in ascending order. Addresses without
/// a route are in none.
pub(super) fn flatten(view: &NetView, family: Family, hops: &mut Hops<'_>) -> Vec<Span> {
    let mut groups: Vec<(u128, u8, Table, &[Route])> = view
        .routes
        .groups()
        .filter_map(|group| group.first().map(|route| (route, group)))
        // The table default only counts where there is nothing else, and there the kernel is asked.
        .filter(|(route, _)| route.table != Table::Default && route.family() == family)
        .map(|(route, group)| {
            (
                bits(route.prefix.network()),
                route.prefix.prefix_len(),
                route.table,
                group,
            )
        })
        .collect();
    groups.sort_unstable_by_key(|(first, length, table, _)| (*first, *length, *table));
    // The better of the tables comes first in each prefix: local.
    groups.dedup_by_key(|(first, length, ..)| (*first, *length));

    let mut sweep = Sweep {
        spans: Vec::with_capacity(2 * groups.len() + 8),
        next: Some(0),
    };
    let mut open: Vec<Open> = Vec::with_capacity(usize::from(family.width()) + 1);
    for (first, length, table, group) in groups {
        sweep.close(&mut open, Some(first));
        let outer = open.last();
        sweep.emit_before(first, outer.map_or(Way::AskKernel, |outer| outer.way));
        let within_local = outer.is_some_and(|outer| outer.within_local);
        // In IPv4, whether a longer prefix of main beats a shorter one of local depends on whether the
        // kernel has ever seen a policy rule, which it does not tell.
        let way = if within_local && table == Table::Main {
            Way::AskKernel
        } else {
            hops.way(group)
        };
        let last = first | last_bits(length);
        open.push(Open {
            last,
            way,
            within_local: within_local || table == Table::Local,
        });
    }
    sweep.close(&mut open, None);
    reserve(sweep.spans, family)
}

/// The ranges emitted so far, and the first address that is in none of them, if there is one.
struct Sweep {
    spans: Vec<Span>,
    next: Option<u128>,
}

impl Sweep {
    /// Ends the prefixes that end before `first`, or all.
    fn close(&mut self, open: &mut Vec<Open>, first: Option<u128>) {
        while let Some(inner) = open.pop_if(|inner| first.is_none_or(|first| inner.last < first)) {
            self.emit(inner.last, inner.way);
        }
    }

    fn emit_before(&mut self, first: u128, way: Way) {
        if let Some(last) = first.checked_sub(1) {
            self.emit(last, way);
        }
    }

    /// Gives the addresses from `next` up to `last` their way.
    fn emit(&mut self, last: u128, way: Way) {
        let Some(first) = self.next.filter(|next| *next <= last) else {
            return;
        };
        self.next = last.checked_add(1);
        if way == Way::AskKernel {
            return;
        }
        match self.spans.last_mut() {
            Some(before) if before.way == way && before.last.checked_add(1) == Some(first) => {
                before.last = last;
            }
            Some(_) | None => self.spans.push(Span { first, last, way }),
        }
    }
}

/// Cuts the reserved addresses out of the ranges and gives them their own way.
fn reserve(spans: Vec<Span>, family: Family) -> Vec<Span> {
    let reserved = match family {
        Family::V4 => RESERVED4,
        Family::V6 => RESERVED6,
    };
    let mut rest = spans;
    for (leading, length, way) in reserved {
        let mut octets = [0; 16];
        octets[..leading.len()].copy_from_slice(leading);
        let low = u128::from_be_bytes(octets);
        let high = low | last_bits(length);
        let mut cut = Vec::with_capacity(rest.len() + 2);
        for span in rest {
            if span.first < low {
                cut.push(Span {
                    last: span.last.min(low - 1),
                    ..span
                });
            }
            if span.last > high {
                cut.push(Span {
                    first: span.first.max(high + 1),
                    ..span
                });
            }
        }
        if way != Way::AskKernel {
            cut.push(Span {
                first: low,
                last: high,
                way,
            });
        }
        rest = cut;
    }
    rest.sort_unstable_by_key(|span| span.first);
    rest
}
