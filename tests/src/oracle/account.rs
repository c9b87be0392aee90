//! What the product says it did, in the oracle's words.

use redirector_common::{
    abi::{FlowKey4, SLOT_SPLIT},
    host::HostTables,
    verdict::Verdict,
};

use super::{Claim, SlotNodes};

/// The claim that `verdict` makes about the frame `input`, `tables` being as the product left them; `None`
/// when it claims that nothing was sent.
pub fn claim(verdict: Verdict, input: &[u8], tables: &HostTables) -> Option<Claim> {
    match verdict {
        Verdict::ForwardSettled | Verdict::ForwardNew | Verdict::ForwardOrphan => Some(Claim::Now),
        Verdict::ForwardWas => Some(Claim::Unrecorded),
        Verdict::ForwardFlow => Some(Claim::Recorded(recorded_node(input, tables))),
        Verdict::Reply => Some(Claim::Client),
        // A later fragment has no ports to judge it by; it has tests of its own.
        Verdict::ForwardFragment
        | Verdict::ReplyFragment
        | Verdict::ForwardAssociated
        | Verdict::ReplyAssociated
        | Verdict::ForwardIcmp
        | Verdict::ReplyIcmp
        | Verdict::AnswerTooBig
        | Verdict::PassTruncated
        | Verdict::PassNotIp
        | Verdict::PassVlan
        | Verdict::PassMalformed
        | Verdict::PassExtensionHeaders
        | Verdict::PassSourceRoute
        | Verdict::PassIcmp
        | Verdict::PassFragment
        | Verdict::PassProtocol
        | Verdict::PassNotOurs
        | Verdict::PassDirect
        | Verdict::PassToRelay
        | Verdict::PassTtl
        | Verdict::DropNoBackend
        | Verdict::DropNoNextHop
        | Verdict::DropNoReturnHop
        | Verdict::DropDirectTcp
        | Verdict::DropNoTable
        | Verdict::DropFragment
        | Verdict::DropTooBig
        | Verdict::DropStranger
        | Verdict::DropNoStage => None,
    }
}

/// The node that the connection of a client's frame is recorded on, or in its handshake with; 0 if neither.
fn recorded_node(input: &[u8], tables: &HostTables) -> u16 {
    let key = FlowKey4 {
        client: super::frame::source(input),
        port: super::frame::source_port(input).to_be_bytes(),
        listener: 1_u16.to_ne_bytes(),
    };
    let flow = tables
        .ipv4
        .flows
        .borrow()
        .get(&key)
        .map(|flow| flow.backend);
    flow.or_else(|| {
        let embryos = tables.ipv4.embryos.borrow();
        embryos
            .iter()
            .find(|(other, _)| **other == key)
            .map(|(_, embryo)| embryo.backend)
    })
    .unwrap_or(0)
}

/// The nodes of each slot in `tables`.
pub fn slots_of(tables: &HostTables) -> impl Fn(usize) -> SlotNodes {
    |index| {
        tables.slot_tables.get(&0).map_or((0, 0), |table| {
            let slot = table.slots[index];
            (slot.now, slot.was & !SLOT_SPLIT)
        })
    }
}
