//! `table <name> disable { host ... }`.

use super::super::lexer::Kind;
use super::super::written::{Host, Table};
use super::{At, Complaint, Parsed, Parser, Reported};

impl Parser<'_> {
    /// `<name>`
    pub(super) fn table_name(&mut self) -> Parsed<At<String>> {
        self.expect_symbol('<')?;
        let name = self.text("the name of a table")?;
        self.expect_symbol('>')?;
        Ok(name)
    }

    /// What follows the word `table`.
    pub(super) fn table(&mut self) -> Parsed<Table> {
        let name = self.table_name()?;
        let mut table = Table {
            name,
            disabled: false,
            hosts: Vec::new(),
        };
        loop {
            if self.take("disable").is_some() {
                table.disabled = true;
            } else if let Some(brace) = self.take_symbol('{') {
                self.hosts(brace, &mut table.hosts)?;
            } else {
                break;
            }
        }
        if table.hosts.is_empty() {
            let complaint = Complaint::new(format!("table <{}> has no hosts", table.name.value));
            let help = format!(
                "list them: table <{}> {{ 10.0.1.2, 10.0.1.3 }}",
                table.name.value
            );
            return Err(self.complain(table.name.at, complaint.help(help)));
        }
        Ok(table)
    }

    fn hosts(&mut self, brace: super::Place, hosts: &mut Vec<Host>) -> Parsed<()> {
        let mut wrong = false;
        loop {
            match self.peek() {
                Kind::Newline | Kind::Symbol(',') => drop(self.next()),
                Kind::Symbol('}') => {
                    self.next();
                    return if wrong { Err(Reported) } else { Ok(()) };
                }
                Kind::End => {
                    let complaint = Complaint::new("this table never ends");
                    return Err(self.complain(brace, complaint.help("close it with }")));
                }
                Kind::Word(word) if word == "include" => {
                    self.next();
                    self.include()?;
                }
                Kind::Word(_) | Kind::Text(_) | Kind::Number(_) | Kind::Symbol(_) | Kind::Bad => {
                    if let Ok(host) = self.host() {
                        hosts.push(host);
                    } else {
                        wrong = true;
                        while !matches!(
                            self.peek(),
                            Kind::Newline | Kind::Symbol(',' | '}') | Kind::End
                        ) {
                            self.next();
                        }
                    }
                }
            }
        }
    }

    fn host(&mut self) -> Parsed<Host> {
        let address = self.text("the address of a host")?;
        let mut host = Host {
            address,
            retry: None,
            parent: None,
            ttl: None,
            priority: None,
        };
        loop {
            let (slot, what, most) = if self.take("retry").is_some() {
                (&mut host.retry, "retry", 999)
            } else if self.take("parent").is_some() {
                (&mut host.parent, "parent", u32::MAX)
            } else if self.take("priority").is_some() {
                (&mut host.priority, "priority", 255)
            } else if self.take("ip").is_some() {
                self.expect("ttl")?;
                (&mut host.ttl, "ip ttl", 255)
            } else {
                return Ok(host);
            };
            let value = self.number(what, 0, most)?;
            if slot.is_some() {
                let complaint = Complaint::new(format!("`{what}` is given twice"));
                return Err(self.complain(value.at, complaint));
            }
            *slot = Some(value);
        }
    }
}
