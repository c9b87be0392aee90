//! Patterns of text with the wildcards of the shell, as relayd(8)'s `expect` has them: `*`, `?`, `[a-z]`, `[!a-z]`,
//! and `\` before a character that stands for itself.
//!
//! A [`Matcher`] takes bytes as they come and never looks at one twice, so what a node sends, and how it cuts it,
//! costs at most its length times that of the pattern.

// Of the bytes that come only the values count, one at a time.
#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "by places in the pattern")
)]

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    elements: Vec<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Element {
    Byte(u8),
    Any,
    Star,
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Glob {
    /// Every text is a pattern: a bracket that is not closed stands for itself, as in fnmatch(3).
    pub fn new(pattern: &str) -> Self {
        let bytes = pattern.as_bytes();
        let mut elements = Vec::new();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            let element = match byte {
                b'*' => Element::Star,
                b'?' => Element::Any,
                b'\\' if at < bytes.len() => {
                    at += 1;
                    Element::Byte(bytes[at - 1])
                }
                b'[' => match set(&bytes[at..]) {
                    Some((element, length)) => {
                        at += length;
                        element
                    }
                    None => Element::Byte(b'['),
                },
                byte => Element::Byte(*byte),
            };
            if element != Element::Star || elements.last() != Some(&Element::Star) {
                elements.push(element);
            }
        }
        Self { elements }
    }

    /// Starts to match.
    pub fn matcher(&self) -> Matcher<'_> {
        let mut matcher = Matcher {
            glob: self,
            places: vec![false; self.elements.len() + 1],
        };
        matcher.places[0] = true;
        matcher.pass_stars();
        matcher
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut matcher = self.matcher();
        matcher.feed(text);
        matcher.is_match()
    }
}

/// What follows a `[`: the set and its length, with the closing bracket.
fn set(bytes: &[u8]) -> Option<(Element, usize)> {
    let negated = matches!(bytes.first(), Some(b'!' | b'^'));
    let first = usize::from(negated);
    let mut at = first;
    let mut ranges = Vec::new();
    loop {
        let low = match *bytes.get(at)? {
            // A closing bracket that comes first stands for itself.
            b']' if at > first => return Some((Element::Set { negated, ranges }, at + 1)),
            b'\\' => {
                at += 1;
                *bytes.get(at)?
            }
            byte => byte,
        };
        at += 1;
        let mut high = low;
        if bytes.get(at) == Some(&b'-') && bytes.get(at + 1).is_some_and(|end| *end != b']') {
            high = bytes[at + 1];
            at += 2;
        }
        ranges.push((low, high));
    }
}

/// How far a text has matched.
#[derive(Clone, Debug)]
pub struct Matcher<'g> {
    glob: &'g Glob,
    /// For each number of elements whether they match all that has come.
    places: Vec<bool>,
}

impl Matcher<'_> {
    /// Takes further bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// Whether all that has come matches the whole pattern.
    pub fn is_match(&self) -> bool {
        self.places.last().is_some_and(|matched| *matched)
    }

    /// Whether nothing that may still come can make it match.
    pub fn is_lost(&self) -> bool {
        !self.places.contains(&true)
    }

    fn step(&mut self, byte: u8) {
        // From behind, so that each place is moved once.
        for (index, element) in self.glob.elements.iter().enumerate().rev() {
            let here = self.places[index];
            let (moves, stays) = match element {
                Element::Star => (false, here),
                Element::Any => (here, false),
                Element::Byte(wanted) => (here && *wanted == byte, false),
                Element::Set { negated, ranges } => {
                    let mut ranges = ranges.iter();
                    let inside = ranges.any(|(low, high)| (*low..=*high).contains(&byte));
                    (here && inside != *negated, false)
                }
            };
            // Whatever was at the next place has been moved already.
            if index + 1 == self.glob.elements.len() {
                self.places[index + 1] = false;
            }
            self.places[index + 1] |= moves;
            self.places[index] = stays;
        }
        if self.glob.elements.is_empty() {
            self.places[0] = false;
        }
        self.pass_stars();
    }

    /// A star may stand for nothing.
    fn pass_stars(&mut self) {
        for (index, element) in self.glob.elements.iter().enumerate() {
            if *element == Element::Star && self.places[index] {
                self.places[index + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wildcards_are_those_of_the_shell() {
        for (pattern, text, expected) in [
            ("220 *", "220 mail ready\r\n", true),
            ("220 *", "220", false),
            ("*PONG*", "+PONG\r\n", true),
            ("*PONG*", "+PUNG\r\n", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("end\\", "end\\", true),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("**a", "ba", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                expected,
                "{pattern:?} {text:?}"
            );
        }
    }

    #[test]
    fn what_cannot_match_any_more_is_known_at_once() {
        let glob = Glob::new("220 *");
        let mut matcher = glob.matcher();
        matcher.feed(b"22");
        assert!(!matcher.is_lost() && !matcher.is_match());
        matcher.feed(b"1");
        assert!(matcher.is_lost());
        let glob = Glob::new("*x");
        let mut matcher = glob.matcher();
        matcher.feed(&[b'y'; 10_000]);
        assert!(!matcher.is_lost());
    }

    /// The definition, tried in every way; exponential.
    fn by_definition(pattern: &[Element], text: &[u8]) -> bool {
        let Some((first, rest)) = pattern.split_first() else {
            return text.is_empty();
        };
        match first {
            Element::Star => (0..=text.len()).any(|skipped| by_definition(rest, &text[skipped..])),
            Element::Any => !text.is_empty() && by_definition(rest, &text[1..]),
            Element::Byte(byte) => text.first() == Some(byte) && by_definition(rest, &text[1..]),
            Element::Set { negated, ranges } => text.first().is_some_and(|byte| {
                ranges
                    .iter()
                    .any(|(low, high)| (low..=high).contains(&byte))
                    != *negated
                    && by_definition(rest, &text[1..])
            }),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_its_definition_says_however_the_text_is_cut(
            pattern in "[ab*?\\[\\]!\\\\-]{0,10}", text in "[ab\\]-]{0,10}", cut in 0..10_usize,
        ) {
            let glob = Glob::new(&pattern);
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            let mut matcher = glob.matcher();
            matcher.feed(first);
            let lost = matcher.is_lost();
            matcher.feed(second);
            let expected = by_definition(&glob.elements, text.as_bytes());
            prop_assert_eq!(matcher.is_match(), expected);
            prop_assert!(!(lost && expected));
        }

        #[test]
        fn any_pattern_and_any_bytes_give_an_answer(
            pattern in "\\PC{0,40}", text in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let glob = Glob::new(&pattern);
            prop_assert_eq!(glob.matches(&text), glob.matches(&text));
        }
    }
}
