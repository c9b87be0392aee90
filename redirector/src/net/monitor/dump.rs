//! Lists the kernel's objects, and says whether a change came in between.

use std::collections::BTreeSet;

use futures::StreamExt;
use log::debug;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage, address::AddressMessage, neighbour::NeighbourMessage,
    route::RouteMessage, rule::RuleMessage,
};
use nix::errno::Errno;

use super::MonitorError;
use crate::{
    family::Family,
    net::{
        decode::{self, Decoded},
        routes::RouteTable,
        view::Event,
    },
};

/// How often a dump that changes interrupted is repeated before it is taken as it is.
const DUMP_ATTEMPTS: usize = 4;

/// The answer to a dump request.
pub(super) struct Dump {
    messages: Vec<RouteNetlinkMessage>,
    /// Whether no change came in between.
    pub(super) certain: bool,
}

impl Dump {
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        self.messages
            .iter()
            .filter_map(|message| match decode::decode(message, 0, true) {
                Decoded::Event(event) => Some(event),
                Decoded::RulesStale | Decoded::Ignored => None,
            })
    }
}

/// The kernel's name of a family.
fn named(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

pub(super) async fn read_routes(
    handle: &rtnetlink::Handle,
) -> Result<(RouteTable, bool), MonitorError> {
    let (mut routes, mut certain) = (Vec::new(), true);
    for family in Family::BOTH {
        let mut request = RouteMessage::default();
        request.header.address_family = named(family);
        let dump = dump(handle, "routes", RouteNetlinkMessage::GetRoute(request)).await?;
        certain &= dump.certain;
        routes.extend(dump.events().filter_map(|event| match event {
            // A kernel without the family lists those of all others.
            Event::Route(route, _) => Some(route).filter(|route| route.family() == family),
            Event::Link(..)
            | Event::LinkGone(_)
            | Event::Address(..)
            | Event::AddressGone(..)
            | Event::RouteGone(_)
            | Event::Neighbour(..)
            | Event::NeighbourGone(..)
            | Event::PolicyRules(..) => None,
        }));
    }
    Ok((routes.into_iter().collect(), certain))
}

/// The families that have special policy rules.
pub(super) async fn read_rules(
    handle: &rtnetlink::Handle,
) -> Result<BTreeSet<Family>, MonitorError> {
    let mut special = BTreeSet::new();
    for family in Family::BOTH {
        if has_special_rules(handle, family).await? {
            special.insert(family);
        }
    }
    Ok(special)
}

async fn has_special_rules(
    handle: &rtnetlink::Handle,
    family: Family,
) -> Result<bool, MonitorError> {
    let mut request = RuleMessage::default();
    request.header.family = named(family);
    let dump = match dump(
        handle,
        "policy rules",
        RouteNetlinkMessage::GetRule(request),
    )
    .await
    {
        // A kernel without policy routing has none.
        Err(MonitorError::Refused {
            errno: Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT,
            ..
        }) => {
            return Ok(false);
        }
        result => result?,
    };
    let rules: Vec<RuleMessage> = dump
        .messages
        .into_iter()
        .filter_map(|message| {
            if let RouteNetlinkMessage::NewRule(rule) = message {
                return Some(rule).filter(|rule| rule.header.family == named(family));
            }
            None
        })
        .collect();
    Ok(decode::are_special(family, &rules) || !dump.certain)
}

/// What is read, and the request for it.
type Reading = (&'static str, RouteNetlinkMessage);

pub(super) fn address_request(family: Family) -> Reading {
    let mut request = AddressMessage::default();
    request.header.family = named(family);
    ("addresses", RouteNetlinkMessage::GetAddress(request))
}

pub(super) fn neighbour_request(family: Family) -> Reading {
    let mut request = NeighbourMessage::default();
    request.header.family = named(family);
    ("neighbours", RouteNetlinkMessage::GetNeighbour(request))
}

/// Lists objects, anew if a change interrupts that, a few times at most.
pub(super) async fn dump(
    handle: &rtnetlink::Handle,
    what: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Dump, MonitorError> {
    let mut attempt = 1;
    loop {
        let dump = dump_once(handle, what, request.clone()).await?;
        if dump.certain || attempt == DUMP_ATTEMPTS {
            return Ok(dump);
        }
        attempt += 1;
    }
}

async fn dump_once(
    handle: &rtnetlink::Handle,
    what: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Dump, MonitorError> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answers = handle
        .clone()
        .request(message)
        .map_err(|_| MonitorError::Closed { what })?;
    let mut dump = Dump {
        messages: Vec::new(),
        certain: true,
    };
    while let Some(answer) = answers.next().await {
        dump.certain &= answer.header.flags & NLM_F_DUMP_INTR == 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(inner) => dump.messages.push(inner),
            NetlinkPayload::Error(error) => {
                if let Some(code) = error.code {
                    return Err(MonitorError::Refused {
                        what,
                        errno: Errno::from_raw(-code.get()),
                    });
                }
            }
            NetlinkPayload::Done(end) if end.code != 0 => {
                return Err(MonitorError::Refused {
                    what,
                    errno: Errno::from_raw(-end.code),
                });
            }
            NetlinkPayload::Done(_) => return Ok(dump),
            NetlinkPayload::Overrun(_) => dump.certain = false,
            NetlinkPayload::Noop => {}
            unknown => debug!("ignored a netlink message of an unknown kind: {unknown:?}"),
        }
    }
    Err(MonitorError::Closed { what })
}
