//! Whether every packet is counted, and once: those of a generator that knows how many it has made, at a relay that
//! sends them to a program that counts them, discards them, or leaves them to the kernel.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use redirector_common::verdict::Verdict;

use super::forwarding::{
    ANSWERS, Case, MANY, Variant,
    rig::{self, Rig, configuration},
    traffic::{ATTEMPTS, Traffic},
};
use crate::lab::agent::Agent;
use crate::lab::flood::Flood;
use crate::lab::metrics::{Samples, http_section};
use crate::lab::wait_until;

/// An address that is nobody's; the relay's kernel drops what is for it without a word.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A kind of packet.
struct Sort {
    verdict: Verdict,
    case: Case,
    to: Ipv4Addr,
    /// Which statistics of nodes count them, if any.
    of_nodes: Option<[&'static str; 2]>,
}

/// What is counted of one kind, by where it is shown.
type Counted = BTreeMap<&'static str, u64>;

/// Sends at least so many packets of each kind, and finds all counters to be exact. Then a packet more is sent, and must be
/// noticed.
///
/// # Errors
/// A counter is not exact, a packet more is not noticed, or nothing can be sent.
pub fn run(object: &Path, packets: u32) -> Result<()> {
    let mut traffic = Traffic::load(object)?;
    let rig = Rig::new(Variant::Native, &mut traffic)?;
    let agent = rig.agent.as_ref().context("the relay has no agent")?;
    rig.relay.ip(&format!("route add blackhole {NOBODY}"))?;
    agent.reload(&(configuration(&["clients", "nodes"], "native", 3, 1) + &http_section()))?;
    let nodes = ["forward_packets", "forward_bytes"];
    let answers = ["reply_packets", "reply_bytes"];
    for sort in [
        Sort {
            verdict: Verdict::ForwardSettled,
            case: MANY,
            to: rig::VIP,
            of_nodes: Some(nodes),
        },
        Sort {
            verdict: Verdict::Reply,
            case: ANSWERS,
            to: rig::VIP,
            of_nodes: Some(answers),
        },
        Sort {
            verdict: Verdict::DropDirectTcp,
            case: MANY,
            to: rig::node(0),
            of_nodes: None,
        },
        Sort {
            verdict: Verdict::PassNotOurs,
            case: MANY,
            to: NOBODY,
            of_nodes: None,
        },
    ] {
        let (made, before) = sort.send(&mut traffic, &rig, packets)?;
        sort.require(&rig, &before, made)?;
        println!("{}: {made} packets, all counted", sort.verdict.name());
        if sort.verdict == Verdict::ForwardSettled {
            sort.require_that_one_more_is_noticed(&rig, &before, made)?;
        }
    }
    Ok(())
}

impl Sort {
    /// Sends them; gives how many were made, and what was counted before.
    ///
    /// What never came to the relay, since somebody else's work on the processor made a veth overflow, its counters can't have;
    /// the whole is repeated then. More than was made they can't have either.
    fn send(&self, traffic: &mut Traffic, rig: &Rig, packets: u32) -> Result<(u64, Counted)> {
        let (frame, mut stream) = self.case.packets(self.to);
        stream.device =
            rig.devices[usize::from(self.of_nodes.is_some_and(|of| of[0].starts_with("reply")))];
        let agent = rig.agent.as_ref().context("the relay has no agent")?;
        for _ in 0..ATTEMPTS {
            let before = self.counted(rig, agent)?;
            let expected = self.case.expected(self.to, true);
            let sent = traffic.send(&mut stream, &frame, packets, expected)?;
            let counted = self.counted(rig, agent)?["show counters"] - before["show counters"];
            ensure!(counted <= sent.made, "{counted} of {} packets", sent.made);
            let arrived = sent.right + sent.wrong;
            let whole = match self.of_nodes {
                // The program at the far end has counted them.
                Some(_) => sent.wrong == 0 && arrived == sent.made,
                None => arrived == 0 && counted == sent.made,
            };
            if whole {
                return Ok((sent.made, before));
            }
            println!(
                "{}: {sent:?}, {counted} counted; again",
                self.verdict.name()
            );
        }
        bail!("{}: packets are lost again and again", self.verdict.name())
    }

    /// What each place that shows counters says.
    fn counted(&self, rig: &Rig, agent: &Agent) -> Result<Counted> {
        let name = self.verdict.name();
        let mut counted = Counted::new();
        counted.insert("show counters", agent.counter(name)?);
        let samples = Samples::read(&rig.relay)?;
        let action = match self.verdict.action() {
            redirector_common::verdict::Action::Transmit => "transmit",
            redirector_common::verdict::Action::Pass => "pass",
            redirector_common::verdict::Action::Drop => "drop",
        };
        let series = format!("redirector_packets_total{{verdict=\"{name}\",action=\"{action}\"}}");
        counted.insert("/metrics, packets", samples.whole(&series)?);
        let Some(fields) = self.of_nodes else {
            return Ok(counted);
        };
        let pool = r#"redirect="bench-0",family="IPv4",pool="nodes-0""#;
        let shown = agent.show("nodes")?;
        for (field, place, of_pool) in [
            (fields[0], "show nodes, packets", "/metrics, pool's packets"),
            (fields[1], "show nodes, bytes", "/metrics, pool's bytes"),
        ] {
            let nodes = shown.as_array().context("no nodes")?;
            let values = nodes.iter().map(|node| {
                let value = node["traffic"][field].as_u64();
                value.with_context(|| format!("no {field} in {node}"))
            });
            counted.insert(place, values.sum::<Result<u64>>()?);
            let series = format!("redirector_pool_{field}_total{{{pool}}}");
            counted.insert(of_pool, samples.whole(&series)?);
        }
        Ok(counted)
    }

    /// Finds that each place has counted so many.
    fn require(&self, rig: &Rig, before: &Counted, made: u64) -> Result<()> {
        let agent = rig.agent.as_ref().context("the relay has no agent")?;
        let after = self.counted(rig, agent)?;
        for (place, before) in before {
            let more = after[place] - before;
            let expected = if place.ends_with("bytes") {
                made * self.case.length as u64
            } else {
                made
            };
            ensure!(
                more == expected,
                "{}: {place} has {more}, not {expected}",
                self.verdict.name()
            );
        }
        Ok(())
    }

    fn require_that_one_more_is_noticed(
        &self,
        rig: &Rig,
        before: &Counted,
        made: u64,
    ) -> Result<()> {
        let to = SocketAddrV4::new(rig::VIP, rig::PORT);
        let sent = Flood::start(rig.clients(), to, 1, 1)?.finish()?;
        ensure!(sent == 1, "{sent} SYNs were sent");
        let soon = Duration::from_secs(5);
        let complaint = wait_until("a packet more to be noticed", soon, || {
            match self.require(rig, before, made) {
                Ok(()) => bail!("nobody has noticed it"),
                Err(error) => Ok(error.to_string()),
            }
        })?;
        println!("one more: {complaint}");
        // One SYN, whose frame is shorter than the others; nothing comes again.
        let agent = rig.agent.as_ref().context("the relay has no agent")?;
        let counted = self.counted(rig, agent)?["show counters"] - before["show counters"];
        ensure!(counted == made + 1, "{counted} packets, not {made} and one");
        Ok(())
    }
}
