//! From characters to tokens, as relayd(8) does it: macros are put in place of their names as characters, a
//! backslash continues a line, and an included file is read in the middle of the one that includes it.

use std::collections::HashMap;

use super::sources::{Place, Sources};
use crate::config::problem::Complaint;

/// Longest token, in bytes; relayd(8)'s own limit.
const LONGEST: usize = 8095;

/// How many characters all files and all uses of macros may come to.
const BUDGET: usize = 8 << 20;

/// The words of the language; as names they must be quoted.
const KEYWORDS: &str = " append backlog backup binary block buffer ca cache cert changes check checks ciphers code \
    connection cookie demote destination digest disable ecdhe edh error errors expect external file forward from \
    hash header headerlen host http icmp include inet inet6 interface interval ip key keypair label least-states \
    listen loadbalance log lookup match method mode nat no nodelay nothing on params parent pass password path \
    pftag port prefork priority protocol query quick random real redirect relay remove request response retry \
    return roundrobin route router rtable rtlabel sack script send session set snmp socket source-hash splice ssl \
    state sticky-address style table tag tagged tcp tickets timeout tls to transparent trap ttl url value \
    websockets with ";

/// Whether a word means something to the language.
pub(super) fn is_keyword(word: &str) -> bool {
    !word.contains(' ') && KEYWORDS.contains(&format!(" {word} "))
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word without quotes.
    Word(String),
    /// A text in quotes.
    Text(String),
    Number(i64),
    Symbol(char),
    Newline,
    /// Something that has been reported already.
    Bad,
    End,
}

/// A token and where it stands; what comes out of a macro stands where the macro is used.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Place,
}

#[derive(Clone, Copy)]
struct Char {
    /// None at the end of a file.
    c: Option<char>,
    at: Place,
    /// It comes out of a macro.
    expanded: bool,
}

/// A file that is being read.
struct Open {
    file: usize,
    offset: usize,
    /// Its last line has been ended.
    ended: bool,
}

pub(super) struct Lexer {
    pub(super) sources: Sources,
    open: Vec<Open>,
    /// Characters to read again, the next one last.
    back: Vec<Char>,
    macros: HashMap<String, String>,
    budget: usize,
}

impl Lexer {
    pub(super) fn new(name: String, text: &str) -> Self {
        let mut lexer = Self {
            sources: Sources::default(),
            open: Vec::new(),
            back: Vec::new(),
            macros: HashMap::new(),
            budget: BUDGET,
        };
        lexer.include(name, text);
        lexer
    }

    /// Reads another file, on a line of its own, before it goes on with this one.
    pub(super) fn include(&mut self, name: String, text: &str) {
        if !self.open.is_empty() {
            let at = self.here();
            let c = Some('\n');
            let expanded = false;
            self.back.push(Char { c, at, expanded });
        }
        let file = self.sources.add(name, text);
        self.open.push(Open {
            file,
            offset: 0,
            ended: false,
        });
    }

    /// The files that are being read, innermost last.
    pub(super) fn including(&self) -> impl ExactSizeIterator<Item = &str> {
        self.open.iter().map(|open| self.sources.name(open.file))
    }

    pub(super) fn define(&mut self, name: String, value: String) {
        self.macros.insert(name, value);
    }

    pub(super) fn token(&mut self) -> Token {
        loop {
            let mut first = self.plain();
            while matches!(first.c, Some(' ' | '\t' | '\r')) {
                first = self.plain();
            }
            if first.c == Some('#') {
                while !matches!(first.c, Some('\n') | None) {
                    first = self.plain();
                }
            }
            let kind = match first.c {
                None => Kind::End,
                Some('\n') => Kind::Newline,
                Some('$') if !first.expanded => {
                    if let Some(bad) = self.expand(first.at) {
                        return bad;
                    }
                    continue;
                }
                Some(quote @ ('"' | '\'')) => return self.quoted(quote, first.at),
                Some(c) if c == '-' || c.is_ascii_digit() => return self.number(first),
                Some(c) if c.is_ascii_alphanumeric() || matches!(c, ':' | '_') => {
                    return self.word(first);
                }
                Some(c) => Kind::Symbol(c),
            };
            return Token { kind, at: first.at };
        }
    }

    /// Puts a macro's value in place of its name; a token when that is not possible.
    fn expand(&mut self, dollar: Place) -> Option<Token> {
        let mut name = String::new();
        let mut at = dollar;
        loop {
            let next = self.plain();
            match next.c {
                Some(c) if (c.is_ascii_alphanumeric() || c == '_') && name.len() < LONGEST => {
                    name.push(c);
                    at = at.to(next.at);
                }
                Some(_) | None => {
                    self.back.push(next);
                    break;
                }
            }
        }
        let Some(value) = self.macros.get(&name) else {
            let complaint = Complaint::new(format!("the macro `{name}` is not defined"));
            let known = self.macros.keys().map(String::as_str);
            let help = crate::config::suggest::nearest(&name, known).map_or_else(
                || format!("define it above: {name} = \"...\""),
                |meant| format!("did you mean `${meant}`?"),
            );
            return Some(self.bad(at, complaint.help(help)));
        };
        let value: Vec<Char> = value
            .chars()
            .rev()
            .map(|c| Char {
                c: Some(c),
                at,
                expanded: true,
            })
            .collect();
        self.back.extend(value);
        None
    }

    fn quoted(&mut self, quote: char, start: Place) -> Token {
        let mut text = String::new();
        let mut at = start;
        loop {
            let next = self.raw();
            let Some(c) = next.c else {
                let complaint = Complaint::new("this quoted text never ends");
                return self.bad(start, complaint.help(format!("close it with {quote}")));
            };
            at = at.to(next.at);
            match c {
                '\n' => {}
                '\\' => {
                    let after = self.raw();
                    match after.c {
                        Some(c) if c == quote || c == ' ' || c == '\t' => text.push(c),
                        Some('\n') => {}
                        Some(_) | None => {
                            text.push('\\');
                            self.back.push(after);
                        }
                    }
                }
                _ if c == quote => break,
                _ => text.push(c),
            }
            if text.len() > LONGEST {
                return self.bad(start, too_long());
            }
        }
        Token {
            kind: Kind::Text(text),
            at,
        }
    }

    /// A number, if what follows the digits may end one; else a word.
    fn number(&mut self, first: Char) -> Token {
        let mut chars = vec![first];
        let end = loop {
            let next = self.plain();
            if next.c.is_some_and(|c| c.is_ascii_digit()) && chars.len() < LONGEST {
                chars.push(next);
            } else {
                break next;
            }
        };
        self.back.push(end);
        let text: String = chars.iter().filter_map(|char| char.c).collect();
        let at = first.at.to(chars[chars.len() - 1].at);
        let ends_number = end
            .c
            .is_none_or(|c| c.is_ascii_whitespace() || matches!(c, ')' | ',' | '/' | '}' | '='));
        if text != "-" && ends_number {
            return match text.parse() {
                Ok(number) => Token {
                    kind: Kind::Number(number),
                    at,
                },
                Err(_) => self.bad(at, Complaint::new(format!("{text} is too large a number"))),
            };
        }
        self.back.extend(chars.drain(1..).rev());
        if first.c == Some('-') {
            return Token {
                kind: Kind::Symbol('-'),
                at: first.at,
            };
        }
        self.word(first)
    }

    fn word(&mut self, first: Char) -> Token {
        let mut text = String::new();
        let mut at = first.at;
        let mut next = first;
        while let Some(c) = next.c
            && (c.is_ascii_alphanumeric() || c.is_ascii_punctuation() && !"(){}<>!=#,/".contains(c))
        {
            if text.len() >= LONGEST {
                return self.bad(at, too_long());
            }
            text.push(c);
            at = at.to(next.at);
            next = self.plain();
        }
        self.back.push(next);
        Token {
            kind: Kind::Word(text),
            at,
        }
    }

    /// Reports, and skips the rest of the line.
    fn bad(&mut self, at: Place, complaint: Complaint) -> Token {
        self.sources.complain(at, complaint);
        loop {
            let next = self.plain();
            if matches!(next.c, Some('\n') | None) {
                self.back.push(next);
                break;
            }
        }
        Token {
            kind: Kind::Bad,
            at,
        }
    }

    /// A character outside quotes: lines are continued, and files follow each other.
    fn plain(&mut self) -> Char {
        loop {
            let char = self.raw();
            match char.c {
                Some('\\') => {
                    let next = self.raw();
                    match next.c {
                        Some('\n') => {}
                        Some(_) => return next,
                        None => self.back.push(next),
                    }
                }
                Some(_) => return char,
                // Every file ends with a line's end, so that what is wrong in its last line stays in it.
                None => {
                    let is_main = self.open.len() <= 1;
                    match self.open.last_mut() {
                        Some(open) if !open.ended => {
                            open.ended = true;
                            let c = Some('\n');
                            return Char { c, ..char };
                        }
                        Some(_) if !is_main => drop(self.open.pop()),
                        Some(_) | None => return char,
                    }
                }
            }
        }
    }

    fn raw(&mut self) -> Char {
        if self.budget == 0 {
            self.budget = usize::MAX;
            let at = self.here();
            let complaint =
                Complaint::new(format!("all of it comes to more than {BUDGET} characters"));
            self.sources
                .complain(at, complaint.help("is it a configuration file?"));
            self.back.clear();
            self.open.clear();
        }
        self.budget -= 1;
        if let Some(char) = self.back.pop() {
            return char;
        }
        let at = self.here();
        let Some(open) = self.open.last_mut() else {
            return Char {
                c: None,
                at,
                expanded: false,
            };
        };
        let text = self.sources.text(open.file);
        let c = text[open.offset..].chars().next();
        open.offset += c.map_or(0, char::len_utf8);
        Char {
            c,
            at: Place {
                end: open.offset,
                ..at
            },
            expanded: false,
        }
    }

    /// Where the next character stands.
    fn here(&self) -> Place {
        let (file, at) = self
            .open
            .last()
            .map_or((0, self.sources.text(0).len()), |open| {
                (open.file, open.offset)
            });
        Place {
            file,
            start: at,
            end: at,
        }
    }
}

fn too_long() -> Complaint {
    Complaint::new(format!("this is longer than {LONGEST} bytes")).help("is a quote missing?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut lexer = Lexer::new("f".to_owned(), text);
        lexer.define("one".to_owned(), "1".to_owned());
        lexer.define("hosts".to_owned(), "10.0.0.1 10.0.0.2, p $one".to_owned());
        let tokens = std::iter::from_fn(|| Some(lexer.token().kind));
        tokens.take_while(|kind| *kind != Kind::End).collect()
    }

    fn word(text: &str) -> Kind {
        Kind::Word(text.to_owned())
    }

    #[test]
    fn addresses_are_words_and_numbers_are_numbers() {
        assert_eq!(
            kinds("10.0.0.1 12, 2001:db8::1 ::1 -7 - 3/4 em0"),
            [
                word("10.0.0.1"),
                Kind::Number(12),
                Kind::Symbol(','),
                word("2001:db8::1"),
                word("::1"),
                Kind::Number(-7),
                Kind::Symbol('-'),
                Kind::Number(3),
                Kind::Symbol('/'),
                Kind::Number(4),
                word("em0"),
                Kind::Newline
            ]
        );
    }

    #[test]
    fn a_macro_becomes_its_characters_and_glues_to_what_follows() {
        assert_eq!(kinds("$one"), [Kind::Number(1), Kind::Newline]);
        assert_eq!(kinds("$one:2"), [word("1:2"), Kind::Newline]);
        assert_eq!(
            kinds("$hosts"),
            [
                word("10.0.0.1"),
                word("10.0.0.2"),
                Kind::Symbol(','),
                word("p"),
                Kind::Symbol('$'),
                word("one"),
                Kind::Newline
            ],
            "a macro in a macro's value is no macro"
        );
    }

    #[test]
    fn quotes_keep_macros_comments_and_backslashes() {
        assert_eq!(
            kinds(r#""$one # \"x\" \n" '"'"#),
            [
                Kind::Text(r#"$one # "x" \n"#.to_owned()),
                Kind::Text("\"".to_owned()),
                Kind::Newline
            ]
        );
    }

    #[test]
    fn a_backslash_continues_lines_and_comments() {
        assert_eq!(
            kinds("a \\\nb # c \\\n d\ne"),
            [
                word("a"),
                word("b"),
                Kind::Newline,
                word("e"),
                Kind::Newline
            ]
        );
    }

    #[test]
    fn what_is_bad_ends_with_its_line() {
        assert_eq!(
            kinds("a $nobody b\nc"),
            [
                word("a"),
                Kind::Bad,
                Kind::Newline,
                word("c"),
                Kind::Newline
            ]
        );
        assert_eq!(kinds("\"open\n\n"), [Kind::Bad, Kind::Newline]);
        assert_eq!(kinds("99999999999999999999"), [Kind::Bad, Kind::Newline]);
    }

    #[test]
    fn macros_cannot_be_made_to_take_forever() {
        let mut lexer = Lexer::new("f".to_owned(), &"$big ".repeat(100_000));
        lexer.define("big".to_owned(), "x ".repeat(4000));
        while lexer.token().kind != Kind::End {}
        assert!(!lexer.sources.is_clean());
    }
}
