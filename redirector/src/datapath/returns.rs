//! The maps that hold the ways back to clients, of both families.

use std::{collections::BTreeMap, net::Ipv6Addr};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use bytemuck::TransparentWrapper as _;
use redirector_common::abi::{NextHop, TrieNode, TrieRoot, map};

use super::{
    maps::{Buffers, MapsError, created, failed, remove_any, take},
    plain::Plain,
};
use crate::family::Family;

type RootMap = Array<MapData, Plain<TrieRoot>>;

/// Tries of return routes, and what they refer to.
pub struct Returns {
    trie4: TrieMaps,
    trie6: TrieMaps,
    hops: Array<MapData, Plain<NextHop>>,
    neighbours: HashMap<MapData, Plain<[u8; 16]>, Plain<NextHop>>,
}

/// The trie of one family.
struct TrieMaps {
    root_name: &'static str,
    nodes_name: &'static str,
    roots: ArrayOfMaps<MapData, RootMap>,
    root: Buffers<RootMap>,
    nodes: Array<MapData, Plain<TrieNode>>,
}

impl TrieMaps {
    fn take(
        ebpf: &mut Ebpf,
        root_name: &'static str,
        nodes_name: &'static str,
    ) -> Result<Self, MapsError> {
        Ok(Self {
            root_name,
            nodes_name,
            roots: take(ebpf, root_name)?,
            root: Buffers::default(),
            nodes: take(ebpf, nodes_name)?,
        })
    }

    fn set_node(&mut self, index: u16, node: &TrieNode) -> Result<(), MapsError> {
        self.nodes
            .set(u32::from(index), Plain::wrap_ref(node), 0)
            .map_err(failed("write", self.nodes_name))
    }

    fn set_root(&mut self, root: &TrieRoot) -> Result<(), MapsError> {
        let make = || created(self.root_name);
        let place = |spare: &mut RootMap| {
            spare
                .set(0, Plain::wrap_ref(root), 0)
                .and_then(|()| self.roots.set(0, spare, 0))
                .map_err(failed("write", self.root_name))
        };
        self.root.exchange(make, place)
    }
}

impl Returns {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapsError> {
        Ok(Self {
            trie4: TrieMaps::take(ebpf, map::RETURN_ROOT, map::RETURN_NODES)?,
            trie6: TrieMaps::take(ebpf, map::RETURN_ROOT6, map::RETURN_NODES6)?,
            hops: take(ebpf, map::RETURN_HOPS)?,
            neighbours: take(ebpf, map::NEIGHBOURS6)?,
        })
    }

    fn trie(&mut self, family: Family) -> &mut TrieMaps {
        match family {
            Family::V4 => &mut self.trie4,
            Family::V6 => &mut self.trie6,
        }
    }

    /// Writes a child of a family's trie. It must not be reachable from the root in use.
    ///
    /// # Errors
    ///
    /// The system call failed; so for every method here.
    pub fn set_node(
        &mut self,
        family: Family,
        index: u16,
        node: &TrieNode,
    ) -> Result<(), MapsError> {
        self.trie(family).set_node(index, node)
    }

    /// Writes a next hop. It must not be reachable from a root in use.
    ///
    /// # Errors
    ///
    /// See [`Returns::set_node`].
    pub fn set_hop(&mut self, index: u16, hop: &NextHop) -> Result<(), MapsError> {
        self.hops
            .set(u32::from(index), Plain::wrap_ref(hop), 0)
            .map_err(failed("write", map::RETURN_HOPS))
    }

    /// Puts a root of a family's trie in place, all at once.
    ///
    /// # Errors
    ///
    /// See [`Returns::set_node`]; the old root stays in place then.
    pub fn set_root(&mut self, family: Family, root: &TrieRoot) -> Result<(), MapsError> {
        self.trie(family).set_root(root)
    }

    /// The on-link IPv6 neighbours.
    ///
    /// # Errors
    ///
    /// See [`Returns::set_node`].
    pub fn neighbours(&self) -> Result<BTreeMap<Ipv6Addr, NextHop>, MapsError> {
        let entries = self
            .neighbours
            .iter()
            .map(|entry| entry.map(|(address, hop)| (address.0.into(), hop.0)));
        entries
            .collect::<Result<_, _>>()
            .map_err(failed("read", map::NEIGHBOURS6))
    }

    /// Adds or replaces an on-link IPv6 neighbour.
    ///
    /// # Errors
    ///
    /// See [`Returns::set_node`].
    pub fn set_neighbour(&mut self, address: Ipv6Addr, hop: &NextHop) -> Result<(), MapsError> {
        self.neighbours
            .insert(Plain(address.octets()), Plain::wrap_ref(hop), 0)
            .map_err(failed("write", map::NEIGHBOURS6))
    }

    /// Removes an on-link IPv6 neighbour, if it is there.
    ///
    /// # Errors
    ///
    /// See [`Returns::set_node`].
    pub fn remove_neighbour(&mut self, address: Ipv6Addr) -> Result<(), MapsError> {
        remove_any(
            &mut self.neighbours,
            &Plain(address.octets()),
            map::NEIGHBOURS6,
        )
    }
}
