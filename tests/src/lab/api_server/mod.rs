//! An API server of a cluster that knows `EndpointSlices` and nothing else.
//!
//! It keeps to what Kubernetes promises of lists and watches (API Concepts, "Efficient detection of changes"): every change has a
//! version of its own, a list has the version at which it is true and may come in pages, a watch tells what has changed since a
//! version, one line of JSON for each change, with bookmarks between them, and a version that is too old is gone (410). Whoever asks needs
//! a token, and the right to the namespace.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the objects, their history, and what the server is told to do |
//! | `account.rs` | what a pod is given to ask with |
//! | `flood.rs` | answers without an end |
//! | `serve.rs` | HTTP |
//! | `tls.rs` | TLS, with an authority of its own |

mod account;
mod flood;
mod serve;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use self::tls::Identity;
use super::netns::Netns;

pub use account::ServiceAccount;
pub use flood::Flood;

/// Who has this may ask, until the token is another.
const TOKEN: &str = "token-of-the-lab";

/// The namespace that the token has a right to.
pub const NAMESPACE: &str = "socks";

/// The service whose `EndpointSlices` the server makes.
pub const SERVICE: &str = "dante";

/// How the server says that a version is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// By a line of the watch.
    Line,
    /// By refusing the watch.
    Refusal,
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes clients.
    Ready,
    /// It ends and serves still.
    Terminating,
    /// It is not ready.
    NotReady,
}

/// An endpoint of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// What the pod is called.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// What it is.
    pub condition: Condition,
}

/// What the server does with those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manner {
    gone: Gone,
    /// Requests are refused (403).
    forbids: bool,
    /// Watches end as soon as they begin.
    ends_at_once: bool,
    /// What has no end.
    flood: Option<Flood>,
    /// Counts the times at which all watches were broken off.
    breaks: u64,
}

/// A change of an object.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    kind: &'static str,
    object: Value,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Lists, each of which may have come in pages.
    pub lists: u64,
    /// Watches.
    pub watches: u64,
    /// Requests that were refused because of their version.
    pub gone: u64,
    /// Requests without the token.
    pub strangers: u64,
}

/// Objects and their history.
#[derive(Debug)]
struct Cluster {
    version: u64,
    objects: BTreeMap<String, Value>,
    history: VecDeque<Change>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    /// Who has this may ask.
    token: String,
    manner: Manner,
    asked: Asked,
}

#[derive(Debug)]
struct Shared {
    cluster: Mutex<Cluster>,
    /// Tells watches that there is something new.
    news: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let done = change(&mut self.lock());
        self.news.send_modify(|news| *news += 1);
        done
    }
}

/// The server, or its data while it is down.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl ApiServer {
    /// Starts it on a host, with no object.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Netns, address: SocketAddr) -> Result<Self> {
        let cluster = Cluster {
            version: 1000,
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: 0,
            token: TOKEN.to_owned(),
            manner: Manner {
                gone: Gone::Line,
                forbids: false,
                ends_at_once: false,
                flood: None,
                breaks: 0,
            },
            asked: Asked::default(),
        };
        let mut server = Self {
            shared: Arc::new(Shared {
                cluster: Mutex::new(cluster),
                news: watch::Sender::new(0),
            }),
            identity: Arc::new(Identity::new(address.ip())?),
            address,
            running: None,
        };
        server.come_back(host)?;
        Ok(server)
    }

    /// Listens and answers again, with the objects that there are.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn come_back(&mut self, host: &Netns) -> Result<()> {
        let listener = host.run(|| {
            let listener = std::net::TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            std::io::Result::Ok(listener)
        })?;
        let listener = listener.with_context(|| format!("can't listen on {}", self.address))?;
        let (stop, stopped) = oneshot::channel();
        let (shared, identity) = (Arc::clone(&self.shared), Arc::clone(&self.identity));
        let thread = host.spawn("API server", move || {
            serve::serve(listener, &shared, &identity, stopped)
        })?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }

    /// Is gone, and all connections with it. Its objects stay.
    pub fn go(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // What it failed of has shown in what it was for.
            let _ = thread.join();
        }
    }

    /// Writes what `kubectl` would know the server by.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<PathBuf> {
        self.write_kubeconfig_with(path, &self.identity.authority)
    }

    /// The same with the certificate of another authority.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_wrong_kubeconfig(&self, path: &Path) -> Result<PathBuf> {
        let stranger = Identity::new(self.address.ip())?;
        self.write_kubeconfig_with(path, &stranger.authority)
    }

    fn write_kubeconfig_with(&self, path: &Path, authority: &str) -> Result<PathBuf> {
        let authority = STANDARD.encode(authority);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "lab", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": authority,
            } }],
            "users": [{ "name": "relay", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "relay" } }],
            "current-context": "lab",
        });
        // JSON is YAML.
        std::fs::write(path, config.to_string())
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(path.to_owned())
    }

    /// Has these endpoints, in slices of at most two, as the cluster's own controller would make them of so many.
    pub fn set(&self, pods: &[Pod]) {
        let slices: BTreeMap<String, Value> = pods
            .chunks(2)
            .enumerate()
            .map(|(number, pods)| (format!("{SERVICE}-{number}"), slice(number, pods)))
            .collect();
        self.shared.change(|cluster| {
            let gone: Vec<String> = cluster
                .objects
                .keys()
                .filter(|name| !slices.contains_key(*name))
                .cloned()
                .collect();
            for name in gone {
                cluster.delete(&name);
            }
            for (name, slice) in slices {
                cluster.put(&name, slice);
            }
        });
    }

    /// Loses all objects without telling anybody, as from a backup that was made before they were, and all versions.
    pub fn lose_everything(&self) {
        self.shared.change(|cluster| {
            cluster.objects.clear();
            cluster.forget();
            cluster.manner.breaks += 1;
        });
    }

    /// Breaks all watches off, and goes on serving.
    pub fn break_off(&self) {
        self.shared.change(|cluster| cluster.manner.breaks += 1);
    }

    /// Forgets what has changed so far, so that the versions from before are gone, which it says in this way from now on.
    pub fn forget(&self, gone: Gone) {
        self.shared.change(|cluster| {
            cluster.forget();
            cluster.manner.gone = gone;
        });
    }

    /// Refuses everybody from now on, or nobody who may ask.
    pub fn forbid(&self, forbids: bool) {
        self.shared.change(|cluster| {
            cluster.manner.forbids = forbids;
            cluster.manner.breaks += 1;
        });
    }

    /// Knows nobody's token any more.
    pub fn withdraw_tokens(&self) {
        self.shared.change(|cluster| {
            cluster.token = String::from("token-of-nobody");
            cluster.manner.breaks += 1;
        });
    }

    /// Ends every watch from now on as soon as it has begun, or none.
    pub fn end_at_once(&self, ends_at_once: bool) {
        self.shared.change(|cluster| {
            cluster.manner.ends_at_once = ends_at_once;
            cluster.manner.breaks += 1;
        });
    }

    /// Sends answers without an end from now on, or none.
    pub fn flood(&self, flood: Option<Flood>) {
        self.shared.change(|cluster| {
            cluster.forget();
            cluster.manner.flood = flood;
            cluster.manner.breaks += 1;
        });
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Asked {
        self.shared.lock().asked
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.go();
    }
}

impl Cluster {
    fn put(&mut self, name: &str, mut object: Value) {
        let known = self.objects.get(name);
        let bare = |object: &Value| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = Value::Null;
            object
        };
        object["metadata"]["resourceVersion"] = Value::Null;
        if known.is_some_and(|known| bare(known) == object) {
            return;
        }
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.note(kind, &mut object);
        self.objects.insert(name.to_owned(), object);
    }

    fn delete(&mut self, name: &str) {
        if let Some(mut object) = self.objects.remove(name) {
            self.note("DELETED", &mut object);
        }
    }

    fn note(&mut self, kind: &'static str, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push_back(Change {
            version: self.version,
            kind,
            object: object.clone(),
        });
    }

    /// Forgets the history. The version moves on, as by changes of other objects.
    fn forget(&mut self) {
        self.version += 10;
        self.history.clear();
        self.forgotten = self.version;
    }
}

fn slice(number: usize, pods: &[Pod]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let (ready, serving, terminating) = match pod.condition {
                Condition::Ready => (true, true, false),
                Condition::Terminating => (false, true, true),
                Condition::NotReady => (false, false, false),
            };
            json!({
                "addresses": [pod.address.to_string()],
                "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
                "hostname": pod.name,
                "nodeName": "worker",
                "targetRef": { "kind": "Pod", "namespace": NAMESPACE, "name": pod.name },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{SERVICE}-{number}"),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": SERVICE },
        },
        "addressType": if pods.iter().all(|pod| pod.address.is_ipv4()) { "IPv4" } else { "IPv6" },
        "ports": [{ "name": "socks", "port": super::plan::SOCKS_PORT, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}
