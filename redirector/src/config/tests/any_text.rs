//! Whatever the text is, there is an answer, and one of bearable length.

use proptest::prelude::*;

use super::*;

#[test]
fn a_huge_heap_of_mistakes_is_counted_and_its_beginning_shown() {
    let nested = format!("interfaces = {}", "[".repeat(100_000));
    let one_line = format!("interfaces = [{}]", "1,".repeat(50_000));
    let lines = "=\n".repeat(50_000);
    for text in [nested, one_line, lines] {
        let problems = problems(&text);
        assert!(problems.iter().count() <= 100);
        assert!(problems.to_string().len() < 100_000);
    }
    let report = problems(&format!("interfaces = [{}]", "1,".repeat(150))).to_string();
    assert!(
        report.contains("... and 51 problems after these"),
        "{report}"
    );
    assert!(report.ends_with("151 problems"), "{report}");
}

fn parse_and_report(text: &str) {
    if let Err(problems) = Config::parse("fuzz", text) {
        assert!(problems.len() > 0);
        let lines = text.split('\n').count();
        assert!(
            problems
                .iter()
                .all(|p| (1..=lines).contains(&p.line) && p.column >= 1)
        );
        assert!(!problems.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse_and_report(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_configurations_never_panic(
        edits in proptest::collection::vec((0..VALID.len(), 0..12_usize, "\\PC{0,6}|[\"\\[\\]{}=.,0-9\n]{0,4}"), 1..6),
    ) {
        let mut text = VALID.to_owned();
        for (at, removed, inserted) in edits {
            let at = at.min(text.len());
            let Some(at) = (0..=at).rev().find(|at| text.is_char_boundary(*at)) else { continue };
            let end = (at + removed).min(text.len());
            let Some(end) = (end..=text.len()).find(|end| text.is_char_boundary(*end)) else { continue };
            text.replace_range(at..end, &inserted);
        }
        parse_and_report(&text);
    }

    #[test]
    fn values_of_any_type_in_any_place_never_panic(
        place in 0..VALID.matches('=').count(),
        value in prop_oneof![
            Just("7"), Just("-1"), Just("1.5"), Just("true"), Just("[]"), Just("[1]"), Just("{}"),
            Just("\"\""), Just("\"é\\u0000\""), Just("1979-05-27"), Just("[[\"x\"]]"),
            Just("{ pool = 1 }"), Just("9223372036854775808"), Just("nan"),
        ],
    ) {
        let at = VALID.match_indices('=').nth(place).map(|(at, _)| at + 1).unwrap();
        let end = at + VALID[at..].find([',', '}', '\n']).unwrap();
        parse_and_report(&format!("{} {value}{}", &VALID[..at], &VALID[end..]));
    }
}
