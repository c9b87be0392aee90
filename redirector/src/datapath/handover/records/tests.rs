use std::{cell::RefCell, collections::BTreeMap};

use super::*;
use crate::datapath::layout::Shape;

/// A table that does not take one of its keys.
#[derive(Default)]
struct Fake {
    entries: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    refused: Option<u8>,
}

impl Fake {
    fn check(&self, key: &[u8]) -> io::Result<()> {
        match self.refused {
            Some(refused) if key[0] == refused => Err(io::ErrorKind::StorageFull.into()),
            Some(_) | None => Ok(()),
        }
    }

    fn write(&self, key: u8, value: u8) {
        self.entries.borrow_mut().insert(vec![key], vec![value]);
    }

    fn holds(&self) -> Vec<(u8, u8)> {
        let entries = self.entries.borrow();
        entries
            .iter()
            .map(|(key, value)| (key[0], value[0]))
            .collect()
    }
}

impl Table for Fake {
    fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.entries.borrow().get(key).cloned())
    }

    fn update(&self, key: &[u8], value: &[u8], place: Place) -> io::Result<bool> {
        self.check(key)?;
        let mut entries = self.entries.borrow_mut();
        if place == Place::Free && entries.contains_key(key) {
            return Ok(false);
        }
        entries.insert(key.to_vec(), value.to_vec());
        Ok(true)
    }

    fn remove(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key)?;
        Ok(self.entries.borrow_mut().remove(key).is_some())
    }
}

fn records() -> Records {
    let byte = || Translation::new(&Shape::Integer(1), &Shape::Integer(1), &[]).unwrap();
    Records::new(byte(), byte())
}

fn entries(entries: &[(u8, u8)]) -> Entries {
    let (keys, values) = entries.iter().copied().unzip();
    Entries { keys, values }
}

#[test]
fn an_entry_that_is_not_taken_keeps_no_other_back_and_is_tried_again() {
    let (mut records, mut new) = (records(), Fake::default());
    new.refused = Some(2);
    let old = entries(&[(1, 10), (2, 20), (3, 30)]);
    let done = records.copy(&old, &new, false);
    assert_eq!((done.written, done.failed), (2, 1));
    assert!(done.failure.is_some());
    assert_eq!(new.holds(), [(1, 10), (3, 30)]);
    new.refused = None;
    let done = records.copy(&old, &new, true);
    assert_eq!((done.written, done.failed), (1, 0));
    assert_eq!(new.holds(), [(1, 10), (2, 20), (3, 30)]);
}

#[test]
fn what_is_gone_since_the_last_copy_goes() {
    for running in [false, true] {
        let (mut records, new) = (records(), Fake::default());
        records.copy(&entries(&[(1, 10), (2, 20)]), &new, false);
        let done = records.copy(&entries(&[(2, 20)]), &new, running);
        assert_eq!((done.written, done.removed), (0, 1));
        assert_eq!(new.holds(), [(2, 20)]);
        assert_eq!(records.len(), 1);
    }
}

#[test]
fn a_copy_that_can_not_be_removed_is_tried_again() {
    let (mut records, mut new) = (records(), Fake::default());
    records.copy(&entries(&[(1, 10), (2, 20)]), &new, false);
    new.refused = Some(1);
    let done = records.copy(&entries(&[]), &new, true);
    assert_eq!((done.removed, done.failed), (1, 1));
    new.refused = None;
    let done = records.copy(&entries(&[]), &new, true);
    assert_eq!((done.removed, done.failed), (1, 0));
    assert!(new.holds().is_empty());
}

#[test]
fn what_the_new_program_has_written_stays() {
    let (mut records, new) = (records(), Fake::default());
    records.copy(&entries(&[(1, 10), (2, 20), (3, 30)]), &new, false);
    for key in 1..=4 {
        new.write(key, 99);
    }
    // Gone, changed, as it was, and begun meanwhile in both.
    let done = records.copy(&entries(&[(2, 21), (3, 30), (4, 40)]), &new, true);
    assert_eq!((done.written, done.removed, done.failed), (0, 0, 0));
    assert_eq!(new.holds(), [(1, 99), (2, 99), (3, 99), (4, 99)]);
}
