//! The ways back to clients: the mirrored routes, and the kernel's own answer where they have none.
#![expect(
    unsafe_code,
    reason = "helpers and values of maps are behind raw pointers"
)]

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup,
    },
    helpers::bpf_fib_lookup,
};
use redirector_common::{
    abi::{NextHop, TRIE_ASK_KERNEL, TrieEntry},
    address::Address,
    tables::{ReturnHop, Tables as _},
    trie,
    verdict::Event,
};

use crate::context::Context;

use super::{
    KernelTables, NEIGHBOURS6, QUERY, RETURN_NODES, RETURN_NODES6, RETURN_ROOT, RETURN_ROOT6,
    TX_PORTS, WANTED4, WANTED6, WAYS_BACK4, WAYS_BACK6, only::Only as _,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What the mirrored routes say about the way to a client.
pub(super) trait Mirrored: Address {
    fn entry(self) -> TrieEntry;
    fn neighbour(self) -> Option<&'static NextHop>;
    fn from_query(query: &FibLookup) -> Self;
    fn into_query(self, source: Self, query: &mut FibLookup);
    fn want(self, ifindex: u32);
    fn way_back(self) -> Option<NextHop>;
    fn note_way(self, hop: NextHop);
}

macro_rules! mirrored {
    ($address:ty, $family:ident, $source:ident . $source_field:ident, $destination:ident . $destination_field:ident,
     $root:ident, $nodes:ident, $wanted:ident, $ways:ident, $neighbour:expr) => {
        impl Mirrored for $address {
            #[inline(always)]
            fn entry(self) -> TrieEntry {
                $root
                    .only()
                    .and_then(|root| root.only())
                    .map_or(TRIE_ASK_KERNEL, |root| {
                        trie::lookup(root, |index| $nodes.get(u32::from(index)), self)
                    })
            }

            #[inline(always)]
            fn neighbour(self) -> Option<&'static NextHop> {
                let neighbour: fn($address) -> Option<&'static NextHop> = $neighbour;
                neighbour(self)
            }

            #[inline(always)]
            fn from_query(query: &FibLookup) -> Self {
                // SAFETY: any bytes are an address.
                bytemuck::cast(unsafe { query.$destination.$destination_field })
            }

            #[inline(always)]
            fn into_query(self, source: Self, query: &mut FibLookup) {
                query.family = $family;
                query.$source.$source_field = bytemuck::cast(source);
                query.$destination.$destination_field = bytemuck::cast(self);
            }

            #[inline(always)]
            fn want(self, ifindex: u32) {
                // Best effort: the agent asks the neighbour who it is; a full map forgets the oldest.
                let _ = $wanted.insert(&self, ifindex, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn way_back(self) -> Option<NextHop> {
                // SAFETY: copied at once; an entry reused meanwhile is another client's way, on which
                // this one packet is lost.
                unsafe { $ways.get(&self) }.copied()
            }

            #[inline(always)]
            fn note_way(self, hop: NextHop) {
                // Best effort: without it the client's first answer comes a second later.
                let _ = $ways.insert(&self, hop, u64::from(BPF_ANY));
            }
        }
    };
}

mirrored!(
    [u8; 4],
    AF_INET,
    __bindgen_anon_3.ipv4_src,
    __bindgen_anon_4.ipv4_dst,
    RETURN_ROOT,
    RETURN_NODES,
    WANTED4,
    WAYS_BACK4,
    |_| None
);
mirrored!(
    [u8; 16],
    AF_INET6,
    __bindgen_anon_3.ipv6_src,
    __bindgen_anon_4.ipv6_dst,
    RETURN_ROOT6,
    RETURN_NODES6,
    WANTED6,
    WAYS_BACK6,
    // SAFETY: any bytes are a next hop; that of an entry reused meanwhile is another neighbour, on whom this one packet is lost.
    |address| unsafe { NEIGHBOURS6.get(address) }
);

impl<C: Context> KernelTables<'_, C> {
    /// The kernel's own answer, where the mirrored routes have none.
    #[inline(always)]
    pub(super) fn ask_kernel<A: Mirrored>(&self, client: A, vip: A) -> ReturnHop {
        let Some(query) = QUERY.only_ptr() else {
            return ReturnHop::Unknown;
        };
        // SAFETY: the entry of this CPU, which nothing else uses while the program runs.
        let query = unsafe { &mut *query };
        // SAFETY: plain old data, for which zero is a valid value.
        *query = unsafe { core::mem::zeroed() };
        query.ifindex = self.ingress();
        client.into_query(vip, query);
        self.answer::<A>(query)
    }

    /// The answer to `query`. A function of its own, since it is needed seldom.
    #[inline(never)]
    fn answer<A: Mirrored>(&self, query: &mut FibLookup) -> ReturnHop {
        self.count(Event::ReturnHopAsked);
        let client = A::from_query(query);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "64 bytes"
        )]
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: the helper gets its own context and a query of the size it is told.
        let answer = unsafe {
            bpf_fib_lookup(
                self.context.as_ptr(),
                core::ptr::from_mut(query).cast(),
                size,
                0,
            )
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a negative answer, an error, is none of the constants either way"
        )]
        let answer = answer as u32;
        match answer {
            BPF_FIB_LKUP_RET_SUCCESS if TX_PORTS.get_ifindex(query.ifindex).is_none() => {
                // An interface that the program is not on.
                ReturnHop::Unknown
            }
            BPF_FIB_LKUP_RET_SUCCESS => {
                ReturnHop::Via(NextHop::new(query.dmac, query.smac, query.ifindex))
            }
            BPF_FIB_LKUP_RET_NOT_FWDED => ReturnHop::Local,
            BPF_FIB_LKUP_RET_NO_NEIGH => {
                // The helper has put the gateway's address, if there is one, in place of the client's.
                let neighbour = A::from_query(query);
                neighbour.want(query.ifindex);
                if !neighbour.is(client) {
                    return ReturnHop::Unknown;
                }
                client
                    .way_back()
                    .filter(|hop| hop.ifindex == query.ifindex)
                    .map_or(ReturnHop::Unknown, ReturnHop::Via)
            }
            _ => ReturnHop::Unknown,
        }
    }
}
