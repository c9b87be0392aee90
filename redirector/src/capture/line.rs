//! A packet as a line of text.

use super::{Captured, Headers, Interface, Side};

/// Who speaks with whom, before and after: `10.0.0.5:40001 > 10.0.0.1:1080 => 10.0.0.5:40001 > 10.0.1.2:1080`.
pub(super) fn ends(packet: &Captured) -> String {
    let of = |side: &Side| {
        let ends = Headers::read(&side.front).ends();
        ends.map(|(source, destination)| format!("{source} > {destination}"))
    };
    let before = of(&packet.before);
    let after = packet.after.as_ref().and_then(of);
    match (before, after) {
        (Some(before), Some(after)) if before == after => before,
        (Some(before), Some(after)) => format!("{before} => {after}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => String::new(),
    }
}

/// The name of an interface, or its index where it has none.
pub(super) fn name_of(interfaces: &[Interface], index: u32) -> String {
    let mut known = interfaces.iter();
    known
        .find(|interface| interface.index == index)
        .map_or_else(|| format!("if{index}"), |interface| interface.name.clone())
}

/// One line: when, where, what was decided, for which node, who speaks with whom, and how long it is.
pub fn line(packet: &Captured, interfaces: &[Interface]) -> String {
    let Captured {
        at,
        verdict,
        node,
        before,
        after,
    } = packet;
    let way = match after {
        Some(after) => format!(
            "{} > {}",
            name_of(interfaces, before.interface),
            name_of(interfaces, after.interface)
        ),
        None => name_of(interfaces, before.interface),
    };
    let node = node.as_deref().unwrap_or("-");
    let ends = ends(packet);
    let space = if ends.is_empty() { "" } else { " " };
    let headers = Headers::read(&before.front);
    let length = match after {
        Some(after) if after.length != before.length => {
            format!("{} => {}", before.length, after.length)
        }
        Some(_) | None => before.length.to_string(),
    };
    format!(
        "{} {way} {verdict} {node} {ends}{space}{headers} {length} bytes",
        moment(*at)
    )
}

/// The time of day with microseconds, in UTC.
fn moment(at: u64) -> String {
    let micros = i64::try_from(at / 1000).ok();
    micros
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(
            || at.to_string(),
            |time| time.strftime("%H:%M:%S%.6f").to_string(),
        )
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::headers::tests::syn;
    use super::*;

    pub(in super::super) fn forwarded() -> Captured {
        let side = |interface, destination| {
            let front = syn([10, 0, 0, 5], destination, 0);
            Side {
                interface,
                length: 54,
                front,
            }
        };
        Captured {
            at: 1_764_460_800_123_456_789,
            verdict: "forward-settled".to_owned(),
            node: Some("p2".to_owned()),
            before: side(2, [10, 0, 0, 1]),
            after: Some(side(3, [10, 0, 1, 3])),
        }
    }

    pub(in super::super) fn interfaces() -> Vec<Interface> {
        [(2, "eth0"), (3, "eth1")]
            .map(|(index, name)| Interface {
                index,
                name: name.to_owned(),
            })
            .to_vec()
    }

    #[test]
    fn a_packet_that_was_sent_on_is_told_before_and_after() {
        assert_eq!(
            line(&forwarded(), &interfaces()),
            "00:00:00.123456 eth0 > eth1 forward-settled p2 10.0.0.5:40001 > 10.0.0.1:1080 => \
             10.0.0.5:40001 > 10.0.1.3:1080 tcp [S] 54 bytes"
        );
    }

    #[test]
    fn a_packet_that_was_dropped_is_told_once() {
        let packet = Captured {
            verdict: "drop-direct-tcp".to_owned(),
            node: None,
            after: None,
            ..forwarded()
        };
        assert_eq!(
            line(&packet, &[]),
            "00:00:00.123456 if2 drop-direct-tcp - 10.0.0.5:40001 > 10.0.0.1:1080 tcp [S] 54 bytes"
        );
    }

    #[test]
    fn what_has_no_addresses_is_told_without() {
        let mut packet = forwarded();
        packet.before.front.truncate(13);
        packet.after = None;
        let line = line(&packet, &interfaces());
        assert!(
            line.ends_with(" eth0 forward-settled p2 cut 54 bytes"),
            "{line}"
        );
    }
}
