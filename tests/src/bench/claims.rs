//! What is promised, and whether this run keeps it.

use super::{
    Results,
    connections::Way,
    forwarding::{MANY, NEW, ONE, Variant},
    per_packet::{FORWARD_MANY, REPLY},
    report::Table,
};

/// A promise.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What about.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What it must be.
    pub bound: Bound,
    /// The unit of both.
    pub unit: &'static str,
}

/// On which side of a number a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// So much at least.
    Least(f64),
    /// So much at most.
    Most(f64),
}

impl Claim {
    /// Whether it is kept. A figure that is no number keeps nothing.
    pub fn is_kept(&self) -> bool {
        match self.bound {
            Bound::Least(least) => self.measured >= least,
            Bound::Most(most) => self.measured <= most,
        }
    }
}

/// All that can be said of these results.
pub fn claims(results: &Results) -> Vec<Claim> {
    use Bound::{Least, Most};

    let mut all = Vec::new();
    let mut claim = |what: &str, measured: Option<f64>, bound, unit| {
        if let Some(measured) = measured {
            all.push(Claim {
                what: what.to_owned(),
                measured,
                bound,
                unit,
            });
        }
    };
    if let Some(report) = &results.per_packet {
        let own = |name| Some(report.figure(name)?.own_ns);
        let floors = |name| Some(report.figure(name)?.times_floor);
        let ratio = |name| {
            let mut comparisons = report.comparisons.iter();
            Some(comparisons.find(|one| one.name == name)?.ratio)
        };
        claim(
            "forward settled, own work",
            own(FORWARD_MANY),
            Most(25.0),
            "ns",
        );
        claim(
            "forward settled, in total",
            floors(FORWARD_MANY),
            Most(4.5),
            "× floor",
        );
        claim("reply, own work", own(REPLY), Most(30.0), "ns");
        claim("reply, in total", floors(REPLY), Most(5.5), "× floor");
        let many = ratio("1M clients against 1, forward");
        claim("1M clients against one", many, Most(1.3), "×");
        let new = ratio("new connection against established, forward");
        claim(
            "a new connection against an established one",
            new,
            Most(1.2),
            "×",
        );
    }
    if let Some(report) = &results.forwarding {
        let speed = |case, against| Some(report.speed(case, Variant::Native, against)?.median);
        let limit = speed(MANY, Variant::Redirect).map(|share| share * 100.0);
        claim(
            "forwarding, 64k flows, of bare redirect_map",
            limit,
            Least(80.0),
            "%",
        );
        let nftables = Variant::Nftables;
        claim(
            "forwarding, 64k flows, against nftables DNAT",
            speed(MANY, nftables),
            Least(9.0),
            "×",
        );
        claim(
            "forwarding, all new flows, against nftables DNAT",
            speed(NEW, nftables),
            Least(18.0),
            "×",
        );
        claim(
            "forwarding, 1 flow, against nftables DNAT",
            speed(ONE, nftables),
            Least(5.0),
            "×",
        );
    }
    if let Some(report) = &results.connections {
        let share = |way| Some(report.against_kernel(way)?.median * 100.0);
        let best = [Way::Native, Way::Generic, Way::Tc]
            .into_iter()
            .filter_map(share);
        let best = best.fold(None, |best: Option<f64>, share| {
            Some(best.map_or(share, |best| best.max(share)))
        });
        claim(
            "connections per second through Dante, of kernel forwarding, best mode",
            best,
            Least(95.0),
            "%",
        );
    }
    if let Some(report) = &results.bulk {
        let against = |way| {
            let both = [
                report.up(Way::Tc, way)?.median,
                report.down(Way::Tc, way)?.median,
            ];
            Some(both[0].min(both[1]))
        };
        let percent = against(Way::Kernel).map(|share| share * 100.0);
        claim(
            "bulk data over veth by tc, of kernel forwarding, worse direction",
            percent,
            Least(60.0),
            "%",
        );
        claim(
            "bulk data over veth by tc, against native XDP, worse direction",
            against(Way::Native),
            Least(2.0),
            "×",
        );
    }
    if let Some(report) = &results.attack {
        let success = report.success().map(|share| share * 100.0);
        claim(
            "connections that succeed under a SYN flood",
            success,
            Least(95.0),
            "%",
        );
        let broken = report.broken();
        claim(
            "established connections that a SYN flood breaks",
            broken,
            Most(0.0),
            "",
        );
    }
    all
}

/// For a report.
pub fn table(claims: &[Claim]) -> Table {
    let mut table = Table::new(["promised", "", "measured", ""]);
    for claim in claims {
        let unit = claim.unit;
        let bound = match claim.bound {
            Bound::Least(least) => format!("≥ {least} {unit}"),
            Bound::Most(most) => format!("≤ {most} {unit}"),
        };
        table.add([
            claim.what.clone(),
            bound.trim_end().to_owned(),
            format!("{:.2} {unit}", claim.measured)
                .trim_end()
                .to_owned(),
            if claim.is_kept() { "kept" } else { "NOT KEPT" }.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_wrong_side_or_none_at_all_keeps_no_promise() {
        let claim = |measured, bound| Claim {
            what: String::new(),
            measured,
            bound,
            unit: "",
        };
        assert!(claim(9.0, Bound::Least(9.0)).is_kept());
        assert!(!claim(8.99, Bound::Least(9.0)).is_kept());
        assert!(claim(0.0, Bound::Most(0.0)).is_kept());
        assert!(!claim(1.0, Bound::Most(0.0)).is_kept());
        assert!(!claim(f64::NAN, Bound::Most(1.0)).is_kept());
    }
}
