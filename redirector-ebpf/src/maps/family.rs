//! The maps of one family.
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use redirector_common::{
    abi::{
        Association, Embryo, Endpoint, Flow, FragmentOwner, Handshake, NextHop, Pinhole,
        TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP, TRIE_LOCAL, TRIE_NEIGHBOUR,
    },
    address::Address,
    parse::IpPacket,
    tables::{FamilyTables, ReturnHop, Tables as _},
    verdict::Event,
    wire::Ethernet,
};

use crate::context::Context;

use super::{
    ASSOCIATIONS4, ASSOCIATIONS6, EMBRYOS4, EMBRYOS6, ENDPOINTS, FLOWS4, FLOWS6, FRAGMENTED4,
    FRAGMENTED6, HANDSHAKES4, HANDSHAKES6, HELD, Held, IP4, IP6, KernelTables, PINHOLES4,
    PINHOLES6, RETURN_HOPS, only::Only as _, ways::Mirrored as _,
};

/// Whether an insertion failed only because there is an entry with this key.
#[inline(always)]
fn is_known(error: i32) -> bool {
    const EEXIST: i32 = 17;
    error == -EEXIST
}

macro_rules! family_tables {
    ($address:ty, $flows:ident, $embryos:ident, $fragmented:ident, $handshakes:ident,
     $associations:ident, $pinholes:ident, $ip:ident, $hold:expr) => {
        impl<C: Context> FamilyTables<$address> for KernelTables<'_, C> {
            #[inline(always)]
            fn hold<'a, V: Copy>(
                &'a self,
                room: &'a mut Option<V>,
                make: impl FnOnce() -> Option<V>,
            ) -> Option<&'a V> {
                if !$hold {
                    *room = make();
                    return room.as_ref();
                }
                const { assert!(size_of::<V>() <= size_of::<Held>() && align_of::<V>() <= 8) };
                // The place first: what is read before a call has to be kept on the stack meanwhile.
                let held = HELD.only_ptr()?.cast::<V>();
                // SAFETY: the entry of this CPU has room for the value, and nothing else uses it meanwhile.
                unsafe { held.write(make()?) };
                // SAFETY: just written.
                Some(unsafe { &*held })
            }

            #[inline(always)]
            fn leave_ip(&self, ip: IpPacket<$address>) {
                if let Some(left) = $ip.only_ptr() {
                    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
                    unsafe { left.write(ip) };
                }
            }

            #[inline(always)]
            fn left_ip<'a>(
                &'a self,
                _room: &'a mut Option<IpPacket<$address>>,
            ) -> Option<&'a IpPacket<$address>> {
                // SAFETY: the entry of this CPU, which the stage before has written.
                $ip.only_ptr().map(|left| unsafe { &*left })
            }

            #[inline(always)]
            fn endpoint(&self, key: &<$address as Address>::EndpointKey) -> Option<&Endpoint> {
                let table = ENDPOINTS.only()?.only()?;
                table.find(<$address>::endpoint_words(key))
            }

            #[inline(always)]
            fn visit_flow<R>(
                &self,
                key: &<$address as Address>::FlowKey,
                visit: impl FnOnce(&mut Flow) -> R,
            ) -> Option<R> {
                $flows.get_ptr_mut(key).map(|flow| {
                    // SAFETY: two CPUs may write the same entry at once; each field is written whole, and the
                    // worst outcome is that one of two equally fresh values stays.
                    visit(unsafe { &mut *flow })
                })
            }

            #[inline(always)]
            fn record_flow(&self, key: &<$address as Address>::FlowKey, flow: Flow) -> bool {
                $flows.insert(key, flow, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn record_new_flow(&self, key: &<$address as Address>::FlowKey, flow: Flow) -> bool {
                match $flows.insert(key, flow, u64::from(BPF_NOEXIST)) {
                    Ok(()) => true,
                    Err(error) => is_known(error),
                }
            }

            #[inline(always)]
            fn embryo(&self, key: &<$address as Address>::FlowKey) -> Option<Embryo> {
                // SAFETY: copied at once; an entry reused meanwhile gives another handshake's numbers,
                // which the client's acknowledgement does not match.
                unsafe { $embryos.get(key).copied() }
            }

            #[inline(always)]
            fn note_embryo(&self, key: &<$address as Address>::FlowKey, embryo: Embryo) {
                // Evicts the oldest when full; can only fail under memory pressure, as if evicted at once.
                let _ = $embryos.insert(key, embryo, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn forget_embryo(&self, key: &<$address as Address>::FlowKey) {
                // It may have been evicted meanwhile, which is just as well.
                let _ = $embryos.remove(key);
            }

            #[inline(always)]
            fn fragment_owner(
                &self,
                key: &<$address as Address>::FragmentKey,
            ) -> Option<FragmentOwner> {
                // SAFETY: copied at once; an entry reused meanwhile sends this one fragment astray.
                unsafe { $fragmented.get(key).copied() }
            }

            #[inline(always)]
            fn note_fragment(
                &self,
                key: &<$address as Address>::FragmentKey,
                owner: FragmentOwner,
            ) {
                // Evicts the oldest when full; its later fragments are then dropped.
                let _ = $fragmented.insert(key, owner, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn handshake(&self, key: &<$address as Address>::FlowKey) -> Option<Handshake> {
                // SAFETY: copied at once; of an entry reused meanwhile the sequence numbers do not fit.
                unsafe { $handshakes.get(key).copied() }
            }

            #[inline(always)]
            fn note_handshake(&self, key: &<$address as Address>::FlowKey, handshake: Handshake) {
                // Evicts the oldest when full; what it negotiates is then not understood.
                let _ = $handshakes.insert(key, handshake, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn forget_handshake(&self, key: &<$address as Address>::FlowKey) {
                // It may have been evicted meanwhile, which is just as well.
                let _ = $handshakes.remove(key);
            }

            #[inline(always)]
            fn association(&self, key: &<$address as Address>::FlowKey) -> Option<Association> {
                // SAFETY: copied at once; an entry reused meanwhile is compared before it is believed.
                unsafe { $associations.get(key).copied() }
            }

            #[inline(always)]
            fn note_association(
                &self,
                key: &<$address as Address>::FlowKey,
                association: Association,
            ) -> bool {
                $associations
                    .insert(key, association, u64::from(BPF_ANY))
                    .is_ok()
            }

            #[inline(always)]
            fn forget_association(&self, key: &<$address as Address>::FlowKey) {
                // The agent may have been faster.
                let _ = $associations.remove(key);
            }

            #[inline(always)]
            fn pinhole(&self, key: &<$address as Address>::PinholeKey) -> Option<Pinhole> {
                let epoch = self.epoch();
                $pinholes.get_ptr_mut(key).map(|pinhole| {
                    // SAFETY: two CPUs may write the time at once; it is written whole, and either will do.
                    let pinhole = unsafe { &mut *pinhole };
                    if pinhole.seen != epoch {
                        pinhole.seen = epoch;
                    }
                    *pinhole
                })
            }

            #[inline(always)]
            fn open_pinhole(
                &self,
                key: &<$address as Address>::PinholeKey,
                pinhole: Pinhole,
            ) -> bool {
                $pinholes.insert(key, pinhole, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn close_pinhole(&self, key: &<$address as Address>::PinholeKey) {
                // The agent may have been faster.
                let _ = $pinholes.remove(key);
            }

            #[inline(always)]
            fn return_hop(&self, client: $address, vip: $address) -> ReturnHop {
                match client.entry() {
                    TRIE_LOCAL => ReturnHop::Local,
                    entry @ TRIE_FIRST_HOP..TRIE_CHILD => RETURN_HOPS
                        .get(u32::from(entry - TRIE_FIRST_HOP))
                        .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop)),
                    entry => {
                        if entry == TRIE_NEIGHBOUR
                            && let Some(hop) = client.neighbour()
                        {
                            return ReturnHop::Via(*hop);
                        }
                        self.ask_kernel(client, vip)
                    }
                }
            }

            #[inline(always)]
            fn mirrored_hop(&self, client: $address) -> Option<&NextHop> {
                match client.entry() {
                    entry @ TRIE_FIRST_HOP..TRIE_CHILD => {
                        RETURN_HOPS.get(u32::from(entry - TRIE_FIRST_HOP))
                    }
                    TRIE_NEIGHBOUR => client.neighbour(),
                    _ => None,
                }
            }

            #[inline(always)]
            fn note_way_back(&self, client: $address, from: &Ethernet) {
                let mirrored = match client.entry() {
                    TRIE_ASK_KERNEL => false,
                    TRIE_NEIGHBOUR => client.neighbour().is_some(),
                    _ => true,
                };
                if !mirrored {
                    client.note_way(NextHop::back(from, self.ingress()));
                    self.count(Event::WayBackNoted);
                }
            }
        }
    };
}

family_tables!(
    [u8; 4],
    FLOWS4,
    EMBRYOS4,
    FRAGMENTED4,
    HANDSHAKES4,
    ASSOCIATIONS4,
    PINHOLES4,
    IP4,
    false
);
family_tables!(
    [u8; 16],
    FLOWS6,
    EMBRYOS6,
    FRAGMENTED6,
    HANDSHAKES6,
    ASSOCIATIONS6,
    PINHOLES6,
    IP6,
    true
);
