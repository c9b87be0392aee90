//! What the program records, of both families: read from the kernel's maps or from the host's, to be compared.

use std::{collections::BTreeMap, fmt::Debug};

use anyhow::{Context as _, bail};
use aya::maps::{HashMap, Map, MapData, MapInfo, MapType};
use bytemuck::Pod;
use redirector_common::{
    abi::{Association, Embryo, Flow, FragmentOwner, Handshake, Pinhole, map},
    address::Address,
    host::HostFamily,
};

/// All records of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<A: Address> {
    /// Recorded flows.
    pub flows: BTreeMap<A::FlowKey, Flow>,
    /// Noted handshakes.
    pub embryos: BTreeMap<A::FlowKey, Embryo>,
    /// Datagrams in fragments.
    pub fragmented: BTreeMap<A::FragmentKey, FragmentOwner>,
    /// Negotiations that are followed.
    pub handshakes: BTreeMap<A::FlowKey, Handshake>,
    /// UDP associations by way of VIPs.
    pub associations: BTreeMap<A::FlowKey, Association>,
    /// Their pinholes, and marks.
    pub pinholes: BTreeMap<A::PinholeKey, Pinhole>,
}

fn copied<'a, K: Copy + Ord + 'a, V: Copy + 'a>(
    entries: impl IntoIterator<Item = (&'a K, &'a V)>,
) -> BTreeMap<K, V> {
    let pairs = entries.into_iter();
    pairs.map(|(key, value)| (*key, *value)).collect()
}

impl<A: Address> From<&HostFamily<A>> for Records<A> {
    fn from(family: &HostFamily<A>) -> Self {
        Self {
            flows: copied(&*family.flows.borrow()),
            embryos: copied(family.embryos.borrow().iter()),
            fragmented: copied(family.fragmented.borrow().iter()),
            handshakes: copied(family.handshakes.borrow().iter()),
            associations: copied(&*family.associations.borrow()),
            pinholes: copied(&*family.pinholes.borrow()),
        }
    }
}

/// A map of the kernel whose keys and values have these lengths, bytes.
pub(super) struct RawMap<const KEY: usize, const VALUE: usize>(
    HashMap<MapData, [u8; KEY], [u8; VALUE]>,
);

impl<const KEY: usize, const VALUE: usize> RawMap<KEY, VALUE> {
    /// The map of this name among those with these ids.
    pub(super) fn find(ids: &[u32], name: &str) -> anyhow::Result<Self> {
        for id in ids {
            let info = MapInfo::from_id(*id)?;
            if info.name_as_str() == Some(name) {
                let data = MapData::from_id(*id)?;
                let map = if info.map_type()? == MapType::LruHash {
                    Map::LruHashMap(data)
                } else {
                    Map::HashMap(data)
                };
                let map = map.try_into();
                return Ok(Self(map.with_context(|| format!("the map {name}"))?));
            }
        }
        bail!("no program uses a map named {name}")
    }

    fn all<K: Pod + Ord, V: Pod>(&self) -> anyhow::Result<BTreeMap<K, V>> {
        let entries = self.0.iter().map(|entry| {
            let (key, value) = entry?;
            Ok((
                bytemuck::pod_read_unaligned(&key),
                bytemuck::pod_read_unaligned(&value),
            ))
        });
        entries.collect()
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        let keys: Vec<[u8; KEY]> = self.0.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| Ok(self.0.remove(key)?))
    }

    fn set<K: Pod, V: Pod>(&mut self, entries: &BTreeMap<K, V>) -> anyhow::Result<()> {
        self.clear()?;
        for (key, value) in entries {
            let key: [u8; KEY] = bytemuck::bytes_of(key).try_into()?;
            let value: [u8; VALUE] = bytemuck::bytes_of(value).try_into()?;
            self.0.insert(key, value, 0)?;
        }
        Ok(())
    }
}

/// The kernel's maps of records of a family, whose keys of flows and of fragments have these lengths, bytes.
pub(super) struct RecordMaps<const FLOW: usize, const FRAGMENT: usize> {
    flows: RawMap<FLOW, 8>,
    embryos: RawMap<FLOW, 8>,
    fragmented: RawMap<FRAGMENT, 8>,
    handshakes: RawMap<FLOW, 16>,
    associations: RawMap<FLOW, 16>,
    pinholes: RawMap<FLOW, 16>,
}

impl RecordMaps<8, 16> {
    /// Those of IPv4.
    pub(super) fn ipv4(ids: &[u32]) -> anyhow::Result<Self> {
        Self::find(
            ids,
            [
                map::FLOWS4,
                map::EMBRYOS4,
                map::FRAGMENTED4,
                map::HANDSHAKES4,
                map::ASSOCIATIONS4,
                map::PINHOLES4,
            ],
        )
    }
}

impl RecordMaps<24, 40> {
    /// Those of IPv6.
    pub(super) fn ipv6(ids: &[u32]) -> anyhow::Result<Self> {
        Self::find(
            ids,
            [
                map::FLOWS6,
                map::EMBRYOS6,
                map::FRAGMENTED6,
                map::HANDSHAKES6,
                map::ASSOCIATIONS6,
                map::PINHOLES6,
            ],
        )
    }
}

impl<const FLOW: usize, const FRAGMENT: usize> RecordMaps<FLOW, FRAGMENT> {
    fn find(ids: &[u32], names: [&str; 6]) -> anyhow::Result<Self> {
        let [
            flows,
            embryos,
            fragmented,
            handshakes,
            associations,
            pinholes,
        ] = names;
        Ok(Self {
            flows: RawMap::find(ids, flows)?,
            embryos: RawMap::find(ids, embryos)?,
            fragmented: RawMap::find(ids, fragmented)?,
            handshakes: RawMap::find(ids, handshakes)?,
            associations: RawMap::find(ids, associations)?,
            pinholes: RawMap::find(ids, pinholes)?,
        })
    }

    /// All that is recorded.
    pub(super) fn read<A: Address>(&self) -> anyhow::Result<Records<A>> {
        Ok(Records {
            flows: self.flows.all()?,
            embryos: self.embryos.all()?,
            fragmented: self.fragmented.all()?,
            handshakes: self.handshakes.all()?,
            associations: self.associations.all()?,
            pinholes: self.pinholes.all()?,
        })
    }

    /// Puts these in the place of what is recorded.
    pub(super) fn write<A: Address>(&mut self, records: &Records<A>) -> anyhow::Result<()> {
        self.flows.set(&records.flows)?;
        self.embryos.set(&records.embryos)?;
        self.fragmented.set(&records.fragmented)?;
        self.handshakes.set(&records.handshakes)?;
        self.associations.set(&records.associations)?;
        self.pinholes.set(&records.pinholes)
    }
}
