//! What one program of the data path leaves to the next, which begins without anything of what is known.

use bytemuck::{Pod, Zeroable};

use crate::{
    address::Address,
    parse::{Layout, Packet},
    process::Outcome,
    stage::{Stage, Step},
    tables::Tables,
    verdict::Verdict,
};

/// What is left to be done with a frame before it is sent.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Task {
    /// The interface to send the frame by.
    pub ifindex: u32,
    /// Offset of the IP header.
    pub ip: u16,
    /// Offset of the transport header.
    pub transport: u16,
    /// Bytes from there to the packet's end.
    pub segment: u16,
    /// The folded sum of the pseudo-header, in memory order.
    pub pseudo: u16,
    /// Number of the listener.
    pub listener: u16,
    /// The backend.
    pub backend: u16,
    /// What would have fit, bytes.
    pub mtu: u16,
    /// [`TASK_COMPLETE`] and the other flags.
    pub flags: u16,
    /// [`Verdict::index`] of what was decided.
    pub verdict: u8,
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// Zero.
    pub reserved: u16,
    /// Source and destination port of an answer, as they are in memory.
    pub ports: u32,
    /// Sequence and acknowledgement number of an answer.
    pub numbers: [u32; 2],
    /// Zero.
    pub padding: u32,
}

/// [`Task::flags`]: the transport checksum, which is 0 now, is to be made.
pub const TASK_COMPLETE: u16 = 1;
/// [`Task::flags`]: it is a client's segment to a shared listener.
pub const TASK_FROM_CLIENT: u16 = 2;
/// [`Task::flags`]: it is a node's segment to a client of a shared listener.
pub const TASK_FROM_NODE: u16 = 4;
/// [`Task::flags`]: it was sent as it came (`route-to`).
pub const TASK_ROUTED: u16 = 8;
/// [`Task::flags`]: the acknowledgement number of the answer counts.
pub const TASK_ACKNOWLEDGES: u16 = 16;

impl Task {
    /// Sends a packet, and nothing more as yet.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "offsets and verdicts are small"
    )]
    pub fn send<A: Address, L: Layout<A>>(layout: L, packet: &Packet<A>, outcome: Outcome) -> Self {
        Self {
            ifindex: outcome.ifindex,
            ip: layout.ip() as u16,
            transport: layout.transport() as u16,
            segment: packet.segment,
            verdict: outcome.verdict.index() as u8,
            protocol: layout.protocol(),
            ..Self::default()
        }
    }

    /// What was decided.
    #[inline(always)]
    pub fn outcome(&self) -> Option<Outcome> {
        let verdict = *Verdict::ALL.get(usize::from(self.verdict))?;
        Some(Outcome {
            verdict,
            ifindex: self.ifindex,
        })
    }

    /// Leaves it to the stage that it needs.
    #[inline(always)]
    pub fn leave<A: Address, T: Tables>(self, tables: &T) -> Step {
        tables.leave(self);
        if self.flags & (TASK_FROM_CLIENT | TASK_FROM_NODE) != 0 {
            Step::Go(A::NEGOTIATE_STAGE)
        } else {
            Step::Go(Stage::Complete)
        }
    }
}
