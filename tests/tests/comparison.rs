//! Every test that the comparison names exists, and every row says plainly whether we have the thing.

use std::path::{Path, PathBuf};

/// A row of a table.
struct Row {
    feature: String,
    ours: String,
    /// The tests, each with its file.
    tests: Vec<(String, PathBuf)>,
}

/// The cells of a line; a bar within a cell is written `\|`.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|').replace("\\|", "\u{0}");
    let cells = inner.split('|');
    cells
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// The links of a cell: [`test`](file).
fn links(cell: &str) -> Vec<(String, PathBuf)> {
    let links = cell.split("[`").skip(1);
    links
        .filter_map(|link| {
            let (name, rest) = link.split_once("`](")?;
            let (file, _) = rest.split_once(')')?;
            Some((name.to_owned(), PathBuf::from(file)))
        })
        .collect()
}

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    lines
        .map(cells)
        .filter(|cells| cells[0] != "feature" && !cells[0].starts_with("---"))
        .map(|cells| {
            assert_eq!(cells.len(), 6, "{cells:?}");
            Row {
                feature: cells[0].clone(),
                ours: cells[4].clone(),
                tests: links(&cells[5]),
            }
        })
        .collect()
}

/// What is wrong with the rows.
fn faults(rows: &[Row], directory: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for Row {
        feature,
        ours,
        tests,
    } in rows
    {
        let lacking = ours.starts_with("no:") || ours.starts_with("not yet");
        if lacking != tests.is_empty() {
            faults.push(format!("{feature}: \"{ours}\" with {} tests", tests.len()));
        }
        for (name, file) in tests {
            let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
            let is_test = |at: usize| {
                let before = &text[..at];
                let start = before.rfind("\n\n").unwrap_or(0);
                before[start..].contains("#[test]")
                    || before[start..].contains("#[tokio::test")
                    || before[start..].contains("proptest!")
            };
            let found = text.find(&format!("fn {name}("));
            if !found.is_some_and(is_test) {
                faults.push(format!("{feature}: {} has no test {name}", file.display()));
            }
        }
    }
    faults
}

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_row_is_shown_by_a_test_or_says_that_we_lack_it() {
    let rows = rows(include_str!("../COMPARISON.md"));
    assert!(rows.len() > 30, "{}", rows.len());
    let faults = faults(&rows, directory());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_test_that_is_not_there_and_a_boast_without_one_are_noticed() {
    let header = "| feature | relayd | keepalived | HAProxy | redirector | shown by |\n|---|---|---|---|---|---|\n";
    let bad = |row: &str| {
        let rows = rows(&format!("{header}{row}"));
        faults(&rows, directory()).len()
    };
    let good = "[`every_row_is_shown_by_a_test_or_says_that_we_lack_it`](tests/comparison.rs)";
    assert_eq!(bad(&format!("| a | b | c | d | yes | {good} |")), 0);
    assert_eq!(bad("| a | b | c | d | no: it is not | |"), 0);
    assert_eq!(bad("| a | b | c | d | yes | |"), 1);
    assert_eq!(bad(&format!("| a | b | c | d | no: x | {good} |")), 1);
    assert_eq!(
        bad("| a | b | c | d | yes | [`no_such_test`](tests/comparison.rs) |"),
        1
    );
    assert_eq!(
        bad("| a | b | c | d | yes | [`directory`](tests/comparison.rs) |"),
        1,
        "no test"
    );
    assert_eq!(bad("| a | b | c | d | yes | [`x`](tests/nowhere.rs) |"), 1);
    assert_eq!(bad("| a | `b\\|c` | c | d | no: x | |"), 0);
}
