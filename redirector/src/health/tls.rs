//! TLS with a node: whether it completes a handshake, and whether its certificate is good where that is asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore, crypto};

use self::unverified::Unverified;
use super::talk::{Break, Talk};
use super::{Cause, Outcome};
use crate::config::{Config, Tls};

mod unverified;

/// Largest file of certificates, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Why the certificates to trust cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the certificates in {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file holds nothing that can be trusted.
    #[error("{} holds no certificate in PEM that can be trusted: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This host trusts nobody.
    #[error(
        "this host has no certificates to trust ({reason}); install ca-certificates, name a ca-file in the check, or \
         set verify = false"
    )]
    NoRoots {
        /// What was tried.
        reason: String,
    },
    /// The library refuses what it is given.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] TlsError),
}

/// Whom the checks of a configuration trust.
#[derive(Clone, Debug, Default)]
pub struct Trusts(HashMap<Trust, Arc<ClientConfig>>);

/// A way to trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    Anybody,
    Host,
    File(PathBuf),
}

impl Trust {
    fn of(tls: &Tls) -> Self {
        match (tls.verify, &tls.ca_file) {
            (false, _) => Self::Anybody,
            (true, None) => Self::Host,
            (true, Some(path)) => Self::File(path.clone()),
        }
    }

    fn config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match self {
            Self::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified::new(provider))),
            Self::Host => builder.with_root_certificates(of_host()?),
            Self::File(path) => builder.with_root_certificates(of_file(path)?),
        };
        Ok(builder.with_no_client_auth())
    }
}

impl Trusts {
    /// Reads the certificates that the checks of a configuration trust.
    ///
    /// # Errors
    /// [`TrustError`] of the first that cannot be used.
    pub(super) fn read(config: &Config) -> Result<Self, TrustError> {
        let mut trusts = HashMap::new();
        let checks = config.pools.iter().flat_map(|pool| pool.checks.iter());
        for tls in checks.filter_map(|check| check.tls()) {
            if let Entry::Vacant(place) = trusts.entry(Trust::of(tls)) {
                let config = place.key().config()?;
                place.insert(Arc::new(config));
            }
        }
        Ok(Self(trusts))
    }

    fn get(&self, tls: &Tls) -> Option<&Arc<ClientConfig>> {
        self.0.get(&Trust::of(tls))
    }
}

fn of_host() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let reason = match reasons.join(", ") {
            none if none.is_empty() => "none were found".to_owned(),
            reasons => reasons,
        };
        return Err(TrustError::NoRoots { reason });
    }
    Ok(roots)
}

fn of_file(path: &Path) -> Result<RootCertStore, TrustError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut text))
        .map_err(|cause| TrustError::Read {
            path: path.into(),
            cause,
        })?;
    let unusable = |reason: String| TrustError::Unusable {
        path: path.into(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    Ok(roots)
}

/// Makes a handshake over a connection.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    talk: Talk<S>,
    tls: &Tls,
    address: IpAddr,
    trusts: &Trusts,
) -> Result<Talk<TlsStream<S>>, Outcome> {
    let Some(config) = trusts.get(tls) else {
        return Err(Outcome::NotProbed(io::ErrorKind::NotFound));
    };
    let name = match &tls.server_name {
        // The configuration has looked at it.
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| Outcome::NotProbed(io::ErrorKind::InvalidInput))?,
        None => ServerName::IpAddress(address.into()),
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let secured = talk.become_other(|stream| connector.connect(name, stream));
    secured.await.map_err(|end| match end {
        Err(Break::TimedOut) => Outcome::told(Cause::NoAnswer, "no TLS handshake in time"),
        Err(Break::Closed) => Outcome::told(Cause::TlsHandshake, "closed in the TLS handshake"),
        Err(Break::Failed(kind)) => Outcome::Failed(kind),
        Ok(error) => of_error(&error),
    })
}

fn of_error(error: &io::Error) -> Outcome {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::InvalidCertificate(reason)) => Outcome::told(
            Cause::TlsCertificate,
            format!("the certificate is not good: {reason}"),
        ),
        Some(other) => Outcome::told(Cause::TlsHandshake, format!("no TLS: {other}")),
        None => Outcome::told(Cause::TlsHandshake, format!("no TLS: {}", error.kind())),
    }
}

#[cfg(test)]
mod tests;
