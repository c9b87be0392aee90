//! Whatever the text is, there is an answer, and what is printed is right.

use proptest::prelude::*;

use super::*;

const VALID: &str = include_str!("../../../tests/relayd/everything.conf");

fn import_and_report(bytes: Vec<u8>) {
    let mut around = Imagined::default();
    around.files.insert("relayd.conf".to_owned(), bytes);
    match import(Path::new("relayd.conf"), &[], &around) {
        Ok(toml) => {
            Config::parse("t", &toml).unwrap();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        import_and_report(bytes);
    }

    #[test]
    fn random_words_of_the_language_never_panic(
        words in proptest::collection::vec(prop_oneof![
            Just("table"), Just("<t>"), Just("{"), Just("}"), Just("\n"), Just("redirect"), Just("r"), Just("listen"),
            Just("on"), Just("10.0.0.1"), Just("port"), Just("80"), Just("80:90"), Just("forward"), Just("to"),
            Just("check"), Just("tcp"), Just("http"), Just("\"/\""), Just("code"), Just("mode"), Just("source-hash"),
            Just("route"), Just("interface"), Just("em0"), Just("disable"), Just("include"), Just("\"relayd.conf\""),
            Just("x=\"y"), Just("$x"), Just("\""), Just("\\"), Just("#"), Just("="), Just(","), Just("retry"),
            Just("-1"), Just("relay"), Just("udp"), Just("interval"), Just("timeout"), Just("2001:db8::1"),
        ], 0..60),
    ) {
        import_and_report(words.join(" ").into_bytes());
    }

    #[test]
    fn mutated_files_never_panic(
        edits in proptest::collection::vec(
            (0..VALID.len(), 0..12_usize, proptest::collection::vec(any::<u8>(), 0..4)), 1..6),
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, removed, inserted) in edits {
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted);
        }
        import_and_report(bytes);
    }

    #[test]
    fn files_with_lines_taken_out_or_doubled_never_panic(
        lines in proptest::collection::vec((0..VALID.lines().count(), any::<bool>()), 1..8),
    ) {
        let mut text: Vec<&str> = VALID.lines().collect();
        for (at, double) in lines {
            let at = at.min(text.len() - 1);
            if double {
                text.insert(at, text[at]);
            } else if text.len() > 1 {
                text.remove(at);
            }
        }
        import_and_report(text.join("\n").into_bytes());
    }
}
