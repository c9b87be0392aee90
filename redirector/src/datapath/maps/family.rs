//! The maps of one family.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use bytemuck::TransparentWrapper as _;
use redirector_common::{
    abi::{Association, Flow, Pinhole, map},
    address::Address,
};

use super::{MapsError, WANTED_AT_ONCE, failed, optional, remove_any, take};
use crate::datapath::plain::Plain;

/// Names of the maps of one family.
pub(super) struct Names {
    flows: &'static str,
    associations: &'static str,
    pinholes: &'static str,
    wanted: &'static str,
}

/// Those of IPv4.
pub(super) const IPV4: Names = Names {
    flows: map::FLOWS4,
    associations: map::ASSOCIATIONS4,
    pinholes: map::PINHOLES4,
    wanted: map::WANTED4,
};

/// Those of IPv6.
pub(super) const IPV6: Names = Names {
    flows: map::FLOWS6,
    associations: map::ASSOCIATIONS6,
    pinholes: map::PINHOLES6,
    wanted: map::WANTED6,
};

/// A hash map of the kernel whose keys and values are ABI structures.
pub(super) struct Table<K: bytemuck::Pod, V: bytemuck::Pod> {
    name: &'static str,
    map: HashMap<MapData, Plain<K>, Plain<V>>,
}

impl<K: bytemuck::Pod, V: bytemuck::Pod + PartialEq> Table<K, V> {
    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, MapsError> {
        let map = take(ebpf, name)?;
        Ok(Self { name, map })
    }

    /// All entries, in no order. Entries that come or go meanwhile may be missed.
    pub(super) fn all<N: From<K>, C: FromIterator<(N, V)>>(&self) -> Result<C, MapsError> {
        let entries = self.map.iter();
        let entries = entries.map(|entry| entry.map(|(key, value)| (key.0.into(), value.0)));
        entries
            .collect::<Result<_, _>>()
            .map_err(failed("read", self.name))
    }

    /// One entry.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, MapsError> {
        let value = optional(self.map.get(Plain::wrap_ref(key), 0));
        Ok(value
            .map_err(failed("read", self.name))?
            .map(|value| value.0))
    }

    /// Adds or replaces an entry.
    pub(super) fn set(&mut self, key: &K, value: &V) -> Result<(), MapsError> {
        self.map
            .insert(Plain::wrap_ref(key), Plain::wrap_ref(value), 0)
            .map_err(failed("write", self.name))
    }

    /// Removes an entry, if it is there.
    pub(super) fn remove(&mut self, key: &K) -> Result<(), MapsError> {
        remove_any(&mut self.map, Plain::wrap_ref(key), self.name)
    }

    /// Removes an entry if it is still as it was read.
    pub(super) fn remove_if(&mut self, key: &K, read: &V) -> Result<(), MapsError> {
        if self.get(key)?.as_ref() == Some(read) {
            self.remove(key)?;
        }
        Ok(())
    }
}

/// The maps of the family whose addresses are `A`.
pub(super) struct FamilyMaps<A: Address> {
    pub(super) flows: Table<A::FlowKey, Flow>,
    pub(super) associations: Table<A::FlowKey, Association>,
    pub(super) pinholes: Table<A::PinholeKey, Pinhole>,
    wanted: HashMap<MapData, Plain<A>, u32>,
    wanted_name: &'static str,
}

impl<A: Address> FamilyMaps<A> {
    pub(super) fn take(ebpf: &mut Ebpf, names: &Names) -> Result<Self, MapsError> {
        Ok(Self {
            flows: Table::take(ebpf, names.flows)?,
            associations: Table::take(ebpf, names.associations)?,
            pinholes: Table::take(ebpf, names.pinholes)?,
            wanted: take(ebpf, names.wanted)?,
            wanted_name: names.wanted,
        })
    }

    /// Takes neighbours that the data path asked for, not necessarily all.
    pub(super) fn take_wanted(&mut self) -> Result<Vec<(A, u32)>, MapsError> {
        // An iteration begins anew where the data path has just evicted the entry that it stands at.
        let wanted = self
            .wanted
            .iter()
            .take(WANTED_AT_ONCE)
            .map(|entry| entry.map(|(address, ifindex)| (address.0, ifindex)));
        let wanted: Vec<_> = wanted
            .collect::<Result<_, _>>()
            .map_err(failed("read", self.wanted_name))?;
        for (address, _) in &wanted {
            remove_any(&mut self.wanted, Plain::wrap_ref(address), self.wanted_name)?;
        }
        Ok(wanted)
    }
}
