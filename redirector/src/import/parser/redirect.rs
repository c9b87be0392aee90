//! `redirect "name" { ... }`.

use super::super::lexer::{Kind, is_keyword};
use super::super::written::{Listen, Protocol, Redirect};
use super::{At, Complaint, Parsed, Parser, Place, Reported, nearest};

impl Parser<'_> {
    /// What follows the word `redirect`.
    pub(super) fn redirect(&mut self) -> Parsed<Redirect> {
        let name = self.text("the name of a redirect")?;
        let brace = self.expect_symbol('{')?;
        let mut redirect = Redirect {
            name,
            listens: Vec::new(),
            targets: Vec::new(),
            disabled: None,
            sticky: None,
            tag: None,
            session_timeout: None,
        };
        let mut wrong = false;
        loop {
            self.skip_newlines();
            if self.take_symbol('}').is_some() {
                return if wrong { Err(Reported) } else { Ok(redirect) };
            }
            if self.peek() == Kind::End {
                let complaint = Complaint::new("this redirect never ends");
                return Err(self.complain(brace, complaint.help("close it with }")));
            }
            let option = self.redirect_option(&mut redirect);
            let ended = option.and_then(|()| match self.peek() {
                Kind::Newline | Kind::Symbol('}') | Kind::End => Ok(()),
                Kind::Word(_) | Kind::Text(_) | Kind::Number(_) | Kind::Symbol(_) | Kind::Bad => {
                    Err(self.unexpected("the end of the line"))
                }
            });
            if ended.is_err() {
                wrong = true;
                while !matches!(self.peek(), Kind::Newline | Kind::Symbol('}') | Kind::End) {
                    self.next();
                }
            }
        }
    }

    fn redirect_option(&mut self, redirect: &mut Redirect) -> Parsed<()> {
        const KNOWN: [&str; 9] = [
            "listen",
            "forward",
            "route",
            "disable",
            "sticky-address",
            "pftag",
            "match",
            "session",
            "include",
        ];
        let first = self.next();
        let at = first.at;
        let Kind::Word(word) = first.kind else {
            self.ahead = Some(first);
            return Err(self.unexpected("an option of the redirect"));
        };
        match word.as_str() {
            "listen" => {
                let listen = self.listen()?;
                redirect.listens.push(listen);
            }
            "forward" | "route" => {
                let target = self.target(word == "route", at)?;
                redirect.targets.push(target);
            }
            "disable" => redirect.disabled = Some(at),
            "sticky-address" => redirect.sticky = Some(at),
            "match" => {
                self.expect("pftag")?;
                redirect.tag = Some(self.text("a tag")?);
            }
            "pftag" => redirect.tag = Some(self.text("a tag")?),
            "session" => {
                self.expect("timeout")?;
                redirect.session_timeout =
                    Some(self.number("seconds", 0, i32::MAX.unsigned_abs())?);
            }
            "include" => self.include()?,
            _ => {
                let complaint = Complaint::new(format!("a redirect has no option `{word}`"));
                let help = nearest(&word, KNOWN).map_or_else(
                    || format!("it has {}", KNOWN.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                return Err(self.complain(at, complaint.help(help)));
            }
        }
        Ok(())
    }

    /// `on address [protocol] port port [interface name]`
    fn listen(&mut self) -> Parsed<Listen> {
        self.expect("on")?;
        let address = self.text("the address to listen on")?;
        let protocol = self.protocol(address.at);
        self.expect("port")?;
        let ports = self.ports()?;
        let interface = self.interface()?;
        Ok(Listen {
            address,
            protocol,
            ports,
            interface,
        })
    }

    fn protocol(&mut self, before: Place) -> At<Protocol> {
        let word = match self.peek() {
            Kind::Word(word) if word == "tcp" || !is_keyword(&word) => word,
            Kind::Text(text) => text,
            Kind::Word(_)
            | Kind::Number(_)
            | Kind::Symbol(_)
            | Kind::Newline
            | Kind::Bad
            | Kind::End => {
                return At {
                    value: Protocol::Tcp,
                    at: before,
                };
            }
        };
        let at = self.next().at;
        let value = match word.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => Protocol::Other(word),
        };
        At { value, at }
    }

    pub(super) fn interface(&mut self) -> Parsed<Option<At<String>>> {
        if self.take("interface").is_none() {
            return Ok(None);
        }
        self.text("the name of an interface").map(Some)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else is unexpected"
    )]
    /// A port, a service, or two of these with a colon between them.
    fn ports(&mut self) -> Parsed<At<(u16, u16)>> {
        let token = self.next();
        let at = token.at;
        let text = match token.kind {
            Kind::Number(number) => number.to_string(),
            Kind::Word(text) | Kind::Text(text) => text,
            kind => {
                self.ahead = Some(super::Token { kind, at });
                return Err(self.unexpected("a port"));
            }
        };
        let (first, last) = match text.split_once(':') {
            None => {
                let port = self.service(&text, at)?;
                (port, port)
            }
            Some((first, last)) => (self.service(first, at)?, self.service(last, at)?),
        };
        if first > last {
            let complaint = Complaint::new(format!("the ports {text} are in the wrong order"));
            return Err(self.complain(at, complaint.help(format!("write {last}:{first}"))));
        }
        Ok(At {
            value: (first, last),
            at,
        })
    }

    /// One port.
    pub(super) fn port(&mut self) -> Parsed<At<u16>> {
        let ports = self.ports()?;
        let (port, last) = ports.value;
        if port != last || port == 0 {
            let complaint = Complaint::new("one port is expected here");
            return Err(self.complain(
                ports.at,
                complaint.help("the nodes listen on one port: port 1080"),
            ));
        }
        Ok(At {
            value: port,
            at: ports.at,
        })
    }

    fn service(&mut self, name: &str, at: Place) -> Parsed<u16> {
        let port = match name.parse::<u16>() {
            Ok(port) => Some(port),
            Err(_) => super::super::services::port(self.around, name),
        };
        port.ok_or_else(|| {
            let complaint = Complaint::new(format!("there is no port or service \"{name}\""));
            self.complain(
                at,
                complaint.help("a port is 1 to 65535; services are in /etc/services"),
            )
        })
    }
}
