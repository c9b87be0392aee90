use proptest::prelude::*;

use super::super::{Member, Shape};
use super::{MAGIC, maps};

/// Type information that is put together word by word.
#[derive(Default)]
struct Builder {
    types: Vec<u32>,
    names: Vec<u8>,
    count: u32,
}

const fn kind(kind: u32, count: u32) -> u32 {
    kind << 24 | count
}

impl Builder {
    fn new() -> Self {
        Self {
            names: vec![0],
            ..Self::default()
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = u32::try_from(self.names.len()).unwrap();
        self.names.extend(name.bytes());
        self.names.push(0);
        at
    }

    fn add(&mut self, name: &str, info: u32, size_or_type: u32, more: &[u32]) -> u32 {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.types.extend([name, info, size_or_type]);
        self.types.extend(more);
        self.count += 1;
        self.count
    }

    fn integer(&mut self, size: u32) -> u32 {
        self.add("int", kind(1, 0), size, &[size * 8])
    }

    fn pointer(&mut self, to: u32) -> u32 {
        self.add("", kind(2, 0), to, &[])
    }

    fn array(&mut self, of: u32, count: u32) -> u32 {
        self.add("", kind(3, 0), 0, &[of, of, count])
    }

    fn structure(&mut self, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut more = Vec::new();
        for (name, of, byte) in members {
            more.extend([self.name(name), *of, byte * 8]);
        }
        let count = u32::try_from(members.len()).unwrap();
        self.add("s", kind(4, count), size, &more)
    }

    fn number(&mut self, of: u32, number: u32) -> u32 {
        let array = self.array(of, number);
        self.pointer(array)
    }

    fn variable(&mut self, name: &str, of: u32) -> u32 {
        self.add(name, kind(14, 0), of, &[1])
    }

    fn maps(&mut self, variables: &[u32]) {
        let more: Vec<u32> = variables.iter().flat_map(|one| [*one, 0, 40]).collect();
        let count = u32::try_from(variables.len()).unwrap();
        self.add(".maps", kind(15, count), 0, &more);
    }

    fn bytes(&self) -> Vec<u8> {
        let types: Vec<u8> = self
            .types
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let length = |of: &[u8]| u32::try_from(of.len()).unwrap();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, length(&types), length(&types), length(&self.names)] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(&self.names);
        bytes
    }
}

fn flows() -> Builder {
    let mut btf = Builder::new();
    let (u16, u32) = (btf.integer(2), btf.integer(4));
    let port = btf.array(u16, 2);
    let key = btf.structure(4, &[("port", port, 0)]);
    let value = btf.structure(8, &[("backend", u16, 0), ("seen", u32, 4)]);
    let (key, value) = (btf.pointer(key), btf.pointer(value));
    let entries = btf.number(u32, 7);
    let (kind, outer_kind) = (btf.number(u32, 9), btf.number(u32, 12));
    let map = btf.structure(
        32,
        &[
            ("type", kind, 24),
            ("key", key, 0),
            ("value", value, 8),
            ("max_entries", entries, 16),
        ],
    );
    let inner = btf.pointer(map);
    let values = btf.array(inner, 0);
    let (index, outer_entries) = (btf.pointer(u32), btf.number(u32, 256));
    let outer = btf.structure(
        40,
        &[
            ("type", outer_kind, 32),
            ("key", index, 0),
            ("value", index, 8),
            ("max_entries", outer_entries, 16),
            ("values", values, 24),
        ],
    );
    let (flows, tables) = (btf.variable("FLOWS", map), btf.variable("TABLES", outer));
    btf.maps(&[flows, tables]);
    btf
}

#[test]
fn keys_values_and_what_is_in_maps_of_maps_are_told() {
    let found = maps(&flows().bytes(), &["FLOWS", "TABLES"]).unwrap();
    let flows = &found["FLOWS"];
    let member = |name: &str, at, shape| Member {
        name: name.to_owned(),
        at,
        shape,
    };
    let port = Shape::Array(2, Box::new(Shape::Integer(2)));
    assert_eq!(
        flows.key,
        Shape::Structure(4, vec![member("port", 0, port)])
    );
    let value = vec![
        member("backend", 0, Shape::Integer(2)),
        member("seen", 4, Shape::Integer(4)),
    ];
    assert_eq!(flows.value, Shape::Structure(8, value));
    assert_eq!(flows.entries, 7);
    assert_eq!(flows.kind, 9);
    let tables = &found["TABLES"];
    assert_eq!(tables.kind, 12);
    assert_eq!(
        (&tables.key, &tables.value, tables.entries),
        (&flows.key, &flows.value, flows.entries),
        "what is told is of the inner ones"
    );
}

#[test]
fn only_maps_that_are_asked_for_are_told() {
    let found = maps(&flows().bytes(), &["FLOWS", "OTHERS"]).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["FLOWS"]);
}

#[test]
fn a_map_of_a_kind_that_is_not_said_is_refused() {
    let mut btf = Builder::new();
    let u32 = btf.integer(4);
    let number = btf.pointer(u32);
    let map = btf.structure(16, &[("key", number, 0), ("value", number, 8)]);
    let map = btf.variable("FLOWS", map);
    btf.maps(&[map]);
    let error = maps(&btf.bytes(), &["FLOWS"]).unwrap_err();
    assert!(format!("{error:#}").contains("of what kind"), "{error:#}");
}

#[test]
fn what_is_no_type_information_is_refused() {
    let whole = flows().bytes();
    for wrong in [&[][..], b"nonsense", &whole[1..], &[0; 64]] {
        assert!(maps(wrong, &["FLOWS"]).is_err());
    }
    let mut circle = Builder::new();
    let itself = circle.add("", kind(8, 0), 1, &[]);
    let pointer = circle.pointer(itself);
    let map = circle.structure(16, &[("key", pointer, 0), ("value", pointer, 8)]);
    let map = circle.variable("FLOWS", map);
    circle.maps(&[map]);
    let error = maps(&circle.bytes(), &["FLOWS"]).unwrap_err();
    assert!(format!("{error:#}").contains("too deep"), "{error:#}");
}

proptest! {
    #[test]
    fn damaged_type_information_is_read_or_refused(
        at in 0..600_usize,
        byte in any::<u8>(),
        cut in 0..600_usize,
    ) {
        let mut bytes = flows().bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = maps(&bytes, &["FLOWS", "TABLES"]);
        bytes.truncate(cut % length);
        prop_assert!(maps(&bytes, &["FLOWS", "TABLES"]).is_err() || cut % length + 8 > length);
    }
}
