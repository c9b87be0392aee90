use std::time::Duration;

use proptest::prelude::*;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::*;

const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 2));

/// A certificate that signs itself, for this name or address, in PEM, and a server that has it.
fn server(name: &str) -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

struct File(PathBuf);

impl File {
    fn with(content: &str) -> Self {
        let name = format!(
            "redirector-{}-{}.pem",
            std::process::id(),
            fastrand::u64(..)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn trusts(tls: &Tls) -> Trusts {
    let trust = Trust::of(tls);
    let config = Arc::new(trust.config().unwrap());
    Trusts(HashMap::from([(trust, config)]))
}

async fn against(tls: &Tls, stream: DuplexStream) -> Outcome {
    let talk = Talk::new(stream, Duration::from_secs(5));
    match handshake(talk, tls, NODE, &trusts(tls)).await {
        Ok(_) => Outcome::passed("tls handshake ok"),
        Err(outcome) => outcome,
    }
}

async fn with_server(tls: &Tls, acceptor: TlsAcceptor) -> Outcome {
    let (ours, theirs) = duplex(1 << 16);
    let node = tokio::spawn(async move { acceptor.accept(theirs).await.is_ok() });
    let outcome = against(tls, ours).await;
    node.abort();
    outcome
}

#[tokio::test]
async fn a_certificate_is_looked_at_where_that_is_asked() {
    let (pem, named) = server("dante.example.net");
    let (other_pem, addressed) = server("10.0.1.2");
    let (file, other_file) = (File::with(&pem), File::with(&other_pem));
    let tls = |name: Option<&str>, file: &File| Tls {
        verify: true,
        server_name: name.map(str::to_owned),
        ca_file: Some(file.0.clone()),
    };
    let anybody = Tls {
        verify: false,
        server_name: None,
        ca_file: None,
    };
    let name = Some("dante.example.net");
    for (what, tls, acceptor, cause) in [
        ("its name", tls(name, &file), &named, Cause::Passed),
        (
            "its address",
            tls(None, &other_file),
            &addressed,
            Cause::Passed,
        ),
        (
            "another name",
            tls(Some("a.example.net"), &file),
            &named,
            Cause::TlsCertificate,
        ),
        (
            "no such address",
            tls(None, &file),
            &named,
            Cause::TlsCertificate,
        ),
        (
            "a stranger's",
            tls(name, &other_file),
            &named,
            Cause::TlsCertificate,
        ),
        ("not looked at", anybody, &named, Cause::Passed),
    ] {
        let outcome = with_server(&tls, acceptor.clone()).await;
        assert_eq!(outcome.cause(), cause, "{what}: {outcome}");
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_so() {
    let anybody = Tls {
        verify: false,
        server_name: None,
        ca_file: None,
    };
    for says in [&b"SSH-2.0-OpenSSH\r\n"[..], b""] {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(says).await.unwrap();
        let node = tokio::spawn(async move {
            let _ = theirs.read(&mut [0; 1024]).await;
        });
        let outcome = against(&anybody, ours).await;
        assert_eq!(outcome.cause(), Cause::TlsHandshake, "{outcome}");
        node.await.unwrap();
    }
    let (ours, _theirs) = duplex(1 << 16);
    let talk = Talk::new(ours, Duration::from_millis(50));
    let outcome = handshake(talk, &anybody, NODE, &trusts(&anybody)).await;
    assert_eq!(outcome.unwrap_err().cause(), Cause::NoAnswer);
}

#[test]
fn files_without_certificates_are_refused() {
    for content in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let file = File::with(content);
        let error = of_file(&file.0).unwrap_err();
        assert!(
            error.to_string().contains(file.0.to_str().unwrap()),
            "{error}"
        );
    }
    assert!(matches!(
        of_file(Path::new("/nonexistent.pem")),
        Err(TrustError::Read { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_of_a_server_end_the_handshake(
        beginning in prop_oneof![Just(vec![]), Just(vec![22, 3, 3]), Just(vec![21, 3, 3, 0, 2])],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let anybody = Tls { verify: false, server_name: None, ca_file: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome = runtime.block_on(async {
            let (ours, mut theirs) = duplex(1 << 16);
            theirs.write_all(&[beginning, bytes].concat()).await.unwrap();
            theirs.shutdown().await.unwrap();
            let outcome = against(&anybody, ours).await;
            drop(theirs);
            outcome
        });
        prop_assert_eq!(outcome.success(), Some(false));
    }
}
