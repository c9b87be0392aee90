mod capturing;
mod noise;
mod watching;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("redirector-control-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("made/on/demand/control.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An agent that knows its pid, and stays silent when told to stop.
fn agent(path: &Path) -> Server {
    agent_telling(path, Events::default())
}

fn agent_telling(path: &Path, events: Events) -> Server {
    let (sender, mut calls) = mpsc::channel::<Call>(1);
    tokio::spawn(async move {
        while let Some(Call { request, reply, .. }) = calls.recv().await {
            let response = if request == Request::Ping {
                Response::Pong {
                    version: "1".to_owned(),
                    pid: 7,
                }
            } else if request == Request::Status {
                Response::Status(Box::default())
            } else {
                continue;
            };
            let _ = reply.send(response);
        }
    });
    Server::start(path, None, sender, events).unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn call(path: &Path, request: Request) -> Result<Response, ClientError> {
    let path = path.to_owned();
    blocking(move || Client::connect(&path)?.call(&request)).await
}

/// Sends bytes and returns all that comes back.
async fn raw(path: &Path, bytes: Vec<u8>) -> String {
    let path = path.to_owned();
    blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    })
    .await
}

fn is_pong(response: &Response) -> bool {
    *response
        == Response::Pong {
            version: "1".to_owned(),
            pid: 7,
        }
}

#[tokio::test]
async fn a_request_is_answered_and_the_connection_takes_another() {
    let directory = Directory::new("answer");
    let path = directory.socket();
    let server = agent(&path);
    let socket = path.clone();
    blocking(move || {
        let mut client = Client::connect(&socket).unwrap();
        assert!(is_pong(&client.call(&Request::Ping).unwrap()));
        assert_eq!(
            client.call(&Request::Status).unwrap(),
            Response::Status(Box::default())
        );
    })
    .await;
    server.shutdown().await;
    assert!(!path.exists(), "the socket is removed");
}

#[tokio::test]
async fn only_user_and_group_may_connect() {
    let directory = Directory::new("mode");
    let server = agent(&directory.socket());
    let mode = std::fs::metadata(directory.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.shutdown().await;
}

#[tokio::test]
async fn garbage_is_refused_and_the_agent_goes_on() {
    let directory = Directory::new("garbage");
    let path = directory.socket();
    let server = agent(&path);
    let mut deep = vec![b'['; 4000];
    deep.push(b'\n');
    for (bytes, expected) in [
        (b"\n".to_vec(), "not understood"),
        (b"hello\n".to_vec(), "not understood"),
        (b"{\"request\":\"dance\"}\n".to_vec(), "unknown variant"),
        (
            b"{\"request\":\"explain\",\"client\":\"x\"}\n".to_vec(),
            "not understood",
        ),
        (b"\xff\xfe\0\n".to_vec(), "not understood"),
        (deep, "not understood"),
        (vec![b'x'; 1 << 20], "longer than 262144 bytes"),
        (b"{\"request\":\"ping\"}".to_vec(), ""),
        (Vec::new(), ""),
    ] {
        let answer = raw(&path, bytes.clone()).await;
        assert!(answer.contains(expected), "{answer}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{answer}");
        assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_others_out() {
    let directory = Directory::new("silent");
    let path = directory.socket();
    let server = agent(&path);
    let silent: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    let start = std::time::Instant::now();
    server.shutdown().await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "idle clients do not delay the end"
    );
    drop(silent);
}

#[tokio::test]
async fn a_call_that_is_dropped_says_that_the_agent_stops() {
    let directory = Directory::new("dropped");
    let server = agent(&directory.socket());
    let response = call(&directory.socket(), Request::Reload).await.unwrap();
    assert_eq!(
        response,
        Response::Error {
            message: "the agent is stopping".to_owned()
        }
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_second_agent_is_refused_and_the_first_one_keeps_its_socket() {
    let directory = Directory::new("second");
    let path = directory.socket();
    let server = agent(&path);
    let error = Server::start(&path, None, mpsc::channel(1).0, Events::default())
        .err()
        .unwrap();
    assert!(matches!(error, ServerError::Taken(_)), "{error}");
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    server.shutdown().await;
}

#[tokio::test]
async fn the_socket_of_a_killed_agent_is_replaced_but_a_file_is_not() {
    let directory = Directory::new("stale");
    let path = directory.0.join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let error = call(&path, Request::Ping).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
    let server = agent(&path);
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    server.shutdown().await;
    std::fs::write(&path, "precious").unwrap();
    let error = Server::start(&path, None, mpsc::channel(1).0, Events::default())
        .err()
        .unwrap();
    assert!(matches!(error, ServerError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// Neither a listener that accepts nobody nor a stranger's lock of the directory keeps an agent waiting.
#[tokio::test]
async fn nobody_keeps_an_agent_waiting_for_its_socket() {
    let directory = Directory::new("waiting");
    let path = directory.socket();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let deaf = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    deaf.listen(0).unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    for _ in 0..2 {
        assert!(is_listened_on(&path).unwrap());
    }
    drop((waiting, deaf));
    assert!(!is_listened_on(&path).unwrap());

    let opened = std::fs::File::open(path.parent().unwrap()).unwrap();
    let lock = nix::fcntl::Flock::lock(opened, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let server = agent(&path);
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    server.shutdown().await;
    drop(lock);
}

#[tokio::test]
async fn a_socket_that_another_agent_has_taken_over_is_left_to_it() {
    let directory = Directory::new("over");
    let path = directory.socket();
    let first = agent(&path);
    std::fs::remove_file(&path).unwrap();
    let second = agent(&path);
    first.shutdown().await;
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    second.shutdown().await;
}

#[test]
fn a_missing_agent_is_named_with_its_socket() {
    let error = Client::connect(Path::new("/nonexistent/control.sock"))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("/nonexistent/control.sock"),
        "{error}"
    );
}
