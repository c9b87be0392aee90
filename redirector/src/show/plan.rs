//! What `plan` and `reload` print.

use std::fmt::Write as _;

use crate::config::Difference;
use crate::control::plan::Plan;
use crate::units::Counted;

/// A line for each difference.
pub fn differences(differences: &[Difference]) -> String {
    let mut text = String::new();
    for difference in differences {
        let _ = writeln!(text, "{difference}");
    }
    text
}

/// What would differ, and what would become of slots and connections.
pub fn plan(plan: &Plan) -> String {
    let mut text = differences(&plan.differences);
    for redirect in &plan.redirects {
        let share = f64::from(redirect.moved) * 100.0 / f64::from(redirect.slots.max(1));
        let fate = match (&redirect.digest, &redirect.digest_then) {
            (None, _) => " (new)",
            (_, None) => " (goes)",
            (Some(_), Some(_)) => "",
        };
        let _ = writeln!(
            text,
            "redirect {} ({}){fate}: {} of {} slots go elsewhere, {share:.1}% of new clients",
            redirect.redirect, redirect.family, redirect.moved, redirect.slots
        );
        for one in &redirect.moves {
            let of = |node: &Option<String>| node.clone().unwrap_or_else(|| "no node".to_owned());
            let _ = writeln!(
                text,
                "  {} -> {}: {}",
                of(&one.from),
                of(&one.to),
                counted(one.slots.into(), "slot")
            );
        }
        let _ = writeln!(
            text,
            "  {} would stay, {} would end",
            counted(redirect.connections_stay, "recorded connection"),
            redirect.connections_end
        );
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text.push_str(
        "nothing was changed; connections of settled slots are not recorded, and fare as those of their node that are\n",
    );
    text
}

fn counted(count: u64, noun: &str) -> String {
    Counted(usize::try_from(count).unwrap_or(usize::MAX), noun).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::plan::{Move, RedirectPlan};

    #[test]
    fn a_plan_says_what_differs_and_what_moves() {
        let redirect = RedirectPlan {
            redirect: "socksbalance".to_owned(),
            family: "IPv4".to_owned(),
            slots: 65_536,
            moved: 21_845,
            moves: vec![Move {
                from: Some("p2".to_owned()),
                to: None,
                slots: 21_845,
            }],
            connections_stay: 1,
            connections_end: 3,
            digest: Some("a".to_owned()),
            digest_then: Some("b".to_owned()),
        };
        let mut one = Plan {
            differences: vec![Difference::Removed {
                what: "node a/p2".to_owned(),
            }],
            redirects: vec![redirect],
            notes: vec!["mind the step".to_owned()],
        };
        assert_eq!(
            plan(&one),
            "\
node a/p2: removed
redirect socksbalance (IPv4): 21845 of 65536 slots go elsewhere, 33.3% of new clients
  p2 -> no node: 21845 slots
  1 recorded connection would stay, 3 would end
note: mind the step
nothing was changed; connections of settled slots are not recorded, and fare as those of their node that are
"
        );
        one.redirects[0].digest = None;
        assert!(plan(&one).contains("(IPv4) (new): "));
    }
}
