//! A small server beside Dante, which says what it is told to say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use redirector_tests::lab::Lab;
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How it answers.
#[derive(Clone)]
pub(crate) struct Behaviour {
    /// What it says at once.
    pub(crate) banner: &'static str,
    /// What it says after the first bytes of a client.
    pub(crate) answer: String,
    /// Its certificate, where it speaks TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// It runs in a node's namespace until it is dropped.
pub(crate) struct Server {
    behaviour: Arc<Mutex<Behaviour>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(lab: &Lab, node: usize, port: u16, behaviour: Behaviour) -> Result<Self> {
        let listener = lab
            .node_host(node)?
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        listener.set_nonblocking(true)?;
        let behaviour = Arc::new(Mutex::new(behaviour));
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (behaviour, over) = (Arc::clone(&behaviour), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let now = lock(&behaviour).clone();
                            // A client that goes away is none of its business.
                            let _ = serve(stream, &now);
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        Ok(Self {
            behaviour,
            over,
            thread: Some(thread),
        })
    }

    /// From now on it behaves otherwise.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.behaviour));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

fn lock(behaviour: &Mutex<Behaviour>) -> std::sync::MutexGuard<'_, Behaviour> {
    behaviour.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, behaviour: &Behaviour) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let ends = stream.try_clone()?;
    if let Some(config) = &behaviour.tls {
        let connection = ServerConnection::new(Arc::clone(config))?;
        let mut tls = StreamOwned::new(connection, stream);
        speak(&mut tls, behaviour)?;
        tls.conn.send_close_notify();
        tls.flush()?;
    } else {
        let mut stream = stream;
        speak(&mut stream, behaviour)?;
    }
    ends.shutdown(Shutdown::Write)?;
    Ok(())
}

fn speak(stream: &mut (impl Read + Write), behaviour: &Behaviour) -> Result<()> {
    stream.write_all(behaviour.banner.as_bytes())?;
    stream.flush()?;
    if stream.read(&mut [0; 2048])? > 0 {
        stream.write_all(behaviour.answer.as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A server with a certificate for this name or address, good until the end of a year.
    pub(crate) fn server(&self, name: &str, until: i32) -> Result<Arc<ServerConfig>> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Arc::new(config))
    }
}
