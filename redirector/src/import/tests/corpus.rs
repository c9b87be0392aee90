//! Whole files: each becomes a configuration that is right.

use super::*;

const CORPUS: [(&str, &str); 5] = [
    ("dante", include_str!("../../../tests/relayd/dante.conf")),
    (
        "web-and-dns",
        include_str!("../../../tests/relayd/web-and-dns.conf"),
    ),
    (
        "shipped",
        include_str!("../../../tests/relayd/shipped.conf"),
    ),
    (
        "everything",
        include_str!("../../../tests/relayd/everything.conf"),
    ),
    (
        "compact",
        include_str!("../../../tests/relayd/compact.conf"),
    ),
];

#[test]
fn every_file_of_the_corpus_becomes_a_right_configuration() {
    for (name, text) in CORPUS {
        let toml = import_text(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Config::parse(name, &toml).unwrap();
        for line in toml.lines() {
            assert!(line.len() < 200, "{name}: {line}");
        }
    }
}

/// How many redirects of each file are served; the others are comments.
#[test]
fn no_redirect_is_lost() {
    for (name, text) in CORPUS {
        let toml = import_text(text).unwrap();
        let written = text
            .lines()
            .filter(|line| line.starts_with("redirect"))
            .count();
        let printed = toml
            .lines()
            .filter(|line| line.trim_start_matches("# ").starts_with("[redirect."))
            .count();
        let split = toml.matches("is called `").count();
        assert!(
            printed >= written && printed <= written + split,
            "{name}: {toml}"
        );
    }
}
