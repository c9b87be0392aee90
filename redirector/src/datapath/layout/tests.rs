use super::*;

fn written(value: Shape) -> Vec<u8> {
    let map = MapShape {
        key: Shape::Integer(4),
        value,
        entries: 1,
        kind: 0,
    };
    let layout = Layout {
        form: FORM,
        maps: BTreeMap::from([("FLOWS4".to_owned(), map)]),
    };
    serde_json::to_vec(&layout).unwrap()
}

fn array(count: u32, of: Shape) -> Shape {
    Shape::Array(count, Box::new(of))
}

fn structure(size: u32, at: u32, shape: Shape) -> Shape {
    let name = "seen".to_owned();
    Shape::Structure(size, vec![Member { name, at, shape }])
}

#[test]
fn what_was_written_is_read() {
    let value = structure(8, 4, Shape::Integer(4));
    let layout = Layout::read(&written(value.clone())).unwrap();
    assert_eq!(layout.maps["FLOWS4"].value, value);
}

#[test]
fn what_no_map_can_be_is_refused_by_its_name() {
    let huge = array(
        u32::MAX,
        array(u32::MAX, array(u32::MAX, Shape::Integer(4))),
    );
    for value in [
        huge.clone(),
        structure(4, 0, huge),
        structure(8, 5, Shape::Integer(4)),
        structure(8, u32::MAX, Shape::Integer(u32::MAX)),
        array(0, structure(4, 4, Shape::Integer(4))),
        Shape::Integer(LARGEST + 1),
    ] {
        let error = Layout::read(&written(value)).unwrap_err();
        assert!(format!("{error:#}").contains("FLOWS4"), "{error:#}");
    }
}

#[test]
fn another_form_is_refused_and_what_is_no_description_is() {
    let text = String::from_utf8(written(Shape::Integer(4))).unwrap();
    let other = text.replace("\"form\":1", "\"form\":2");
    let error = Layout::read(other.as_bytes()).unwrap_err();
    assert!(format!("{error:#}").contains("form 2"), "{error:#}");
    for nonsense in ["", "{}", &text[1..], &text[..text.len() - 1]] {
        assert!(Layout::read(nonsense.as_bytes()).is_err(), "{nonsense}");
    }
}
