//! The plan as TOML with comments.

use std::fmt::Write as _;

use super::plan::{Node, Plan, Pool, Redirect, Remark};
use super::sources::Sources;
use crate::units::exact;

/// Where a comment's line is broken.
const WIDTH: usize = 110;

/// The text; `interfaces` are the operator's.
pub(super) fn print(plan: &Plan, interfaces: &[String], sources: &Sources) -> String {
    let mut page = Page {
        text: String::new(),
        sources,
    };
    page.head(plan);
    page.interfaces(plan, interfaces);
    page.settings(plan);
    for pool in &plan.pools {
        page.pool(pool);
    }
    for redirect in &plan.redirects {
        page.redirect(redirect);
    }
    page.text
}

struct Page<'a> {
    text: String,
    sources: &'a Sources,
}

impl Page<'_> {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A comment, broken where it gets too long.
    fn comment(&mut self, text: &str) {
        // A control character would end the comment, or act on a terminal.
        let clean: String = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        let mut line = "#".to_owned();
        for word in clean.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > 3 {
                self.line(std::mem::replace(&mut line, "#  ".to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(line.trim_end());
    }

    /// In the order of the files.
    fn remarks(&mut self, remarks: &[Remark]) {
        let mut remarks: Vec<&Remark> = remarks.iter().collect();
        remarks.sort_by_key(|remark| (remark.at.file, remark.at.start));
        for remark in remarks {
            let line = self.sources.line(remark.at);
            self.comment(&format!("{line}: {}", remark.text));
        }
    }

    fn head(&mut self, plan: &Plan) {
        let name = self.sources.name(0).to_owned();
        self.comment(&format!("Made of {name} by `redirector import-relayd`."));
        for text in [
            "Unlike with relayd, established connections follow the health of their node: they stay while it answers and \
             are reset when it does not (`on-down`).",
            "Unlike with relayd, a client's TCP to a node that avoids the shared address is dropped (`direct-tcp`); \
             relayd leaves that to pf.conf.",
        ] {
            self.comment(text);
        }
        if !plan.remarks.is_empty() {
            self.line("#");
        }
        self.remarks(&plan.remarks);
        self.line("");
    }

    fn interfaces(&mut self, plan: &Plan, interfaces: &[String]) {
        let quoted = |names: &[String]| list(names.iter().map(String::as_str));
        if !interfaces.is_empty() {
            self.line(format!("interfaces = {}", quoted(interfaces)));
            return;
        }
        let mut text = "relayd has no list of interfaces: put the NICs towards the clients and towards the nodes here, or \
                        give them as --interfaces eth0,eth1."
            .to_owned();
        if !plan.interfaces.is_empty() {
            let _ = write!(text, " It names {}.", plan.interfaces.join(", "));
        }
        self.comment(&text);
        self.line("interfaces = [\"eth0\", \"eth1\"]");
    }

    fn settings(&mut self, plan: &Plan) {
        if let Some(key) = &plan.hash_key {
            self.line(format!("hash-key = {}", quote(key)));
        }
        self.line("\n[health]");
        self.line(format!("interval = \"{}\"", exact(plan.interval)));
        self.line(format!("timeout = \"{}\"", exact(plan.timeout)));
        self.line("rise = 1\nfall = 1");
        if let Some(timeout) = plan.session_timeout {
            self.line("\n[flows]");
            self.line(format!("session-timeout = \"{}\"", exact(timeout)));
        }
    }

    fn pool(&mut self, pool: &Pool) {
        self.line("");
        self.remarks(&pool.remarks);
        let place = self.sources.line(pool.at);
        self.line(format!("[pool.{}]  # {place}", key(&pool.name)));
        let nodes: Vec<String> = pool.nodes.iter().map(node).collect();
        let one_line = format!("nodes = [{}]", nodes.join(", "));
        if one_line.len() <= WIDTH {
            self.line(one_line);
        } else {
            self.line("nodes = [");
            for node in nodes {
                self.line(format!("  {node},"));
            }
            self.line("]");
        }
        self.line(format!("check = {}", pool.check));
        let mut health = Vec::new();
        if let Some(interval) = pool.interval {
            health.push(format!("interval = \"{}\"", exact(interval)));
        }
        if let Some(timeout) = pool.timeout {
            health.push(format!("timeout = \"{}\"", exact(timeout)));
        }
        if pool.fall != 1 {
            health.push(format!("fall = {}", pool.fall));
        }
        if !health.is_empty() {
            self.line(format!("health = {{ {} }}", health.join(", ")));
        }
    }

    fn redirect(&mut self, redirect: &Redirect) {
        self.line("");
        self.remarks(&redirect.remarks);
        let mut target = format!("pool = {}", quote(&redirect.pool));
        if let Some(port) = redirect.port {
            let _ = write!(target, ", port = {port}");
        }
        let _ = write!(target, ", mode = \"{}\"", redirect.mode);
        let delivery = if redirect.routes {
            "route-to"
        } else {
            "forward-to"
        };
        let place = self.sources.line(redirect.at);
        let mut lines = vec![
            format!("[redirect.{}]  # {place}", key(&redirect.name)),
            format!(
                "listen = {}",
                list(redirect.listen.iter().map(String::as_str))
            ),
            format!("protocol = \"{}\"", redirect.protocol),
            format!("{delivery} = {{ {target} }}"),
        ];
        if let Some(backup) = &redirect.backup {
            lines.push(format!("backup = {}", quote(backup)));
        }
        for line in lines {
            let off = if redirect.off { "# " } else { "" };
            self.line(format!("{off}{line}"));
        }
    }
}

fn node(node: &Node) -> String {
    let address = quote(&node.address.to_string());
    let mut keys = Vec::new();
    keys.extend(
        node.name
            .as_ref()
            .map(|name| format!("name = {}", quote(name))),
    );
    keys.extend(node.ttl.map(|ttl| format!("check-ttl = {ttl}")));
    let parent = node.parent_name.as_ref();
    keys.extend(parent.map(|parent| format!("parent = {}", quote(parent))));
    keys.extend(
        node.fall
            .map(|fall| format!("health = {{ fall = {fall} }}")),
    );
    if keys.is_empty() {
        address
    } else {
        format!("{{ address = {address}, {} }}", keys.join(", "))
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.map(quote).collect();
    format!("[{}]", texts.join(", "))
}

/// A string of TOML.
pub(super) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A key of TOML: bare where it may be.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quote(name)
    }
}
