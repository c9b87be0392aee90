//! `forward to <table> ...` and `route to <table> ...`, with their checks.

use super::super::lexer::Kind;
use super::super::written::{Check, HttpExpect, Mode, Target};
use super::{At, Complaint, Parsed, Parser, Place, nearest};

const CHECKS: [&str; 8] = [
    "icmp", "tcp", "tls", "http", "https", "send", "binary", "script",
];

impl Parser<'_> {
    /// What follows the word `forward` or `route`, which stands at `start`.
    pub(super) fn target(&mut self, routes: bool, start: Place) -> Parsed<Target> {
        self.expect("to")?;
        let table = self.table_name()?;
        let mut target = Target {
            at: start.to(table.at),
            routes,
            table,
            port: None,
            interface: None,
            check: None,
            timeout: None,
            interval: None,
            demote: None,
            mode: None,
            key: None,
        };
        while let Kind::Word(word) = self.peek() {
            let at = self.next().at;
            match word.as_str() {
                "port" => target.port = Some(self.port()?),
                "check" => {
                    let value = self.check()?;
                    target.check = Some(At { value, at });
                }
                "timeout" => target.timeout = Some(self.number("milliseconds", 0, u32::MAX)?),
                "interval" => target.interval = Some(self.number("seconds", 0, u32::MAX)?),
                "demote" => target.demote = Some(self.text("an interface group")?),
                "mode" => self.mode(&mut target)?,
                "interface" => target.interface = Some(self.text("the name of an interface")?),
                _ => {
                    const KNOWN: [&str; 7] = [
                        "port",
                        "check",
                        "timeout",
                        "interval",
                        "demote",
                        "mode",
                        "interface",
                    ];
                    let complaint = Complaint::new(format!(
                        "`to <{}>` has no option `{word}`",
                        target.table.value
                    ));
                    let help = nearest(&word, KNOWN).map_or_else(
                        || format!("it has {}", KNOWN.join(", ")),
                        |meant| format!("did you mean `{meant}`?"),
                    );
                    return Err(self.complain(at, complaint.help(help)));
                }
            }
        }
        match (&target.interface, routes) {
            (Some(interface), false) => {
                let at = interface.at;
                let complaint = Complaint::new("`forward to` goes by no interface");
                Err(self.complain(at, complaint.help("leave it out, or use `route to`")))
            }
            (None, true) => {
                let complaint = Complaint::new("`route to` needs the interface to the nodes");
                let help = format!("route to <{}> ... interface em1", target.table.value);
                Err(self.complain(target.at, complaint.help(help)))
            }
            (Some(_), true) | (None, false) => Ok(target),
        }
    }

    fn mode(&mut self, target: &mut Target) -> Parsed<()> {
        let token = self.next();
        let Kind::Word(word) = &token.kind else {
            self.ahead = Some(token);
            return Err(self.unexpected("a mode"));
        };
        let value = match word.as_str() {
            "roundrobin" => Mode::RoundRobin,
            "random" => Mode::Random,
            "least-states" => Mode::LeastStates,
            "source-hash" => Mode::SourceHash,
            "hash" | "loadbalance" => {
                let complaint = Complaint::new(format!("mode {word} is for relays only"));
                return Err(self.complain(token.at, complaint.help("use mode source-hash")));
            }
            _ => {
                let known = ["roundrobin", "random", "least-states", "source-hash"];
                let help = nearest(word, known).map_or_else(
                    || format!("there are {}", known.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let complaint = Complaint::new(format!("there is no mode `{word}`"));
                return Err(self.complain(token.at, complaint.help(help)));
            }
        };
        target.mode = Some(At {
            value,
            at: token.at,
        });
        // A word of the language goes on with the next option.
        let key = match self.peek() {
            Kind::Text(_) => true,
            Kind::Word(word) => !super::is_keyword(&word),
            Kind::Number(_) | Kind::Symbol(_) | Kind::Newline | Kind::Bad | Kind::End => false,
        };
        if key {
            let key = self.text("a key")?;
            if value != Mode::SourceHash {
                let complaint = Complaint::new(format!("mode {value} takes no key"));
                return Err(self.complain(key.at, complaint));
            }
            let hex = key.value.strip_prefix("0x");
            let is_key = |hex: &str| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
            if hex.is_some_and(|hex| !is_key(hex)) {
                let complaint = Complaint::new("a hexadecimal key has 32 digits behind its 0x");
                return Err(self.complain(key.at, complaint));
            }
            target.key = Some(key);
        }
        Ok(())
    }

    fn check(&mut self) -> Parsed<Check> {
        let token = self.next();
        let Kind::Word(word) = &token.kind else {
            self.ahead = Some(token);
            return Err(self.unexpected("a check"));
        };
        match word.as_str() {
            "icmp" => Ok(Check::Icmp),
            "tcp" => Ok(Check::Tcp),
            "tls" | "ssl" => Ok(Check::Tls),
            "http" | "https" => self.http(word == "https"),
            "send" => self.send(false),
            "binary" => {
                self.expect("send")?;
                self.send(true)
            }
            "script" => Ok(Check::Script(self.text("the path of a script")?.value)),
            _ => {
                let complaint = Complaint::new(format!("there is no check `{word}`"));
                let help = nearest(word, CHECKS).map_or_else(
                    || format!("there are {}", CHECKS.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                Err(self.complain(token.at, complaint.help(help)))
            }
        }
    }

    fn http(&mut self, tls: bool) -> Parsed<Check> {
        let path = self.text("a path such as \"/\"")?.value;
        let host = match self.take("host") {
            None => None,
            Some(_) => Some(self.text("the name of a host")?.value),
        };
        let expect = if self.take("code").is_some() {
            let code = self.number("an HTTP code", 100, 999)?.value;
            HttpExpect::Code(u16::try_from(code).unwrap_or(u16::MAX))
        } else if self.take("digest").is_some() {
            let digest = self.text("a digest")?;
            let hex = digest.value.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hex || !matches!(digest.value.len(), 32 | 40) {
                let complaint = Complaint::new("this is no digest");
                let help = "a digest is 40 (SHA-1) or 32 (MD5) hexadecimal digits";
                return Err(self.complain(digest.at, complaint.help(help)));
            }
            HttpExpect::Digest(digest.value)
        } else {
            return Err(self.unexpected("`code` or `digest`"));
        };
        Ok(Check::Http {
            tls,
            path,
            host,
            expect,
        })
    }

    fn send(&mut self, binary: bool) -> Parsed<Check> {
        let send = match self.take("nothing") {
            Some(_) => None,
            None => Some(self.send_text(binary)?),
        };
        self.expect("expect")?;
        let expect = self.send_text(binary)?;
        let tls = self.take("tls").or_else(|| self.take("ssl")).is_some();
        Ok(Check::Send {
            binary,
            // An empty text is nothing, too.
            send: send.filter(|send| !send.is_empty()),
            expect,
            tls,
        })
    }

    fn send_text(&mut self, binary: bool) -> Parsed<String> {
        // Hexadecimal digits may look like a number.
        if let Kind::Number(_) = self.peek()
            && binary
        {
            let at = self.peeked().at;
            let complaint = Complaint::new("hexadecimal digits must be quoted");
            return Err(self.complain(at, complaint.help("such as \"050100\"")));
        }
        let text = self.text("a text")?;
        let hex = text.value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if binary && (!hex || text.value.len() % 2 != 0 || text.value.is_empty()) {
            let complaint = Complaint::new("this is no sequence of hexadecimal bytes");
            let help = "two digits for each byte, such as \"050100\"";
            return Err(self.complain(text.at, complaint.help(help)));
        }
        Ok(text.value)
    }
}
