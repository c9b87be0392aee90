//! `[privileges]` and `[control]`: whom the agent runs as, and who may speak with it.

use nix::unistd::{Group, User};
use serde_spanned::Spanned;

use super::model::{Control, Privileges};
use super::problem::{Complaint, Findings};
use super::section::Section;

/// Longest name, as useradd(8) takes them.
const LONGEST: usize = 32;

/// The accounts that a configuration may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accounts {
    /// Any: the configuration may be for another host.
    Any,
    /// Those of this host.
    OfThisHost,
}

/// Both sections as written.
#[derive(Default)]
pub(super) struct Written {
    user: Option<Spanned<String>>,
    group: Option<Spanned<String>>,
    socket_group: Option<Spanned<String>>,
}

pub(super) fn read(file: &mut Section<'_>, findings: &mut Findings) -> Written {
    let mut written = Written::default();
    if let Some(mut section) = file.section("privileges", "[privileges]", findings) {
        written.user = section.text("user", "\"redirector\"", findings);
        written.group = section.text("group", "\"redirector\"", findings);
        if section.has("group") {
            section.require(
                "user",
                "a group alone changes nothing: user = \"redirector\"",
                findings,
            );
        }
        section.finish(findings);
    }
    if let Some(mut section) = file.section("control", "[control]", findings) {
        written.socket_group = section.text("socket-group", "\"redirector\"", findings);
        section.finish(findings);
    }
    written
}

pub(super) fn mean(
    written: Written,
    accounts: Accounts,
    findings: &mut Findings,
) -> (Privileges, Control) {
    let mut group = |key, group: Option<Spanned<String>>| {
        let group = group?;
        findings.check(group.span(), self::group(key, group.get_ref(), accounts))
    };
    let (of_agent, of_socket) = (
        group("group", written.group),
        group("socket-group", written.socket_group),
    );
    let user = written
        .user
        .and_then(|user| findings.check(user.span(), self::user(user.get_ref(), accounts)));
    let privileges = Privileges {
        user,
        group: of_agent,
    };
    let control = Control {
        socket_group: of_socket,
    };
    (privileges, control)
}

fn user(name: &str, accounts: Accounts) -> Result<String, Complaint> {
    let name = named("user", name)?;
    if name == "root" {
        let complaint = Complaint::new("`user` cannot be root, who the agent is to cease to be");
        return Err(complaint.help("name a user of its own, or leave it out"));
    }
    if accounts == Accounts::OfThisHost && !matches!(User::from_name(&name), Ok(Some(_))) {
        let complaint = Complaint::new(format!("there is no user `{name}` on this host"));
        return Err(complaint.help(format!("make it with: useradd --system {name}")));
    }
    Ok(name)
}

fn group(key: &str, name: &str, accounts: Accounts) -> Result<String, Complaint> {
    let name = named(key, name)?;
    if accounts == Accounts::OfThisHost && !matches!(Group::from_name(&name), Ok(Some(_))) {
        let complaint = Complaint::new(format!("there is no group `{name}` on this host"));
        return Err(complaint.help(format!("make it with: groupadd --system {name}")));
    }
    Ok(name)
}

fn named(key: &str, name: &str) -> Result<String, Complaint> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > LONGEST || name.starts_with('-') || !name.chars().all(fits) {
        let complaint = Complaint::new(format!("`{key}` cannot be \"{}\"", name.escape_debug()));
        return Err(complaint.help("a name such as \"redirector\""));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const REST: &str = "interfaces = [\"eth0\"]\n\
        [pool.p]\nnodes = [\"10.0.1.2\"]\n\
        [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"p\", port = 1080 }\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse("t", &format!("{REST}{text}")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn names_of_any_host_can_be_written_and_nothing_is_the_default() {
        let config = parse("").unwrap();
        assert_eq!(config.privileges.user, None);
        assert_eq!(config.control.socket_group, None);
        let config = parse(
            "[privileges]\nuser = \"relay-agent\"\ngroup = \"relays\"\n[control]\nsocket-group = \"ops\"\n",
        )
        .unwrap();
        assert_eq!(config.privileges.user.as_deref(), Some("relay-agent"));
        assert_eq!(config.privileges.group.as_deref(), Some("relays"));
        assert_eq!(config.control.socket_group.as_deref(), Some("ops"));
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_place() {
        for (text, message) in [
            (
                "[privileges]\nuser = \"root\"\n",
                "t:8:8: `user` cannot be root",
            ),
            ("[privileges]\nuser = \"\"\n", "`user` cannot be \"\""),
            ("[privileges]\nuser = \"a b\"\n", "`user` cannot be \"a b\""),
            (
                "[privileges]\ngroup = \"g\"\n",
                "`user` is missing in [privileges]",
            ),
            (
                "[control]\nsocket-group = 7\n",
                "`socket-group` must be a string",
            ),
            (
                "[control]\nsocket-group = \"-x\"\n",
                "`socket-group` cannot be \"-x\"",
            ),
            (
                "[control]\nsocketgroup = \"x\"\n",
                "unknown key `socketgroup` in [control]",
            ),
        ] {
            let problems = parse(text).unwrap_err();
            assert!(problems.contains(message), "{text}: {problems}");
        }
    }

    #[test]
    fn a_file_for_this_host_can_only_name_its_users_and_groups() {
        let path = std::env::temp_dir().join(format!("redirector-accounts-{}", std::process::id()));
        let load = |text: &str| {
            std::fs::write(&path, format!("{REST}{text}")).unwrap();
            let loaded = Config::load(&path);
            std::fs::remove_file(&path).unwrap();
            loaded.map_err(|error| error.to_string())
        };
        let missing = load(
            "[privileges]\nuser = \"no-such-user\"\n[control]\nsocket-group = \"no-such-group\"\n",
        )
        .unwrap_err();
        assert!(
            missing.contains(":8:8: there is no user `no-such-user`"),
            "{missing}"
        );
        assert!(
            missing.contains(":10:16: there is no group `no-such-group`"),
            "{missing}"
        );
        assert!(
            missing.contains("groupadd --system no-such-group"),
            "{missing}"
        );
        let known = Group::from_gid(0.into()).unwrap().unwrap().name;
        load(&format!("[control]\nsocket-group = \"{known}\"\n")).unwrap();
    }

    use nix::unistd::Group;
}
