//! Tells Rust code from comments and texts, as far as the rules of the house need it.

/// The code of a source, with comments and the contents of strings left out and every line kept.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if next == '"' {
            string(rest)
        } else if let Some(length) = raw_string(rest, code.chars().next_back()) {
            length
        } else if let Some(length) = quoted_character(rest) {
            length
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|&c| c == '\n'));
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// Whether a line has the word, by itself.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.split(|c| !inside(c)).any(|found| found == word)
}

/// The length of the comment that `text` starts with; block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the string literal that `text` starts with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal that `text` starts with, if it does.
fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() && c != 'b' && c != 'c' || c == '_') {
        return None;
    }
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    if after.as_bytes().get(hashes) != Some(&b'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 1 + hashes + 1;
    Some(
        text[start..]
            .find(&end)
            .map_or(text.len(), |at| start + at + end.len()),
    )
}

/// The length of a quote character, as a literal, that `text` starts with; it opens no string.
fn quoted_character(text: &str) -> Option<usize> {
    ["'\"'", r#"'\"'"#]
        .into_iter()
        .find(|literal| text.starts_with(literal))
        .map(str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        code(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_and_texts_are_left_out() {
        assert_eq!(
            words("a // b\nc /* d /* e */ f */ g \"h \\\" i\" j"),
            ["a", "c", "g", "j"]
        );
        assert_eq!(
            words("a r#\"b \" c\"# d '\"' e '\\\"' f"),
            ["a", "d", "e", "f"]
        );
    }

    #[test]
    fn lines_keep_their_numbers() {
        assert_eq!(code("/*\n\n*/ \"\n\" x").lines().count(), 4);
    }

    #[test]
    fn lifetimes_and_words_that_end_in_r_open_nothing() {
        let text = "fn f<'a>(for_r: &'a str)";
        assert_eq!(code(text), text);
    }

    #[test]
    fn a_word_is_found_only_by_itself() {
        assert!(has_word("x = unsafe{ y }", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }
}
