//! The words of the command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use redirector::capture::{Network, sampled, verdicts};
use redirector::engine::Kind;
use redirector::logging::LogLevel;
use redirector::units::parse_duration;

/// Layer-3 redirector for Dante SOCKS servers
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How much to log on standard error; `RUST_LOG` refines it
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Brief)]
    pub(crate) log: LogLevel,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent: attach the data path and keep it current until told to stop
    Run(Run),
    /// Say whether a configuration file is right, and everything that is wrong with it
    CheckConfig {
        /// The configuration file
        file: PathBuf,
    },
    /// Print a relayd.conf as a configuration of ours; what has no counterpart becomes a comment
    ImportRelayd(ImportRelayd),
    /// Look for what keeps clients from being served, and say how to mend it
    Doctor(Doctor),
    /// Show the state of the running agent
    Show(Show),
    /// Show the state of the running agent live in the terminal, until q is pressed
    Top {
        #[command(flatten)]
        socket: Socket,
    },
    /// Say where a client goes, and why
    Explain {
        /// The client's address
        #[arg(long)]
        client: IpAddr,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Say what a change would move, without making it: another configuration, or something that is drained, disabled
    /// or enabled
    Plan(Plan),
    /// Enable, disable or drain nodes
    Node {
        #[command(subcommand)]
        action: Action,
    },
    /// Enable, disable or drain pools
    Pool {
        #[command(subcommand)]
        action: Action,
    },
    /// Enable, disable or drain redirects
    Redirect {
        #[command(subcommand)]
        action: Action,
    },
    /// Compare the kernel's maps with what ought to be in them, entry by entry; a difference is an error
    Audit {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Print what completes this command line in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// Where to
        directory: PathBuf,
    },
    /// Check every node now, and show what is seen
    Poll {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Tell what happens, a line for each event, until interrupted
    Monitor(Monitor),
    /// Show single packets, as they came in and as they were sent on, with what was decided; until interrupted
    Capture(Capture),
    /// Let the running agent log more, or less
    Log {
        /// How much
        #[arg(value_enum)]
        level: LogLevel,
        #[command(flatten)]
        socket: Socket,
    },
    /// Say whether this relay can serve clients: exit code 0 if it can, else 1 with the reasons; for the
    /// `vrrp_script` of keepalived
    Health {
        #[command(flatten)]
        socket: Socket,
    },
    /// Let the agent read its configuration file again, and say what has changed; a wrong one changes nothing
    Reload {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Stop the agent; the data path goes on forwarding unless --detach is given
    Stop {
        /// Take the data path off the interfaces too and leave nothing behind
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) socket: Socket,
    /// Where links and maps are pinned; on a BPF file system
    #[arg(long, default_value = "/sys/fs/bpf/redirector")]
    pub(crate) pin_dir: PathBuf,
    /// Where what was disabled or drained is kept for the next agent; beside the control socket when not given
    #[arg(long)]
    pub(crate) operator_file: Option<PathBuf>,
    /// Where what nodes' names stand for is kept for the next agent; beside the control socket when not given
    #[arg(long)]
    pub(crate) names_file: Option<PathBuf>,
    /// Object file of the data path, in place of the one in this program
    #[arg(long, env = "REDIRECTOR_BPF_OBJECT")]
    pub(crate) bpf_object: Option<PathBuf>,
    /// Leave the data path forwarding when SIGTERM or SIGINT ends the agent, so that the next one can
    /// adopt it
    #[arg(long)]
    pub(crate) stay_attached: bool,
    /// Take the interfaces over from a data path of another version also where its connections can't be carried over;
    /// some of them break then. Without it such a data path goes on forwarding, and the agent does not start
    #[arg(long)]
    pub(crate) replace: bool,
    /// Reload when the configuration file is changed, as where it is a Kubernetes `ConfigMap`
    #[arg(long)]
    pub(crate) watch_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportRelayd {
    /// The relayd.conf
    pub(crate) file: PathBuf,
    /// The NICs towards clients and nodes, of which relayd has no list
    #[arg(long, value_delimiter = ',')]
    pub(crate) interfaces: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The configuration file; without it, what a running agent serves is looked at
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
    /// Where links and maps are pinned
    #[arg(long, default_value = "/sys/fs/bpf/redirector")]
    pub(crate) pin_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// What to show
    #[arg(value_enum)]
    pub(crate) what: What,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show counters that have counted nothing too
    #[arg(long)]
    pub(crate) all: bool,
    /// Of sessions: show so many at most
    #[arg(long, value_name = "SESSIONS", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Of sessions: show those on this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Of sessions: show those of this client
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// Redirects with their pools and nodes
    Summary,
    /// Nodes with their health, traffic and next hops
    Nodes,
    /// Redirects with their addresses and tables
    Redirects,
    /// Recorded connections and UDP associations, one by one
    Sessions,
    /// What became of packets
    Counters,
}

#[derive(Debug, Args)]
pub(crate) struct Monitor {
    /// Begin with so many of the last events
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    pub(crate) recent: usize,
    /// Print a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// Packets of this client and for it; a network such as 192.0.2.0/24 stands for all its addresses
    #[arg(long, value_name = "ADDRESS[/PREFIX]")]
    pub(crate) client: Option<Network>,
    /// Packets for this node and from it; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Vec<String>,
    /// Packets with this verdict, as in `show counters`, or whose verdicts begin with this word, such as drop; may be
    /// given more than once
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub(crate) verdict: Vec<String>,
    /// Write a pcapng file for Wireshark; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, value_name = "PACKETS", value_parser = value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Of so many packets that match, show one
    #[arg(long, value_name = "1/N", value_parser = sampled, default_value = "1/1")]
    pub(crate) sample: u32,
    /// Take so many bytes of each packet, before and after
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(14..=256), default_value_t = 256)]
    pub(crate) snaplen: u32,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Plan {
    /// The configuration file that would be loaded; nodes that are new in it are taken to be up
    #[arg(required = true)]
    pub(crate) file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: Option<Planned>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Planned {
    /// What enabling them would do
    Enable(PlannedNames),
    /// What disabling them would do
    Disable(PlannedNames),
    /// What draining them would do
    Drain(PlannedNames),
}

#[derive(Debug, Args)]
pub(crate) struct PlannedNames {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What the names name
    #[arg(long, value_enum, default_value_t = SubjectKind::Node)]
    pub(crate) kind: SubjectKind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SubjectKind {
    /// Nodes
    Node,
    /// Pools
    Pool,
    /// Redirects
    Redirect,
}

impl From<SubjectKind> for Kind {
    fn from(kind: SubjectKind) -> Self {
        match kind {
            SubjectKind::Node => Self::Node,
            SubjectKind::Pool => Self::Pool,
            SubjectKind::Redirect => Self::Redirect,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Give them clients again, as their health allows
    Enable(Named),
    /// Give them nothing: no new connections, and established ones are reset
    Disable(Named),
    /// Give them no new connections; established ones stay until they end
    Drain(Drain),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Their names, as in `show`; a node also as POOL/NAME or by its address
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Disable them after so long, such as 10m, whatever still lives there
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Wait until nothing lives there any more, or until the deadline
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: how long nothing must have lived there
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) quiet: Duration,
    /// With --wait: take connections that were silent for so long to have ended
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("it {error}; write it like 10m, 90s or 1h"))
}

fn verdict(text: &str) -> Result<String, String> {
    let name = text.to_owned();
    let known = verdicts(std::slice::from_ref(&name));
    known.map(|_| name).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub(crate) struct Socket {
    /// The agent's control socket
    #[arg(long = "socket", default_value = "/run/redirector/control.sock")]
    pub(crate) path: PathBuf,
}
