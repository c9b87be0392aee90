//! "Did you mean": the known word nearest to one that is not known.

/// The candidate nearest to `word`, when it is near enough to be what was meant: at most a third of
/// the word's letters differ, and at least one may.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer words are no slips of the pen; comparing them would only cost time.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_recognised() {
        let known = [
            "interfaces",
            "xdp-mode",
            "hash-key",
            "health",
            "pool",
            "redirect",
        ];
        for (word, meant) in [
            ("interface", "interfaces"),
            ("xdp_mode", "xdp-mode"),
            ("haelth", "health"),
            ("pools", "pool"),
            ("Redirect", "redirect"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_different_word_gets_no_suggestion() {
        assert_eq!(nearest("listen", ["pool", "port", "mode"]), None);
        assert_eq!(nearest("", ["pool"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["pool"]), None);
    }
}
