//! The kernel's maps against what ought to be in them, entry by entry.

use std::{collections::BTreeMap, fmt};

use redirector_common::abi::{
    Backend, Listener, MAX_BACKENDS, MAX_LISTENERS, PortFilter, Slot, SlotTable,
};

use super::Agent;
use crate::{
    control::audit::{Audit, Compared, Difference, TableDigest},
    datapath::Maps,
    engine::{digest, ports},
};

impl Agent {
    /// Reads every map that decides where packets go, and compares. The ways back to clients are not among them: they
    /// only speed up what the kernel knows.
    pub(super) fn audit(&mut self) -> anyhow::Result<Audit> {
        // What could not be written yet is no difference that somebody else has made.
        self.try_apply()?;
        let desired = self.relay.desired();
        let maps = &mut self.applied.maps;
        let mut audit = Audit::default();
        let found = maps.endpoints()?;
        compare(
            &mut audit,
            "endpoints",
            &desired.endpoints,
            &found,
            |place| format!("{place:?}"),
        );
        let listeners = listeners(maps)?;
        compare(
            &mut audit,
            "listeners",
            &desired.listeners,
            &listeners,
            u16::to_string,
        );
        let backends = backends(maps)?;
        compare(
            &mut audit,
            "backends",
            &desired.backends,
            &backends,
            u16::to_string,
        );
        let filter = ports(desired.endpoints.keys());
        compare_ports(&mut audit, &filter, &*maps.port_filter()?);
        let mut tables = Vec::new();
        for index in desired.tables.keys() {
            tables.push((*index, maps.slot_table(*index)?));
        }
        let owners = self.relay.table_owners();
        for (index, kernel) in tables {
            let (Some(state), Some(table)) =
                (self.relay.redirects().get(&index), self.relay.table(index))
            else {
                continue;
            };
            let name = format!("slots of {} ({})", state.name, state.family);
            compare_slots(&mut audit, &name, table, kernel.as_deref(), |id| {
                self.name_of(id).unwrap_or_else(|| format!("backend {id}"))
            });
            audit.digests.push(TableDigest {
                redirect: state.name.clone(),
                family: state.family.to_string(),
                computed: digest(table, |id| owners.of(id)),
                kernel: kernel.map(|kernel| digest(&kernel, |id| owners.of(id))),
            });
        }
        Ok(audit)
    }
}

/// Every listener in the map.
pub(super) fn listeners(maps: &Maps) -> anyhow::Result<BTreeMap<u16, Listener>> {
    let mut listeners = BTreeMap::new();
    for id in 1..u16::try_from(MAX_LISTENERS)? {
        let listener = maps.listener(id)?;
        if listener != Listener::default() {
            listeners.insert(id, listener);
        }
    }
    Ok(listeners)
}

/// Every backend in the map.
pub(super) fn backends(maps: &Maps) -> anyhow::Result<BTreeMap<u16, Backend>> {
    let mut backends = BTreeMap::new();
    for id in 1..u16::try_from(MAX_BACKENDS)? {
        let backend = maps.backend(id)?;
        if backend != Backend::default() {
            backends.insert(id, backend);
        }
    }
    Ok(backends)
}

fn compare<K: Ord, V: PartialEq + fmt::Debug>(
    audit: &mut Audit,
    map: &str,
    computed: &BTreeMap<K, V>,
    kernel: &BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
) {
    let mut entries = 0;
    let strangers = kernel.keys().filter(|key| !computed.contains_key(key));
    for key in computed.keys().chain(strangers) {
        entries += 1;
        let (computed, kernel) = (computed.get(key), kernel.get(key));
        if computed != kernel {
            audit.differs(Difference {
                map: map.to_owned(),
                entry: name(key),
                computed: computed.map(|value| format!("{value:?}")),
                kernel: kernel.map(|value| format!("{value:?}")),
            });
        }
    }
    audit.compared.push(Compared {
        map: map.to_owned(),
        entries,
    });
}

fn compare_ports(audit: &mut Audit, computed: &PortFilter, kernel: &PortFilter) {
    let is_set = |filter: &PortFilter, port: u16| {
        let (word, bit) = (usize::from(port >> 6), port & 63);
        filter.words[word] >> bit & 1 == 1
    };
    for port in 0..=u16::MAX {
        let (computed, kernel) = (is_set(computed, port), is_set(kernel, port));
        if computed != kernel {
            audit.differs(Difference {
                map: "port filter".to_owned(),
                entry: format!("port {port}"),
                computed: Some(computed.to_string()),
                kernel: Some(kernel.to_string()),
            });
        }
    }
    audit.compared.push(Compared {
        map: "port filter".to_owned(),
        entries: 1 << 16,
    });
}

fn compare_slots(
    audit: &mut Audit,
    map: &str,
    computed: &SlotTable,
    kernel: Option<&SlotTable>,
    name: impl Fn(u16) -> String,
) {
    let Some(kernel) = kernel else {
        return audit.differs(Difference {
            map: map.to_owned(),
            entry: "the table".to_owned(),
            computed: Some(format!("generation {}", computed.generation)),
            kernel: None,
        });
    };
    let head = |table: &SlotTable| {
        (
            table.key,
            table.split_slots,
            table.generation,
            table.udp_was_until,
        )
    };
    if head(computed) != head(kernel) {
        // The key is a secret, so it is only said to differ.
        let said = |table: &SlotTable, of_key| {
            format!(
                "generation {}, {} slots split, datagrams settled at {}, {of_key} key",
                table.generation, table.split_slots, table.udp_was_until
            )
        };
        let other = if computed.key == kernel.key {
            "the same"
        } else {
            "another"
        };
        audit.differs(Difference {
            map: map.to_owned(),
            entry: "head".to_owned(),
            computed: Some(said(computed, "the")),
            kernel: Some(said(kernel, other)),
        });
    }
    let said = |slot: Slot| {
        let of = |id| match id {
            0 => "no node".to_owned(),
            id => name(id),
        };
        let how = if slot.is_split() { "split" } else { "settled" };
        format!("now {}, was {}, {how}", of(slot.now), of(slot.unrecorded()))
    };
    for (number, (computed, kernel)) in computed.slots.iter().zip(&kernel.slots).enumerate() {
        if computed != kernel {
            audit.differs(Difference {
                map: map.to_owned(),
                entry: format!("slot {number}"),
                computed: Some(said(*computed)),
                kernel: Some(said(*kernel)),
            });
        }
    }
    audit.compared.push(Compared {
        map: map.to_owned(),
        entries: computed.slots.len() as u64,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Box<SlotTable> {
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        table.slots.fill(Slot::settled_on(1));
        table
    }

    fn of_slots(computed: &SlotTable, kernel: Option<&SlotTable>) -> Audit {
        let mut audit = Audit::default();
        compare_slots(&mut audit, "slots", computed, kernel, |id| format!("n{id}"));
        audit
    }

    #[test]
    fn maps_that_agree_have_no_difference() {
        let audit = of_slots(&table(), Some(&table()));
        assert_eq!((audit.differing, audit.compared[0].entries), (0, 65_536));
    }

    #[test]
    fn one_wrong_slot_the_head_and_a_missing_table_are_found() {
        let mut wrong = table();
        wrong.slots[77] = wrong.slots[77].retarget(2);
        let audit = of_slots(&table(), Some(&wrong));
        assert_eq!(audit.differing, 1);
        let difference = &audit.differences[0];
        assert_eq!(difference.entry, "slot 77");
        assert_eq!(
            difference.computed.as_deref(),
            Some("now n1, was n1, settled")
        );
        assert_eq!(difference.kernel.as_deref(), Some("now n2, was n1, split"));
        let mut key = table();
        key.key = [9, 9];
        let audit = of_slots(&table(), Some(&key));
        assert_eq!(audit.differences[0].entry, "head");
        assert!(
            !format!("{audit:?}").contains("9, 9"),
            "the key is a secret"
        );
        assert_eq!(of_slots(&table(), None).differing, 1);
    }

    #[test]
    fn entries_that_differ_are_missing_or_should_not_be_there_are_found() {
        let computed = BTreeMap::from([(1, 'a'), (2, 'b'), (3, 'c')]);
        let kernel = BTreeMap::from([(1, 'a'), (2, 'x'), (4, 'd')]);
        let mut audit = Audit::default();
        compare(&mut audit, "map", &computed, &kernel, i32::to_string);
        let found: Vec<_> = audit
            .differences
            .iter()
            .map(|d| (d.entry.as_str(), d.computed.as_deref(), d.kernel.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("2", Some("'b'"), Some("'x'")),
                ("3", Some("'c'"), None),
                ("4", None, Some("'d'"))
            ]
        );
        assert_eq!(audit.compared[0].entries, 4);
    }

    #[test]
    fn a_port_too_many_is_found() {
        let mut filter: Box<PortFilter> = bytemuck::zeroed_box();
        let empty = filter.clone();
        filter.words[1080 / 64] |= 1 << (1080 % 64);
        let mut audit = Audit::default();
        compare_ports(&mut audit, &empty, &filter);
        assert_eq!(audit.differing, 1);
        assert_eq!(audit.differences[0].entry, "port 1080");
    }

    #[test]
    fn many_differences_are_counted_and_some_of_them_listed() {
        let mut other = table();
        other.slots.fill(Slot::settled_on(2));
        let audit = of_slots(&table(), Some(&other));
        assert_eq!(audit.differing, 65_536);
        assert_eq!(audit.differences.len(), 1000);
    }
}
