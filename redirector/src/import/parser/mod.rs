//! From tokens to what is written: the grammar of relayd.conf(5).
//!
//! A mistake is reported and the rest of its line skipped, so that one run shows all of them. What belongs to
//! relays, protocols and routers is recognised and left alone.

mod redirect;
mod table;
mod target;

use std::path::{Path, PathBuf};

use super::Surroundings;
use super::lexer::{Kind, Lexer, Token, is_keyword};
use super::sources::{At, Place};
use super::written::{Other, Statement};
use crate::config::problem::Complaint;
use crate::config::suggest::nearest;

/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// How many files there may be.
const MAX_FILES: usize = 256;

/// It has been reported.
struct Reported;

type Parsed<T> = Result<T, Reported>;

/// Reads everything.
pub(super) fn parse(lexer: &mut Lexer, around: &dyn Surroundings) -> Vec<Statement> {
    let mut parser = Parser {
        lexer,
        around,
        ahead: None,
    };
    let mut statements = Vec::new();
    loop {
        match parser.peek() {
            Kind::End => return statements,
            Kind::Newline => drop(parser.next()),
            Kind::Word(_) | Kind::Text(_) | Kind::Number(_) | Kind::Symbol(_) | Kind::Bad => {
                let statement = parser.statement();
                let ended = match &statement {
                    Ok(_) => parser.end_of_line(),
                    Err(Reported) => Err(Reported),
                };
                if ended.is_err() {
                    parser.skip_line();
                }
                statements.extend(statement.ok().flatten());
            }
        }
    }
}

struct Parser<'a> {
    lexer: &'a mut Lexer,
    around: &'a dyn Surroundings,
    ahead: Option<Token>,
}

impl Parser<'_> {
    fn peeked(&mut self) -> &Token {
        self.ahead.get_or_insert_with(|| self.lexer.token())
    }

    fn peek(&mut self) -> Kind {
        self.peeked().kind.clone()
    }

    fn next(&mut self) -> Token {
        match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.token(),
        }
    }

    /// Whether the next token is this word, without quotes.
    fn at_word(&mut self, word: &str) -> bool {
        matches!(&self.peeked().kind, Kind::Word(found) if found == word)
    }

    /// Takes this word if it is next; returns its place.
    fn take(&mut self, word: &str) -> Option<Place> {
        self.at_word(word).then(|| self.next().at)
    }

    fn expect(&mut self, word: &str) -> Parsed<Place> {
        match self.take(word) {
            Some(at) => Ok(at),
            None => Err(self.unexpected(&format!("`{word}`"))),
        }
    }

    fn take_symbol(&mut self, symbol: char) -> Option<Place> {
        (self.peeked().kind == Kind::Symbol(symbol)).then(|| self.next().at)
    }

    fn expect_symbol(&mut self, symbol: char) -> Parsed<Place> {
        match self.take_symbol(symbol) {
            Some(at) => Ok(at),
            None => Err(self.unexpected(&format!("`{symbol}`"))),
        }
    }

    fn skip_newlines(&mut self) {
        while self.peeked().kind == Kind::Newline {
            self.next();
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else is unexpected"
    )]
    /// A name, an address or another text: quoted, or a word that the language does not use itself.
    fn text(&mut self, what: &str) -> Parsed<At<String>> {
        let token = self.next();
        match token.kind {
            Kind::Text(value) => Ok(At {
                value,
                at: token.at,
            }),
            Kind::Word(value) if !is_keyword(&value) => Ok(At {
                value,
                at: token.at,
            }),
            Kind::Word(word) => {
                let complaint = Complaint::new(format!(
                    "{what} is expected here, and `{word}` is a word of the language"
                ));
                Err(self.complain(
                    token.at,
                    complaint.help(format!("if it is meant, write \"{word}\"")),
                ))
            }
            kind => {
                self.ahead = Some(Token { kind, ..token });
                Err(self.unexpected(what))
            }
        }
    }

    /// A whole number within bounds.
    fn number(&mut self, what: &str, least: u32, most: u32) -> Parsed<At<u32>> {
        let token = self.next();
        let Kind::Number(number) = token.kind else {
            self.ahead = Some(token);
            return Err(self.unexpected(what));
        };
        match u32::try_from(number) {
            Ok(value) if (least..=most).contains(&value) => Ok(At {
                value,
                at: token.at,
            }),
            Ok(_) | Err(_) => {
                let complaint = Complaint::new(format!("{what} cannot be {number}"));
                Err(self.complain(
                    token.at,
                    complaint.help(format!("it can be {least} to {most}")),
                ))
            }
        }
    }

    fn complain(&mut self, at: Place, complaint: Complaint) -> Reported {
        self.lexer.sources.complain(at, complaint);
        Reported
    }

    /// Reports the next token, which stays next.
    fn unexpected(&mut self, expected: &str) -> Reported {
        let token = self.peeked().clone();
        let found = match token.kind {
            Kind::Bad => return Reported,
            Kind::Word(word) => format!("`{word}`"),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::Number(number) => format!("`{number}`"),
            Kind::Symbol(symbol) => format!("`{symbol}`"),
            Kind::Newline => "the end of the line".to_owned(),
            Kind::End => "the end of the file".to_owned(),
        };
        self.complain(
            token.at,
            Complaint::new(format!("{expected} is expected here, not {found}")),
        )
    }

    fn end_of_line(&mut self) -> Parsed<()> {
        match self.peek() {
            Kind::Newline | Kind::End => Ok(()),
            Kind::Word(_) | Kind::Text(_) | Kind::Number(_) | Kind::Symbol(_) | Kind::Bad => {
                Err(self.unexpected("the end of the line"))
            }
        }
    }

    /// Goes on behind what was reported: at the end of its line, and of the block that begins in it.
    fn skip_line(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Kind::End => return,
                Kind::Newline if depth == 0 => return,
                Kind::Symbol('{') => depth += 1,
                Kind::Symbol('}') => depth = depth.saturating_sub(1),
                Kind::Word(_)
                | Kind::Text(_)
                | Kind::Number(_)
                | Kind::Symbol(_)
                | Kind::Newline
                | Kind::Bad => {}
            }
            self.next();
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else is unexpected"
    )]
    /// One statement of the file; none when it says nothing itself.
    fn statement(&mut self) -> Parsed<Option<Statement>> {
        let first = self.next();
        let (word, quoted) = match first.kind {
            Kind::Word(word) => (word, false),
            Kind::Text(text) => (text, true),
            kind => {
                self.ahead = Some(Token { kind, ..first });
                return Err(self.unexpected("a statement"));
            }
        };
        let at = first.at;
        if self.take_symbol('=').is_some() {
            return self.define(&word, quoted, at).map(|()| None);
        }
        if quoted {
            return Err(self.no_statement(&word, at));
        }
        let statement = match word.as_str() {
            "include" => {
                self.include()?;
                return Ok(None);
            }
            "interval" => Statement::Interval(self.number("seconds", 0, u32::MAX)?),
            "timeout" => Statement::Timeout(self.number("milliseconds", 0, u32::MAX)?),
            "log" | "prefork" | "snmp" | "agentx" | "socket" => {
                Statement::Other(self.global(&word, at)?)
            }
            "table" => Statement::Table(self.table()?),
            "redirect" => Statement::Redirect(self.redirect()?),
            "relay" | "router" | "protocol" | "http" | "tcp" | "dns" => {
                Statement::Other(self.foreign(&word, at)?)
            }
            "anchor" | "rdr-anchor" | "nat-anchor" => Statement::Other(self.anchor(&word, at)),
            _ => return Err(self.no_statement(&word, at)),
        };
        Ok(Some(statement))
    }

    fn no_statement(&mut self, word: &str, at: Place) -> Reported {
        const KNOWN: [&str; 12] = [
            "include", "interval", "timeout", "log", "prefork", "snmp", "agentx", "socket",
            "table", "redirect", "relay", "router",
        ];
        let complaint = Complaint::new(format!("`{word}` begins no statement of relayd.conf"));
        let help = nearest(word, KNOWN).map_or_else(
            || format!("to define a macro: {word} = \"...\""),
            |meant| format!("did you mean `{meant}`?"),
        );
        self.complain(at, complaint.help(help))
    }

    fn define(&mut self, name: &str, quoted: bool, at: Place) -> Parsed<()> {
        let refused = if !quoted && is_keyword(name) {
            Some("is a word of the language; choose another name")
        } else if name.contains(char::is_whitespace) {
            Some("has a blank in it; choose another name")
        } else {
            None
        };
        if let Some(refused) = refused {
            let complaint = Complaint::new(format!("\"{name}\" cannot name a macro"));
            return Err(self.complain(at, complaint.help(format!("it {refused}"))));
        }
        if let Kind::Number(number) = self.peek() {
            let at = self.next().at;
            let complaint = Complaint::new("a macro's value must be a text, not a number");
            return Err(self.complain(
                at,
                complaint.help(format!("quote it: {name} = \"{number}\"")),
            ));
        }
        let value = self.text("the macro's value")?;
        self.lexer.define(name.to_owned(), value.value);
        Ok(())
    }

    /// Opens another file, which is read next. Nothing may have been looked at beyond the file's name.
    fn include(&mut self) -> Parsed<()> {
        let name = self.text("the name of a file")?;
        let mut path = PathBuf::from(&name.value);
        if path.is_relative() {
            let includer = Path::new(self.lexer.sources.name(name.at.file));
            path = includer.parent().unwrap_or(Path::new("")).join(path);
        }
        let shown = path.display().to_string();
        let refused = if self.lexer.including().any(|open| open == shown) {
            Some("it would include itself")
        } else if self.lexer.including().len() > MAX_DEPTH {
            Some("files include each other too deeply")
        } else if self.lexer.sources.count() > MAX_FILES {
            Some("there are too many files")
        } else {
            None
        };
        if let Some(refused) = refused {
            let complaint = Complaint::new(format!("{shown} is not included: {refused}"));
            return Err(self.complain(name.at, complaint));
        }
        match super::read(self.around, &path) {
            Ok(text) => {
                self.lexer.include(shown, &text);
                Ok(())
            }
            Err(error) => {
                let complaint = Complaint::new(format!("cannot include it: {error}"));
                let help = "copy the file there, or name another place";
                Err(self.complain(name.at, complaint.help(help)))
            }
        }
    }

    /// A global setting without a counterpart.
    fn global(&mut self, word: &str, at: Place) -> Parsed<Other> {
        let note = match word {
            "log" => {
                let kind = self.next();
                let Kind::Word(kind) = kind.kind else {
                    self.ahead = Some(kind);
                    return Err(self.unexpected("`state changes`, `host checks` or `connection`"));
                };
                match kind.as_str() {
                    "state" => {
                        self.expect("changes")?;
                        "the agent always logs changes of state"
                    }
                    "host" => {
                        self.expect("checks")?;
                        "`redirector --log verbose run` logs every check"
                    }
                    "connection" => {
                        self.take("errors");
                        "relays only: connections pass through the relay, Dante logs them"
                    }
                    _ => {
                        return Err(
                            self.complain(at, Complaint::new(format!("there is no `log {kind}`")))
                        );
                    }
                }
            }
            "prefork" => {
                self.number("the number of processes", 1, 32)?;
                "relays only: packets are forwarded in the kernel, by all of its processors"
            }
            "socket" => {
                self.text("a path")?;
                "the control socket is chosen by `redirector run --socket PATH`"
            }
            _ => {
                // `snmp [trap] ["path"]`, in later versions `agentx [context "name"] [path "path"]`
                while matches!(self.peek(), Kind::Word(_) | Kind::Text(_)) {
                    self.next();
                }
                "SNMP has no counterpart; `redirector show ... --json` tells the state to other programs"
            }
        };
        Ok(Other {
            at,
            what: word.to_owned(),
            note,
            numbers_hosts: false,
        })
    }

    /// A relay, a router or a protocol: named and skipped.
    fn foreign(&mut self, word: &str, at: Place) -> Parsed<Other> {
        let kind = if matches!(word, "http" | "tcp" | "dns") {
            self.expect("protocol")?;
            "protocol"
        } else {
            word
        };
        let name = self.text("a name")?;
        let brace = self.expect_symbol('{')?;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next().kind {
                Kind::Symbol('{') => depth += 1,
                Kind::Symbol('}') => depth -= 1,
                Kind::End => {
                    let complaint = Complaint::new("this block never ends");
                    return Err(self.complain(brace, complaint.help("close it with }")));
                }
                Kind::Bad => return Err(Reported),
                Kind::Word(_)
                | Kind::Text(_)
                | Kind::Number(_)
                | Kind::Symbol(_)
                | Kind::Newline => {}
            }
        }
        let note = match kind {
            "relay" => {
                "relays end connections and speak with the nodes themselves (layer 7); the redirector only forwards \
                 packets, so another program has to do this"
            }
            "router" => {
                "routers are about routes, not about clients; a routing daemon has to do this"
            }
            _ => "protocols belong to relays, which have no counterpart",
        };
        Ok(Other {
            at,
            what: format!("{kind} \"{}\"", name.value),
            note,
            numbers_hosts: kind != "protocol",
        })
    }

    /// A line that belongs in pf.conf.
    fn anchor(&mut self, word: &str, at: Place) -> Other {
        while !matches!(self.peek(), Kind::Newline | Kind::End) {
            self.next();
        }
        Other {
            at,
            what: word.to_owned(),
            note: "PF needs this rule of pf.conf to let relayd add its own; the redirector needs no packet filter, and \
                   takes clients' packets before one sees them",
            numbers_hosts: false,
        }
    }
}
