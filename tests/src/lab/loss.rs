//! Whether connections and their packets come through.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Transfer, wait_until};

/// TCP segments that the hosts of the lab have sent again and whose first copy did not arrive. Where the machine is busy a
/// sender loses patience though nothing is lost; the receiver then says that it has both copies (D-SACK, RFC 2883).
///
/// # Errors
/// When a host can't be asked.
pub fn lost(lab: &Lab) -> Result<i64> {
    let (mut again, mut twice) = (0, 0);
    let hosts = [lab.client_host(), lab.far_host(), lab.target_host()];
    let nodes = (0..lab.node_count()).map(|node| lab.node_host(node));
    for host in hosts.into_iter().map(Ok).chain(nodes) {
        let [snmp, netstat] = host?.run(|| {
            ["snmp", "netstat"].map(|of| fs::read_to_string(format!("/proc/thread-self/net/{of}")))
        })?;
        let (snmp, netstat) = (snmp?, netstat?);
        again += counter(&snmp, "Tcp:", "RetransSegs")?;
        twice += counter(&netstat, "TcpExt:", "TCPDSACKRecv")?;
        twice += counter(&netstat, "TcpExt:", "TCPDSACKOfoRecv")?;
    }
    Ok(again - twice)
}

/// A counter of a file that has a line of names and one of values for each group.
fn counter(text: &str, group: &str, name: &str) -> Result<i64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next(), lines.next());
    let place = names.and_then(|names| names.split_whitespace().position(|one| one == name));
    let value = values
        .zip(place)
        .and_then(|(values, at)| values.split_whitespace().nth(at));
    let value = value.with_context(|| format!("no {name}"))?;
    value.parse().with_context(|| format!("{name} is {value}"))
}

/// None is broken, and no packet of any was lost since `before`.
///
/// # Errors
/// One is, or was; `when` is told with it.
pub fn require_whole(lab: &Lab, transfers: &[Transfer], before: i64, when: &str) -> Result<()> {
    for transfer in transfers {
        let report = transfer.report();
        ensure!(
            report.broken.is_none() && report.bytes > 0,
            "{when}: {report:?}"
        );
    }
    // That a copy came twice is heard a moment after it was sent.
    wait_until("nothing to be missing", Duration::from_secs(2), || {
        let lost = lost(lab)? - before;
        ensure!(lost <= 0, "{when}: {lost} segments were lost");
        Ok(())
    })
}
