use proptest::prelude::*;

use super::super::{Member, Shape};
use super::Translation;

fn structure(size: u32, members: &[(&str, u32, Shape)]) -> Shape {
    let members = members.iter().map(|(name, at, shape)| Member {
        name: (*name).to_owned(),
        at: *at,
        shape: shape.clone(),
    });
    Shape::Structure(size, members.collect())
}

fn array(count: u32, of: Shape) -> Shape {
    Shape::Array(count, Box::new(of))
}

const U16: Shape = Shape::Integer(2);
const U32: Shape = Shape::Integer(4);

fn flow() -> Shape {
    structure(
        8,
        &[("backend", 0, U16), ("flags", 2, U16), ("seen", 4, U32)],
    )
}

fn becomes(old: &Shape, new: &Shape, bytes: &[u8]) -> Vec<u8> {
    Translation::new(old, new, &[]).unwrap().of(bytes)
}

#[test]
fn members_are_found_wherever_they_are() {
    let moved = structure(
        12,
        &[("seen", 0, U32), ("backend", 8, U16), ("flags", 10, U16)],
    );
    let value = [1, 2, 3, 4, 5, 6, 7, 8];
    let there = becomes(&flow(), &moved, &value);
    assert_eq!(there, [5, 6, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(becomes(&moved, &flow(), &there), value);
}

#[test]
fn what_only_one_has_is_zero_or_left() {
    let other = structure(8, &[("backend", 0, U16), ("mark", 4, U32)]);
    let value = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(becomes(&flow(), &other, &value), [1, 2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn numbers_become_wider_and_not_narrower() {
    let wide = structure(4, &[("id", 0, U32)]);
    let narrow = structure(2, &[("id", 0, U16)]);
    let value = 0x1234_u16.to_ne_bytes();
    assert_eq!(becomes(&narrow, &wide, &value), 0x1234_u32.to_ne_bytes());
    let lacking = Translation::new(&wide, &narrow, &["id"]).unwrap_err();
    assert_eq!(lacking, ["id"]);
}

#[test]
fn elements_are_like_one_and_arrays_keep_their_length() {
    let slot = structure(4, &[("now", 0, U16), ("was", 2, U16)]);
    let turned = structure(6, &[("was", 0, U16), ("now", 4, U16)]);
    let old = structure(12, &[("slots", 0, array(3, slot.clone()))]);
    let new = structure(18, &[("slots", 0, array(3, turned))]);
    let needed = ["slots.now", "slots.was"];
    let translation = Translation::new(&old, &new, &needed).unwrap();
    let there = translation.of(&[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    assert_eq!(
        there,
        [2, 0, 0, 0, 1, 0, 4, 0, 0, 0, 3, 0, 6, 0, 0, 0, 5, 0]
    );
    let longer = structure(16, &[("slots", 0, array(4, slot))]);
    assert_eq!(
        Translation::new(&old, &longer, &needed).unwrap_err(),
        needed
    );
}

#[test]
fn a_needed_member_that_is_not_in_both_is_named() {
    let needed = ["backend", "seen", "address"];
    let lacking = Translation::new(&flow(), &flow(), &needed).unwrap_err();
    assert_eq!(lacking, ["address"]);
    let renamed = structure(8, &[("node", 0, U16), ("seen", 4, U32)]);
    let lacking = Translation::new(&renamed, &flow(), &["backend", "seen"]).unwrap_err();
    assert_eq!(lacking, ["backend"]);
}

#[test]
fn what_is_the_same_is_one_piece() {
    let slot = structure(4, &[("now", 0, U16), ("was", 2, U16)]);
    let table = |head: u32| {
        structure(
            head + (4 << 16),
            &[
                ("key", head - 8, array(2, U32)),
                ("slots", head, array(1 << 16, slot.clone())),
            ],
        )
    };
    let translation = Translation::new(&table(8), &table(72), &["slots.now"]).unwrap();
    assert_eq!(translation.pieces.len(), 1);
}

#[test]
fn a_shape_that_lies_about_itself_is_refused() {
    let beyond = structure(4, &[("seen", 4, U32)]);
    assert!(Translation::new(&beyond, &flow(), &[]).is_err());
    assert!(Translation::new(&flow(), &beyond, &[]).is_err());
    let huge = array(u32::MAX, array(u32::MAX, U32));
    assert!(Translation::new(&huge, &huge, &[]).is_err());
    // A structure that says nothing of how much is in it.
    let huge = |name| {
        array(
            u32::MAX,
            structure(u32::MAX, &[(name, 0, array(u32::MAX, U32))]),
        )
    };
    let hidden = |name| structure(4, &[("huge", 0, array(u32::MAX, huge(name)))]);
    assert!(Translation::new(&hidden("x"), &hidden("y"), &[]).is_err());
    let nothing = array(u32::MAX, structure(0, &[]));
    let other = array(u32::MAX, structure(0, &[("x", 0, structure(0, &[]))]));
    assert!(
        Translation::new(&nothing, &other, &[]).is_ok(),
        "and at once"
    );
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Integer(1)),
        Just(U16),
        Just(U32),
        Just(Shape::Integer(8))
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            (0..5_u32, inner.clone()).prop_map(|(count, of)| array(count, of)),
            proptest::collection::vec((0..6_u8, 0..40_u32, inner), 0..4).prop_map(|members| {
                let mut names = std::collections::BTreeSet::new();
                let members = members
                    .into_iter()
                    .filter(|(name, ..)| names.insert(*name))
                    .map(|(name, at, shape)| Member {
                        name: name.to_string(),
                        at,
                        shape,
                    });
                let members: Vec<Member> = members.collect();
                let end = members
                    .iter()
                    .map(|one| one.at as usize + one.shape.size())
                    .max();
                Shape::Structure(u32::try_from(end.unwrap_or(0)).unwrap(), members)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_shapes_are_translated_or_refused(
        old in shapes(),
        new in shapes(),
        needed in "[0-5](\\.[0-5])?",
    ) {
        if let Ok(translation) = Translation::new(&old, &new, &[&needed]) {
            let value = vec![0xff; old.size()];
            prop_assert_eq!(translation.of(&value).len(), new.size());
        }
    }

    #[test]
    fn a_value_of_the_same_shape_stays_as_it_is_where_it_has_members(shape in shapes()) {
        let translation = Translation::new(&shape, &shape, &[]).unwrap();
        let value: Vec<u8> = (0..=250).cycle().take(shape.size()).collect();
        let once = translation.of(&value);
        prop_assert_eq!(&translation.of(&once), &once);
        for (once, value) in once.iter().zip(&value) {
            prop_assert!(once == value || *once == 0);
        }
    }
}
