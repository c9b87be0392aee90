//! A relay in a namespace, with a node's namespace beside it.

use std::{
    fs::File,
    future::Future,
    net::IpAddr,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};

const RELAY_MAC: &str = "02:00:00:00:00:01";
pub(crate) const NODE_MAC: &str = "02:00:00:00:00:02";

/// Two namespaces joined by a veth pair; both vanish with it.
pub(crate) struct Lab {
    relay: String,
    node: String,
}

fn output(program: &str, arguments: &str) -> Output {
    Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program} {arguments}: {error}"))
}

fn run(program: &str, arguments: &str) -> String {
    let output = output(program, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments} failed (root?): {error}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Lab {
    /// eth0 `10.0.1.1/24` and `2001:db8:1::1/64` in the relay, eth0 `10.0.1.2/24` and `2001:db8:1::2/64` in
    /// the node, which is also `fe80::2`.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Self {
            relay: format!("rnet-r-{unique}"),
            node: format!("rnet-n-{unique}"),
        };
        run("ip", &format!("netns add {}", lab.relay));
        run("ip", &format!("netns add {}", lab.node));
        run(
            "ip",
            &format!(
                "-n {} link add eth0 address {RELAY_MAC} type veth peer name eth0 address {NODE_MAC} netns {}",
                lab.relay, lab.node
            ),
        );
        lab.ip("link set lo up");
        lab.ip("addr add 10.0.1.1/24 dev eth0");
        lab.ip("addr add 2001:db8:1::1/64 dev eth0 nodad");
        lab.ip("link set eth0 up");
        lab.node_ip("addr add 10.0.1.2/24 dev eth0");
        lab.node_ip("addr add 2001:db8:1::2/64 dev eth0 nodad");
        lab.node_ip("addr add fe80::2/64 dev eth0 nodad");
        lab.node_ip("link set eth0 up");
        lab
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        run("ip", &format!("-n {} {arguments}", self.relay))
    }

    pub(crate) fn node_ip(&self, arguments: &str) -> String {
        run("ip", &format!("-n {} {arguments}", self.node))
    }

    /// Runs many `ip` commands at once.
    pub(crate) fn batch(&self, lines: &str) {
        use std::io::Write;
        let mut child = Command::new("ip")
            .args(["-n", &self.relay, "-force", "-batch", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("ip runs");
        child
            .stdin
            .take()
            .expect("it has an input")
            .write_all(lines.as_bytes())
            .expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }

    /// Runs a future inside the relay, on a thread and runtime of its own.
    pub(crate) fn inside<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let path = format!("/run/netns/{}", self.relay);
                let namespace = File::open(&path).expect("the namespace exists");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime starts");
                runtime.block_on(future)
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What the kernel says of a packet of the relay's own.
    pub(crate) fn route_get(&self, address: IpAddr) -> String {
        let output = output("ip", &format!("-n {} route get {address}", self.relay));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.relay, &self.node] {
            output("ip", &format!("netns del {namespace}"));
        }
    }
}
