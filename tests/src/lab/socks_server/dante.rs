//! Dante's daemon, with users of its own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use super::super::netns::Netns;
use super::super::plan::SOCKS_PORT;
use super::{Duty, append};

/// The user whom the servers know.
pub const USER: &str = "lab";
/// The user's password.
pub const PASSWORD: &str = "let-me-in";

/// [`PASSWORD`], with as few rounds as crypt(3) allows.
const HASH: &str = "$6$rounds=1000$lab$NHkc6H1O0McudQWHLx02JoQx/.F0o.ckCfFYcoUBFI7yUoRsjWsHbDrqf4DoqQHW0OImEg6O5wlpyaYutEo94.";

/// `ip netns exec` has made a mount namespace for this process alone, so nobody else meets these users.
const WITH_OWN_USERS: &str =
    r#"mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && shift 2 && exec "$@""#;

pub(super) fn start(program: &Path, netns: &Netns, duty: &Duty, log: &Path) -> Result<Child> {
    let write = |extension: &str, text: &str| {
        let path = log.with_extension(extension);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let passwd = write(
        "passwd",
        &format!(
            "root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
             {USER}:x:60000:65534::/:/bin/false\n"
        ),
    )?;
    let shadow = write(
        "shadow",
        &format!("root:*:::::::\nnobody:*:::::::\n{USER}:{HASH}:::::::\n"),
    )?;
    let config = write("conf", &configuration(duty))?;
    netns
        .command("sh")
        .args(["-c", WITH_OWN_USERS, "sh"])
        .args([&passwd, &shadow])
        .arg(program)
        .arg("-f")
        .arg(config)
        .arg("-p")
        .arg(log.with_extension("pid"))
        .stdin(Stdio::null())
        .stdout(append(log)?)
        .stderr(append(log)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {}", program.display()))
}

fn configuration(duty: &Duty) -> String {
    let mut interfaces = String::new();
    for address in &duty.inside {
        // Writing to a string can't fail.
        let _ = writeln!(interfaces, "internal: {address} port = {SOCKS_PORT}");
    }
    for address in &duty.outside {
        let _ = writeln!(interfaces, "external: {address}");
    }
    // Dante uses the first of them that the client offers.
    let methods = if duty.login_required {
        "username"
    } else {
        "none username"
    };
    format!(
        "logoutput: stderr\n\
         {interfaces}\
         clientmethod: none\n\
         socksmethod: {methods}\n\
         user.privileged: root\n\
         user.unprivileged: nobody\n\
         client pass {{ from: 0/0 to: 0/0 log: error connect disconnect }}\n\
         socks pass {{ from: 0/0 to: 0/0\n  \
           command: connect bind udpassociate bindreply udpreply\n  \
           udp.portrange: 40000-40099\n  \
           log: error connect disconnect }}\n"
    )
}
