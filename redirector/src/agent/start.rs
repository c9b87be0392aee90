//! Everything that must be right before something is attached.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    net::IpAddr,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use aya_log::EbpfLogger;
use nix::fcntl::{Flock, FlockArg};
use redirector_common::abi::Globals;
use tokio::sync::mpsc;

use super::{
    Agent, FIRST_RESULTS, LOG_BURST, RunOptions, account,
    apply::Applied,
    attachment::{self, Attachment},
    capture::Capture,
    clock::Clock,
    config_watch::ConfigWatch,
    hosts, lock_holder,
    look::Watch,
    names_file, operator_file,
    peers::Peers,
    seen::Shown,
    sources::Sources,
};
use crate::{
    config::{Config, XdpMode},
    control::{Call, Events, Happening, Server},
    datapath::{Datapath, Maps, Mode, Object, Pins, detach, detach_others, load},
    engine::{Found, Relay},
    family::Family,
    health::{Material, Scheduler},
    net::{monitor::Monitor, resolve::resolve, solicit::Solicitor, view::NetView},
    privileges::{self, Threads, group_named},
};

/// Room for results of checks, and for requests, that the loop has not come to yet.
const QUEUE: usize = 1024;

/// Held by the one agent that may write to the maps below a pin directory.
pub(super) struct PinLock(Flock<File>);

impl PinLock {
    /// The directory, by a path that can be followed whoever owns those above it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// `locked` is the lock of the pin directory, where it is held already.
pub(super) async fn start(options: RunOptions, locked: Option<PinLock>) -> anyhow::Result<Agent> {
    let config = Config::load(&options.config)?;
    let material = Material::read(&config)?;
    let peers = Agent::prepare_peers(&config.peers)?;
    let object = Object::find(options.bpf_object.as_deref())?;
    let monitor = Monitor::start().await?;
    let mut views = monitor.views();
    let view = Arc::clone(&views.borrow_and_update());
    let interfaces = attachment::find(&view, &config.interfaces)?;
    refuse_own_nodes(&view, &config)?;
    warn_of_the_host(&view, &config);
    let threads = Threads::start().context("cannot start threads")?;
    // Before the lock is taken: who waits for a name server keeps nobody from anything.
    let outside = threads.outside.handle();
    let kept = names_file::load(&options.names_file);
    let names = hosts::at_start(&config, &view, kept.names, outside).await;
    let config = config.with_addresses(&names.known());
    let sources = Sources::at_start(&config, &view, kept.pools, outside).await;
    let config = config.with_discovered(&sources.book.nodes());

    let solicitor = Solicitor::open(views.clone())?;

    // Before the maps are made or adopted: of two agents that start at once one must not take away what
    // the other has pinned.
    let lock = if let Some(lock) = locked {
        lock
    } else {
        let lock = lock(&options.pin_dir)?;
        account::take_over(&options)?;
        lock
    };
    let pins = Pins {
        directory: &options.pin_dir,
        replace: options.replace,
    };
    let mut datapath = load(&object, config.flows.max, Some(pins))?;
    let (call_sender, calls) = mpsc::channel(QUEUE);
    let events = Events::default();
    let prepared = serve(&threads, &options, &config, call_sender.clone(), &events)
        .and_then(|server| {
            let prepared = Prepared::new(&mut datapath, config, &view, &interfaces, &options)?;
            Ok((server, prepared))
        })
        .inspect_err(|_| {
            datapath.give_up(&options.pin_dir);
        });
    let (
        server,
        Prepared {
            relay,
            applied,
            clock,
            attachments,
            log,
        },
    ) = prepared?;
    let adopted = datapath.adopted;
    let capture = Capture::new(datapath.take_capture()?);
    let (sender, observations) = mpsc::channel(QUEUE);
    let mut scheduler = Scheduler::in_threads(&threads, sender);
    scheduler.set_material(material);
    scheduler.set_targets(relay.targets());
    let (ask, asked) = mpsc::channel(QUEUE);
    let watched = options.watch_config.then(|| options.config.clone());
    let config_watch = watched.map(|path| ConfigWatch::new(path, Instant::now()));
    let mut agent = Agent {
        options,
        relay,
        applied,
        datapath,
        attachments,
        refusals: super::interfaces::Refusals::default(),
        clock,
        scheduler,
        hosts: hosts::Hosts::new(names, threads.outside.handle().clone()),
        peers: Peers::new(threads.outside.handle().clone(), !adopted),
        sources,
        solicitor,
        views,
        observations,
        calls,
        call_sender,
        asked,
        ask,
        server,
        http: None,
        shown: Shown::default(),
        events,
        digests: BTreeMap::new(),
        polls: Vec::new(),
        started: SystemTime::now(),
        holds_until: Instant::now() + FIRST_RESULTS,
        generation: 1,
        last_round: Instant::now(),
        last_associations: Instant::now(),
        config_watch,
        watch: Watch::default(),
        capture,
        watchdog: super::supervisor::Watchdog::from_environment(Instant::now()),
        table_full: None,
        counted: super::operate::Counted::default(),
        _threads: threads,
        _monitor: monitor,
        log,
        _lock: lock,
    };
    if agent.datapath.adopted {
        agent.digest_adopted();
    }
    agent.keep_names();
    let http = agent.prepare_http(agent.relay.config().http.as_ref())?;
    agent.serve_http(http)?;
    let named = agent.relay.config().peers.clone();
    agent.peers.begin(&named, peers);
    agent.keep_neighbours(&view).await;
    for attachment in &agent.attachments {
        agent.tell_attached(attachment);
    }
    agent.events.tell(Happening::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    });
    account::settle(&agent.options)?;
    log::info!("running");
    agent.tell_ready();
    Ok(agent)
}

/// Listens on the control socket, in the thread that speaks with clients.
fn serve(
    threads: &Threads,
    options: &RunOptions,
    config: &Config,
    calls: mpsc::Sender<Call>,
    events: &Events,
) -> anyhow::Result<Server> {
    let group = config.control.socket_group.as_deref();
    let group = group.map(group_named).transpose()?;
    if let Some(group) = group {
        account::warn_of_closed_directory(&options.socket, group);
    }
    let _outside = threads.outside.handle().enter();
    Ok(Server::start(
        &options.socket,
        group,
        calls,
        events.clone(),
    )?)
}

/// Maps filled and program attached.
struct Prepared {
    relay: Relay,
    applied: Applied,
    clock: Clock,
    attachments: Vec<Attachment>,
    log: EbpfLogger<&'static dyn log::Log>,
}

impl Prepared {
    /// Tables first, then the program that reads them; nothing that can fail comes after that. Where an
    /// interface refuses, the others are left again, or, where an earlier agent's program was on them, run this one.
    fn new(
        datapath: &mut Datapath,
        config: Config,
        view: &NetView,
        interfaces: &[(String, u32)],
        options: &RunOptions,
    ) -> anyhow::Result<Self> {
        let adopted = datapath.adopted;
        let mut maps: Maps = datapath.take_maps()?;
        let found = Found {
            operator: operator_file::load(&options.operator_file),
            ..Applied::find(&mut maps)?
        };
        let now = Instant::now();
        let clock = Clock::new(maps.globals()?.epoch, now);
        let epoch = clock.epoch(now);
        maps.set_globals(&Globals {
            epoch,
            log_burst: LOG_BURST,
        })?;
        let log = datapath
            .logger()
            .context("cannot read the data path's log")?;
        let mut applied = Applied::new(maps, &found)?;
        let allowed = interfaces.iter().map(|(_, ifindex)| *ifindex).collect();
        // At once: an adopted data path asks the kernel until then, which does not know all ways where it
        // does not forward itself.
        applied.route(view, &allowed)?;
        if adopted {
            log::info!(
                "adopting what runs: {} nodes' entries, {} redirects",
                found.backends.len(),
                found.tables.len()
            );
        }
        let xdp_mode = config.xdp_mode;
        let mut relay = Relay::new(config, random_key()?, found, epoch, now)?;
        relay.reach(|address| resolve(view, address, &allowed).ok(), epoch);
        applied.apply(&relay)?;

        if xdp_mode == XdpMode::Tc {
            // As long as nothing has changed.
            datapath.load_tc()?;
        }
        datapath.take_links()?;
        let mut attachments: Vec<Attachment> = Vec::new();
        let mut refused = Vec::new();
        for (interface, ifindex) in interfaces {
            match attachment::attach_to(
                datapath,
                view,
                (interface, *ifindex),
                xdp_mode,
                &options.pin_dir,
            ) {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => refused.push(error),
            }
            // The others may be running an earlier program, which does not know what this one records from here on.
            if !adopted && !refused.is_empty() {
                break;
            }
        }
        if !refused.is_empty() {
            for attachment in attachments.iter().filter(|_| !adopted) {
                detach(&attachment.interface, attachment.mode, &options.pin_dir)?;
            }
            let refused: Vec<String> = refused.iter().map(|error| format!("{error:#}")).collect();
            bail!("{}", refused.join("; "));
        }
        leave_others(&attachments, &options.pin_dir);
        datapath.settle();
        applied.note_modes(&attachments)?;
        Ok(Self {
            relay,
            applied,
            clock,
            attachments,
            log,
        })
    }
}

/// An interface that an earlier agent was told of and this one is not would go on running the earlier one's program, whose maps
/// and stages are about to go.
fn leave_others(attachments: &[Attachment], pin_directory: &Path) {
    let attached: Vec<(&str, Mode)> = attachments
        .iter()
        .map(|one| (one.interface.as_str(), one.mode))
        .collect();
    match detach_others(&attached, pin_directory) {
        Ok(gone) => {
            for link in gone {
                log::info!("{link}: detached, since the configuration does not name it any more");
            }
        }
        Err(error) => log::error!("cannot leave interfaces that are not configured: {error:#}"),
    }
}

/// A node's address that is the relay's own would make its packets loop or vanish.
pub(super) fn refuse_own_nodes(view: &NetView, config: &Config) -> anyhow::Result<()> {
    for pool in &config.pools {
        for node in &pool.nodes {
            if let Some(address) = node.addresses.iter().find(|one| view.is_own(*one)) {
                bail!(
                    "node {} of pool {} has the address {address}, which is this relay's own; a node is another \
                     host",
                    node.name,
                    pool.name,
                );
            }
        }
    }
    Ok(())
}

/// Says what on this host will keep clients from being served.
fn warn_of_the_host(view: &NetView, config: &Config) {
    for redirect in &config.redirects {
        let addresses: BTreeSet<IpAddr> = redirect.listen.iter().map(|l| l.address).collect();
        for address in addresses {
            if !view.is_own(address) {
                let asked_by = match address {
                    IpAddr::V4(_) => "ARP",
                    IpAddr::V6(_) => "neighbour discovery",
                };
                log::warn!(
                    "redirect {}: {address} is not an address of this host; nobody answers {asked_by} for it \
                     here, so clients must be routed here",
                    redirect.name,
                );
            }
        }
    }
    let listens_in = |family| {
        let mut redirects = config.redirects.iter();
        redirects.any(|redirect| redirect.families().any(|listened| listened == family))
    };
    for (family, key) in [
        (Family::V4, "net.ipv4.ip_forward"),
        (Family::V6, "net.ipv6.conf.all.forwarding"),
    ] {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let forwarding = std::fs::read_to_string(path);
        if listens_in(family) && forwarding.is_ok_and(|value| value.trim() == "0") {
            log::warn!(
                "{family} forwarding is off; set it with `sysctl -w {key}=1`, or the first answers to \
                 clients whose link-layer address the agent does not know yet are lost"
            );
        }
    }
}

/// Locks the pin directory against a second agent.
pub(super) fn lock(pin_directory: &Path) -> anyhow::Result<PinLock> {
    let shown = pin_directory.display();
    std::fs::create_dir_all(pin_directory).with_context(|| {
        format!(
            "cannot make {shown} to pin the maps; run as root, mount the BPF file system there (mount -t bpf \
             bpf /sys/fs/bpf), or choose another place with --pin-dir"
        )
    })?;
    let (directory, taken_from) = privileges::open_pins(pin_directory)?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        // An agent that was just ending may have removed the directory after it was opened here.
        Ok(lock) if !is_at(&lock, pin_directory) => {
            bail!("another agent was just leaving {shown}; start this one again")
        }
        Ok(lock) => Ok(PinLock(lock)),
        Err((directory, nix::errno::Errno::EWOULDBLOCK)) => {
            if let Some(account) = taken_from {
                let given = privileges::give_back(&directory, account);
                given.with_context(|| format!("cannot give {shown} back"))?;
            }
            bail!(
                "{} uses the maps in {shown}; stop it with `redirector stop`, or choose another place with \
                 --pin-dir",
                match lock_holder::of(&directory) {
                    Some(pid) => format!("another agent (pid {pid})"),
                    None => "another agent".to_owned(),
                }
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {shown}")),
    }
}

/// Whether an open directory is still the one at `path`.
fn is_at(directory: &File, path: &Path) -> bool {
    let opened = directory.metadata().map(|of| (of.dev(), of.ino()));
    let there = std::fs::metadata(path).map(|of| (of.dev(), of.ino()));
    matches!((opened, there), (Ok(opened), Ok(there)) if opened == there)
}

/// A key that nobody knows. It is kept with the pinned tables.
fn random_key() -> anyhow::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytemuck::cast(bytes))
}
