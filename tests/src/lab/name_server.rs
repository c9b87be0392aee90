//! A name server that says whatever it is told to say, the right thing included.
//!
//! It is written by hand, by RFC 1035, so that it can be as wrong as no library would let it be.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::netns::Netns;

/// How long answers hold, in seconds.
const HOLDS: u32 = 60;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// A service of a name (RFC 2782).
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The lowest of them is used first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its host.
    pub host: &'static str,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    services: Vec<Service>,
}

/// What the server does with questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It says what it knows, in the order in which it was told.
    Honest,
    /// It says what it knows, in another order each time.
    Shuffling,
    /// It is silent.
    Mute,
    /// There is no such name.
    NoSuchName,
    /// It has failed.
    Failing,
    /// It sends bytes that mean nothing.
    Garbage,
    /// It sends more than anybody wants, cut off within a record.
    Huge,
    /// Every name is another name of itself.
    Loop,
    /// It answers a question that was not asked.
    WrongId,
    /// It says that every name is the loopback interface.
    Loopback,
}

impl Manner {
    /// Those that give no address.
    pub const USELESS: [Self; 8] = [
        Self::Mute,
        Self::NoSuchName,
        Self::Failing,
        Self::Garbage,
        Self::Huge,
        Self::Loop,
        Self::WrongId,
        Self::Loopback,
    ];
}

#[derive(Debug)]
struct Shared {
    names: Mutex<BTreeMap<String, Known>>,
    manner: Mutex<Manner>,
    asked: AtomicUsize,
    stop: AtomicBool,
}

/// The server; it ends when dropped, and nobody listens on its port any more.
#[derive(Debug)]
pub struct NameServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl NameServer {
    /// Starts it on a host.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Netns, address: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            names: Mutex::default(),
            manner: Mutex::new(Manner::Honest),
            asked: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let socket = host
            .run(|| UdpSocket::bind(address))?
            .with_context(|| format!("can't listen on {address}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let of_thread = Arc::clone(&shared);
        let thread = host.spawn("name server", move || {
            serve(&socket, &of_thread);
            Ok(())
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Says from now on that a name has these addresses.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        let names = self.shared.names.lock();
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default().addresses = addresses.to_vec();
    }

    /// Says from now on that a name has these services.
    pub fn set_services(&self, name: &str, services: &[Service]) {
        let names = self.shared.names.lock();
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default().services = services.to_vec();
    }

    /// Behaves like this from now on.
    pub fn behave(&self, manner: Manner) {
        *self
            .shared
            .manner
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How many questions have come.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it failed of has shown in what it was for.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 2048];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let turn = shared.asked.fetch_add(1, Ordering::Relaxed);
        let manner = *shared.manner.lock().unwrap_or_else(PoisonError::into_inner);
        let names = shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer(&buffer[..length], &names, manner, turn) {
            // Who has asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The name of a question, its type, and where it ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(query.get(at..at + length)?.to_vec()).ok()?);
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join(".").to_lowercase(), kind, at + 4))
}

/// The data of a service's record.
fn record(service: &Service) -> Vec<u8> {
    let Service {
        priority,
        weight,
        port,
        host,
    } = service;
    let mut data = Vec::new();
    for number in [priority, weight, port] {
        data.extend(number.to_be_bytes());
    }
    for label in host.split('.') {
        data.push(u8::try_from(label.len()).unwrap_or(0));
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

fn answer(
    query: &[u8],
    names: &BTreeMap<String, Known>,
    manner: Manner,
    turn: usize,
) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    let known = names.get(&name);
    let mut records: Vec<(u16, Vec<u8>)> = known
        .into_iter()
        .flat_map(|known| {
            let addresses = known.addresses.iter().map(|address| match address {
                IpAddr::V4(address) => (A, address.octets().to_vec()),
                IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
            });
            addresses.chain(known.services.iter().map(|service| (SRV, record(service))))
        })
        .filter(|(of, _)| *of == kind)
        .collect();
    let no_such_name = if known.is_some() { 0 } else { 3 };
    let code = match manner {
        Manner::Mute => return None,
        Manner::Honest | Manner::Garbage | Manner::WrongId => no_such_name,
        Manner::Shuffling => {
            let by = turn % records.len().max(1);
            records.rotate_left(by);
            if turn.is_multiple_of(3) {
                records.reverse();
            }
            no_such_name
        }
        Manner::NoSuchName => {
            records.clear();
            3
        }
        Manner::Failing => {
            records.clear();
            2
        }
        Manner::Huge => {
            let first = records.first().cloned()?;
            records = vec![first; 3500];
            0
        }
        Manner::Loop => {
            records = vec![(CNAME, query[12..end - 4].to_vec())];
            0
        }
        Manner::Loopback => {
            records.retain(|(of, _)| *of == A);
            for (_, data) in &mut records {
                data.copy_from_slice(&[127, 0, 0, 1]);
            }
            0
        }
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&query[12..end]);
    for (kind, data) in records {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(HOLDS.to_be_bytes());
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    match manner {
        Manner::WrongId => answer[0] ^= 0xff,
        Manner::Garbage => {
            for (at, byte) in answer.iter_mut().enumerate().skip(2) {
                *byte = u8::try_from(at * 7919 % 251).ok()?;
            }
        }
        Manner::Huge => answer.truncate(50_001),
        Manner::Honest
        | Manner::Shuffling
        | Manner::Mute
        | Manner::NoSuchName
        | Manner::Failing
        | Manner::Loop
        | Manner::Loopback => {}
    }
    Some(answer)
}
