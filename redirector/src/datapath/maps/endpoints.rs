//! The table of endpoints: made anew for each change, and put in place at once.

use std::{collections::BTreeMap, path::Path, thread};

use anyhow::ensure;
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, MapData},
};
use bytemuck::TransparentWrapper as _;
use redirector_common::{
    abi::{
        ENDPOINT_CELLS, Endpoint, EndpointEntry, EndpointTable, EndpointWords, MAX_ENDPOINTS,
        NO_ENDPOINT, cell_of, map,
    },
    hash::mix,
};

use super::{Buffers, MapsError, failed, inner::Inner, take};
use crate::{datapath::plain::Plain, names::Place};

type TableMap = Array<MapData, Plain<EndpointTable>>;

/// The outer map, and the inner ones that this agent has opened.
pub(super) struct EndpointMap {
    outer: ArrayOfMaps<MapData, TableMap>,
    inner: Inner,
    /// Opened when they are first needed: the maps are taken before those of another version are copied to them.
    buffers: Option<Buffers<TableMap>>,
}

impl EndpointMap {
    pub(super) fn take(ebpf: &mut Ebpf, directory: Option<&Path>) -> Result<Self, MapsError> {
        Ok(Self {
            inner: Inner::of(ebpf, map::ENDPOINTS, directory)?,
            outer: take(ebpf, map::ENDPOINTS)?,
            buffers: None,
        })
    }

    /// The tables, with what an earlier agent has left.
    fn buffers(&mut self) -> Result<&mut Buffers<TableMap>, MapsError> {
        match &mut self.buffers {
            Some(buffers) => Ok(buffers),
            unknown @ None => Ok(unknown.insert(self.inner.adopt(&self.outer, 0)?)),
        }
    }

    /// What is in the table that packets read.
    pub(super) fn all(&mut self) -> Result<BTreeMap<Place, Endpoint>, MapsError> {
        let Some(table) = &self.buffers()?.in_use else {
            return Ok(BTreeMap::new());
        };
        // aya gives values by way of the stack, unoptimised many times over, and this one is larger than a thread's
        // usually is.
        let read = thread::scope(|scope| {
            let deep = thread::Builder::new().stack_size(32 * size_of::<EndpointTable>());
            let read = deep.spawn_scoped(scope, || Ok(entries(&table.get(&0, 0)?.0)));
            let read = read?.join();
            read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        read.map_err(failed("read", map::ENDPOINTS))
    }

    /// Puts a table of these endpoints in place.
    pub(super) fn set(&mut self, endpoints: &BTreeMap<Place, Endpoint>) -> Result<(), MapsError> {
        let table = build(endpoints).map_err(|cause| MapsError {
            action: "fill",
            name: map::ENDPOINTS,
            cause,
        })?;
        let mut buffers = std::mem::take(self.buffers()?);
        let make = || self.inner.make(0);
        let place = |spare: &mut TableMap| {
            spare
                .set(0, Plain::wrap_ref(&*table), 0)
                .and_then(|()| self.outer.set(0, spare, 0))
                .map_err(failed("write", map::ENDPOINTS))
        };
        let exchanged = buffers.exchange(make, place);
        self.buffers = Some(buffers);
        exchanged
    }
}

/// What is in a table.
fn entries(table: &EndpointTable) -> BTreeMap<Place, Endpoint> {
    let places = table.cells.iter().filter(|place| **place != 0);
    let entries = places.filter_map(|place| table.entries.get(usize::from(*place)));
    entries
        .map(|entry| (Place::from(entry.key), entry.endpoint))
        .collect()
}

/// Multipliers that are tried. With a cell in four taken the first nearly always do.
const ATTEMPTS: u64 = 64;

/// The table of these endpoints. It is the same whenever they are.
fn build(endpoints: &BTreeMap<Place, Endpoint>) -> anyhow::Result<Box<EndpointTable>> {
    ensure!(
        endpoints.len() < MAX_ENDPOINTS as usize,
        "there are {} addresses and ports of listeners and nodes, and room for {}",
        endpoints.len(),
        MAX_ENDPOINTS - 1
    );
    let mut table: Box<EndpointTable> = bytemuck::zeroed_box();
    table.entries[0].key = NO_ENDPOINT;
    for (entry, (place, endpoint)) in table.entries[1..].iter_mut().zip(endpoints) {
        *entry = EndpointEntry {
            key: place.words(),
            endpoint: *endpoint,
            reserved: 0,
        };
    }
    let keys: Vec<_> = (1..)
        .zip(&table.entries[1..=endpoints.len()])
        .map(|(place, entry)| (place, entry.key))
        .collect();
    for attempt in 0..ATTEMPTS {
        let odd = |way: u64| [0, 1, 2].map(|word| mix([attempt, way], word) | 1);
        let multipliers = [odd(0), odd(1)];
        if let Some(cells) = place_all(&keys, &multipliers) {
            table.multipliers = multipliers;
            table.cells.copy_from_slice(&cells);
            return Ok(table);
        }
    }
    anyhow::bail!("none of {ATTEMPTS} ways to place them has room for all")
}

/// Puts each key into one of its two cells, the one that is there into its other one, and so on. `None` if that goes
/// round in circles.
fn place_all(keys: &[(u16, EndpointWords)], multipliers: &[EndpointWords; 2]) -> Option<Vec<u16>> {
    const MOST_MOVES: usize = 500;
    let mut cells = vec![0_u16; ENDPOINT_CELLS];
    for (place, key) in keys {
        let (mut place, mut key) = (*place, *key);
        let mut cell = cell_of(&multipliers[0], key);
        let mut moves = 0;
        loop {
            place = std::mem::replace(&mut cells[cell], place);
            if place == 0 {
                break;
            }
            if moves == MOST_MOVES {
                return None;
            }
            moves += 1;
            key = keys[usize::from(place) - 1].1;
            let [first, second] = multipliers.each_ref().map(|way| cell_of(way, key));
            cell = if cell == first { second } else { first };
        }
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use redirector_common::wire::protocol;

    use super::*;

    fn place(address: impl Into<IpAddr>, port: u16, protocol: u8) -> Place {
        Place {
            address: address.into(),
            port,
            protocol,
        }
    }

    /// Each with another endpoint.
    fn numbered(places: impl IntoIterator<Item = Place>) -> BTreeMap<Place, Endpoint> {
        let endpoint = |backend| Endpoint {
            backend,
            ..Endpoint::default()
        };
        places.into_iter().zip((1..).map(endpoint)).collect()
    }

    #[test]
    fn as_many_as_there_is_room_for_are_found_and_no_others() {
        let all = (0..MAX_ENDPOINTS - 1).map(|number| {
            let [.., a, b] = number.to_be_bytes();
            match number % 4 {
                0 => place([10, 0, a, b], 1080, protocol::TCP),
                1 => place([10, 0, a, b], 1080, protocol::UDP),
                2 => place(Ipv6Addr::from(0xfd << 120 | u128::from(number)), 1080, 6),
                _ => Place::address(Ipv4Addr::new(10, 0, a, b).into()),
            }
        });
        let endpoints = numbered(all);
        let table = build(&endpoints).unwrap();
        for (place, endpoint) in &endpoints {
            assert_eq!(table.find(place.words()), Some(endpoint), "{place:?}");
            for other in [
                Place {
                    port: 1081,
                    ..*place
                },
                Place {
                    protocol: 1,
                    ..*place
                },
            ] {
                assert_eq!(table.find(other.words()), None, "{other:?}");
            }
        }
        let one_more = place([192, 0, 2, 1], 1080, protocol::TCP);
        let mut too_many = endpoints;
        too_many.insert(one_more, Endpoint::default());
        let error = build(&too_many).err().unwrap().to_string();
        assert!(error.contains("16384 addresses"), "{error}");
    }

    #[test]
    fn families_are_told_apart_and_nothing_is_found_in_an_empty_table() {
        // The bytes of the one are those of the other.
        let ipv4 = place([0x20, 0x01, 0x0d, 0xb8], 0x0600, 0);
        let ipv6 = Place::address(Ipv6Addr::new(0x2001, 0xdb8, 0x0600, 0, 0, 0, 0, 0).into());
        let unspecified = Place::address(Ipv6Addr::UNSPECIFIED.into());
        let all = [ipv4, ipv6, unspecified];
        for present in all {
            let endpoints = numbered([present]);
            let table = build(&endpoints).unwrap();
            for asked in all {
                assert_eq!(table.find(asked.words()).is_some(), asked == present);
            }
            let read_back = Place::from(present.words());
            assert_eq!(read_back, present);
            assert_eq!(entries(&table), endpoints);
        }
        let empty = build(&BTreeMap::new()).unwrap();
        assert!(all.iter().all(|place| empty.find(place.words()).is_none()));
    }
}
