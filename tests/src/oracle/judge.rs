//! The verdict on a verdict.

use redirector_common::{
    Outcome,
    host::HostTables,
    verdict::{Action, Verdict},
};

use super::{
    Claim, Kind, Listener, Mode, SlotNodes, Unfit, World,
    associations::{Associations, Replaced},
    claim,
    fields::field,
    fragments::{Fragments, Went},
    headers::{Headers, TCP, UDP},
    refused, slots_of, too_big,
};

/// Follows a history of frames, and says of each whether the product did right by it.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The world it judges in.
    pub world: World,
    fragments: Fragments,
    /// Followed where the product replaces addresses in SOCKS replies.
    associations: Option<Associations>,
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(world: World) -> Self {
        Self {
            world,
            fragments: Fragments::default(),
            associations: None,
        }
    }

    /// The same, who expects the node's own address in the reply to UDP ASSOCIATE to be replaced by the VIP, where
    /// the listener says so.
    #[must_use]
    pub fn following_associations(self) -> Self {
        Self {
            associations: Some(Associations::default()),
            ..self
        }
    }

    /// Judges what the product did with `input`, `tables` being as it left them: whether its verdict can be, whether
    /// what it sent is what must leave, and whether what it did not send is as it was. Gives the claim by
    /// which a frame was sent.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong, or the verdict that can't be.
    pub fn judge(
        &mut self,
        input: &[u8],
        outcome: Outcome,
        output: &[u8],
        tables: &HostTables,
    ) -> Result<Option<Claim>, String> {
        self.check_verdict(input, outcome.verdict)?;
        let Some(claim) = claim(&self.world, outcome.verdict, input, tables) else {
            self.see_kept(input, outcome.verdict);
            return if input == output {
                Ok(None)
            } else {
                Err("changed, but not sent".to_owned())
            };
        };
        self.judge_sent(input, claim, slots_of(tables), (output, outcome.ifindex))?;
        Ok(Some(claim))
    }

    /// Judges a frame that was sent by interface `ifindex` of [`super::Neighbour`] or, where it is an answer of the
    /// program's own, back to where `input` came from.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong.
    pub fn judge_sent(
        &mut self,
        input: &[u8],
        claim: Claim,
        slots: impl Fn(u16, usize) -> SlotNodes,
        (output, ifindex): (&[u8], u32),
    ) -> Result<(), String> {
        let headers = Headers::read(input).map_err(|unfit| format!("sent, but it is {unfit:?}"))?;
        let mut expected = match (claim, self.fragments.first_of(&headers)) {
            (Claim::TooBigForNode(node), _) => {
                let node = self.world.node(node).ok_or("no such node")?;
                return too_big::check(input, node.way.mtu, output);
            }
            (Claim::TooBigForClient, _) => {
                let way = self.world.way_to(headers.destination);
                return too_big::check(input, way.mtu, output);
            }
            (Claim::Refused, _) => return refused::check(input, output),
            (Claim::AfterFirst, Some(Went::ToNode { node, routed })) => {
                self.world.fragment_to_node(input, node, routed)?
            }
            (Claim::ClientAfterFirst, Some(Went::ToClient { listener })) => {
                self.world.fragment_to_client(input, listener)?
            }
            (Claim::AfterFirst | Claim::ClientAfterFirst, other) => {
                return Err(format!("sent as {claim:?}, but the first went {other:?}"));
            }
            (claim, _) => self.world.sent(input, claim, &slots)?,
        };
        if let Some(replaced) = self.replaced(input) {
            replaced.write(&headers, input, &mut expected.0, self.world.native);
        }
        // Where it went is no matter of how it was written.
        if let Some(went) = self.went(input, &headers, claim, &slots) {
            self.fragments.note(&headers, went);
        }
        compare(input, &expected.0, output)?;
        if ifindex != expected.1 {
            return Err(format!("left by interface {ifindex}, not {}", expected.1));
        }
        Ok(())
    }

    /// Remembers a first fragment that was not sent but passed: of TCP or UDP what follows it is passed as well.
    pub fn see_kept(&mut self, input: &[u8], verdict: Verdict) {
        if let Ok(headers) = Headers::read(input)
            && matches!(headers.protocol, TCP | UDP)
            && verdict.action() == Action::Pass
            && self.is_ours(&headers)
        {
            self.fragments.note(&headers, Went::Nowhere);
        }
    }

    /// Whether a packet goes to a VIP or comes from a node.
    fn is_ours(&self, headers: &Headers) -> bool {
        self.world.is_vip(headers.destination) || self.world.is_node(headers.source)
    }

    /// The bytes of a SOCKS reply that leave with another value.
    fn replaced(&mut self, input: &[u8]) -> Option<Replaced> {
        let headers = Headers::read(input).ok()?;
        let listener = if let Kind::ToVip(listener) = self.world.kind(input) {
            listener
        } else if let Kind::FromNode(_) = self.world.kind(input) {
            let port = headers.source_port(input);
            self.world
                .socket_at(headers.source, port, headers.protocol)?
                .listener?
        } else {
            return None;
        };
        let shared = self.world.listener(listener)?.shared;
        let associations = self.associations.as_mut().filter(|_| shared)?;
        associations.observe(&self.world, input, listener)
    }

    /// Where a frame went that was sent by this claim.
    fn went(
        &self,
        input: &[u8],
        headers: &Headers,
        claim: Claim,
        slots: impl Fn(u16, usize) -> SlotNodes,
    ) -> Option<Went> {
        match (self.world.kind(input), claim) {
            (Kind::ToVip(number), Claim::Now | Claim::Unrecorded | Claim::Recorded(_)) => {
                let listener = self.world.listener(number)?;
                let slot = self.world.slot_of(headers.source);
                let node = claim.node(slots(listener.redirect, slot))?;
                let routed = listener.mode == Mode::Routed;
                Some(Went::ToNode { node, routed })
            }
            (Kind::FromNode(_), Claim::Client) => {
                let port = headers.source_port(input);
                let socket = self
                    .world
                    .socket_at(headers.source, port, headers.protocol)?;
                let listener = socket.listener?;
                Some(Went::ToClient { listener })
            }
            (Kind::FromSharedNode(_), Claim::ClientOf(listener))
            | (_, Claim::AssociatedClientOf(listener)) => Some(Went::ToClient { listener }),
            (_, Claim::Associated(node)) => Some(Went::ToNode {
                node,
                routed: self.world.is_routed(headers.destination),
            }),
            _ => None,
        }
    }

    /// Whether a frame can get this verdict at all.
    fn check_verdict(&self, input: &[u8], verdict: Verdict) -> Result<(), String> {
        let kind = self.world.kind(input);
        if verdict == Verdict::DropTooBig {
            too_big::check_dropped(input)?;
        }
        let refuses = |listener: &Listener| listener.refuses;
        let listener = if let Kind::ToVip(number) = kind {
            self.world.listener(number)
        } else {
            None
        };
        if verdict == Verdict::DropNoBackend && listener.is_some_and(refuses) {
            refused::check_dropped(input)?;
        }
        if verdict == Verdict::AnswerNoBackend && !listener.is_some_and(refuses) {
            return Err("answered, where packets that no node takes are dropped".to_owned());
        }
        if possible(self, input, kind).contains(&verdict.name()) {
            Ok(())
        } else {
            Err(format!(
                "{} cannot be the verdict on {kind:?}",
                verdict.name()
            ))
        }
    }
}

/// The names of the verdicts that a frame of this kind can get.
fn possible(judge: &Judge, input: &[u8], kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Unfit(Unfit::Truncated) => &["pass-truncated"],
        Kind::Unfit(Unfit::NotIp) => &["pass-not-ip"],
        Kind::Unfit(Unfit::Vlan) => &["pass-vlan"],
        Kind::Unfit(Unfit::Malformed) => &["pass-malformed"],
        Kind::Unfit(Unfit::SourceRoute) => &["pass-source-route"],
        Kind::Unfit(Unfit::ExtensionHeaders) => &["pass-extension-headers"],
        Kind::Unfit(Unfit::Protocol) => &["pass-protocol"],
        // What does not go on in any case may be found out first.
        Kind::Expired => &[
            "pass-ttl",
            "pass-to-relay",
            "pass-not-ours",
            "pass-direct",
            "pass-icmp",
            "drop-no-return-hop",
            "drop-no-table",
            "drop-no-backend",
            "drop-no-next-hop",
        ],
        Kind::ToVip(_) => &[
            "forward-settled",
            "forward-new",
            "forward-flow",
            "forward-was",
            "forward-orphan",
            "drop-no-table",
            "drop-no-backend",
            "answer-no-backend",
            "drop-no-next-hop",
            "answer-too-big",
            "drop-too-big",
        ],
        Kind::FromNode(_) => &[
            "reply",
            "pass-to-relay",
            "drop-no-return-hop",
            "drop-no-table",
            "answer-too-big",
            "drop-too-big",
        ],
        // The connection may have come by way of none of the listeners.
        Kind::FromSharedNode(_) => &[
            "reply",
            "pass-to-relay",
            "drop-no-return-hop",
            "drop-no-table",
            "answer-too-big",
            "drop-too-big",
            "pass-direct",
            "pass-not-ours",
        ],
        Kind::ToNode { direct: true } => &["pass-direct"],
        Kind::ToNode { direct: false } => match Headers::read(input) {
            Ok(headers) if headers.protocol == TCP => &["drop-direct-tcp"],
            Ok(_) | Err(_) => &["pass-not-ours"],
        },
        Kind::ErrorAboutAnswer(_) => &[
            "forward-icmp",
            "pass-icmp",
            "drop-no-table",
            "drop-no-backend",
            "drop-no-next-hop",
        ],
        Kind::ErrorAboutForwarded(_) => &[
            "reply-icmp",
            "pass-icmp",
            "pass-to-relay",
            "drop-no-return-hop",
        ],
        // Errors about associations, which only the product knows of, are among them.
        Kind::OtherIcmp => &[
            "pass-icmp",
            "forward-icmp",
            "reply-icmp",
            "pass-ttl",
            "pass-to-relay",
            "drop-no-backend",
            "drop-no-next-hop",
            "drop-no-return-hop",
        ],
        Kind::Foreign => &[
            "pass-not-ours",
            "forward-associated",
            "reply-associated",
            "answer-too-big",
            "drop-too-big",
            "drop-stranger",
            "drop-no-backend",
            "drop-no-next-hop",
            "drop-no-return-hop",
            "pass-to-relay",
            "pass-ttl",
        ],
        Kind::LaterFragment => judge.possible_for_later(input),
    }
}

impl Judge {
    /// The names of the verdicts that a later fragment can get. The product may have forgotten the first.
    fn possible_for_later(&self, input: &[u8]) -> &'static [&'static str] {
        let Ok(headers) = Headers::read(input) else {
            return &[];
        };
        // First fragments of other protocols are not looked at, so nothing can be said of what follows them.
        let ours = matches!(headers.protocol, TCP | UDP) && self.is_ours(&headers);
        match (self.fragments.first_of(&headers), ours) {
            (Some(Went::ToNode { .. }), _) => &[
                "forward-fragment",
                "drop-fragment",
                "drop-no-backend",
                "drop-no-next-hop",
                "pass-ttl",
                "drop-too-big",
            ],
            (Some(Went::ToClient { .. }), _) => &[
                "reply-fragment",
                "drop-fragment",
                "drop-no-return-hop",
                "pass-to-relay",
                "pass-ttl",
                "drop-too-big",
            ],
            (None, true) => &["drop-fragment"],
            (Some(Went::Nowhere), _) | (None, false) => &["pass-fragment"],
        }
    }
}

/// Compares what left with what must leave.
fn compare(input: &[u8], expected: &[u8], output: &[u8]) -> Result<(), String> {
    if expected.len() != output.len() {
        return Err(format!("{} bytes became {}", expected.len(), output.len()));
    }
    match (0..output.len()).find(|at| output[*at] != expected[*at]) {
        None => Ok(()),
        Some(at) => Err(format!(
            "byte {at} ({}) is {:02x} and should be {:02x}",
            field(input, at),
            output[at],
            expected[at]
        )),
    }
}
