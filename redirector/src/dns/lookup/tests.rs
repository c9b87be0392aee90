//! Against a name server of our own, which says whatever it is told to say.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

/// A name server on the loopback interface; it ends with the test's process.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `answer` makes datagrams of a question's.
    fn start(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                for datagram in answer(&buffer[..length]) {
                    // Who asked may be gone.
                    let _ = socket.send_to(&datagram, from);
                }
            }
        });
        Self { address, asked }
    }

    fn look_up(&self, families: &[Family]) -> Answer {
        let dns = Dns {
            timeout: Duration::from_millis(500),
            servers: vec![self.address],
            ..Dns::default()
        };
        look_up_by(&dns, families)
    }
}

fn look_up_by(dns: &Dns, families: &[Family]) -> Answer {
    let host = HostName::new("dante-1.example.net").unwrap();
    let families = families.iter().copied().collect();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(look_up(dns, &host, &families))
}

/// Where the question ends: after the header, the name, its type and its class.
fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += usize::from(query[at]) + 1;
    }
    at + 5
}

fn kind(query: &[u8]) -> u16 {
    let end = question_end(query);
    u16::from_be_bytes([query[end - 4], query[end - 3]])
}

/// An answer with this code and these records: type, time to live, data. Each is of the name that was asked for.
fn reply(query: &[u8], code: u8, records: &[(u16, u32, Vec<u8>)]) -> Vec<u8> {
    let end = question_end(query);
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1]);
    reply.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&query[12..end]);
    for (kind, holds, data) in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(holds.to_be_bytes());
        reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend(data);
    }
    reply
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

fn failure(answer: &Answer) -> &str {
    let Some(Part::Failed(why)) = answer.get(&Family::V4) else {
        panic!("{answer:?}");
    };
    why
}

#[test]
fn every_address_is_told_with_how_long_the_answer_holds() {
    let server = Server::start(|query| {
        let records = match kind(query) {
            A => vec![(A, 20, vec![10, 0, 1, 3]), (A, 10, vec![10, 0, 1, 2])],
            AAAA => vec![(
                AAAA,
                40,
                [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7]].concat(),
            )],
            other => panic!("{other}"),
        };
        vec![reply(query, 0, &records)]
    });
    let answer = server.look_up(&Family::BOTH);
    let part = |family| {
        let Part::Addresses { addresses, holds } = &answer[&family] else {
            panic!("{answer:?}");
        };
        let mut texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        texts.sort();
        (texts.join(" "), holds.as_secs_f64().round())
    };
    assert_eq!(part(Family::V4), ("10.0.1.2 10.0.1.3".to_owned(), 10.0));
    assert_eq!(part(Family::V6), ("2001:db8::7".to_owned(), 40.0));
    let asked = server.asked.load(Ordering::Relaxed);
    let answer = server.look_up(&[Family::V4]);
    assert_eq!(answer.len(), 1, "only what is needed");
    assert_eq!(
        server.asked.load(Ordering::Relaxed),
        asked + 1,
        "and nothing is cached"
    );
}

#[test]
fn what_does_not_exist_and_who_does_not_answer_are_told_apart() {
    let nothing = Server::start(|query| vec![reply(query, 0, &[])]);
    assert_eq!(nothing.look_up(&[Family::V4])[&Family::V4], Part::Nothing);
    for (code, word) in [(3, "NXDOMAIN"), (2, "SERVFAIL"), (5, "REFUSED")] {
        let server = Server::start(move |query| vec![reply(query, code, &[])]);
        let answer = server.look_up(&[Family::V4]);
        assert!(failure(&answer).contains(word), "{answer:?}");
    }
    let mute = Server::start(|_| Vec::new());
    let answer = mute.look_up(&[Family::V4]);
    assert!(
        failure(&answer).contains("no name server answered"),
        "{answer:?}"
    );
    let nobody = Dns {
        timeout: Duration::from_millis(300),
        servers: vec!["127.0.0.1:1".parse().unwrap()],
        ..Dns::default()
    };
    let answer = look_up_by(&nobody, &[Family::V4]);
    assert!(!failure(&answer).is_empty());
}

/// An answer that a stranger could send, or a name server that means no good.
type Hostile = fn(&[u8]) -> Vec<Vec<u8>>;

#[test]
fn hostile_answers_are_failures_within_the_time_that_there_is() {
    let wrong_id: Hostile = |query| {
        let mut reply = reply(query, 0, &[(A, 60, vec![10, 0, 1, 66])]);
        reply[1] ^= 0x55;
        vec![reply]
    };
    let another_name: Hostile = |query| {
        let mut reply = reply(query, 0, &[(A, 60, vec![10, 0, 1, 66])]);
        reply[13] ^= 1;
        vec![reply]
    };
    let garbage: Hostile = |query| {
        let noise = (0..400_u32).map(|i| u8::try_from(i * 7919 % 251).unwrap());
        let mut noise: Vec<u8> = noise.collect();
        noise[..2].copy_from_slice(&query[..2]);
        vec![noise, query[..2].to_vec(), Vec::new()]
    };
    let huge: Hostile = |query| {
        let records = vec![(A, 60, vec![10, 0, 1, 66]); 3000];
        let mut reply = reply(query, 0, &records);
        // As large as a datagram may be, and cut within a record.
        reply.truncate(40_000);
        vec![reply]
    };
    let loops: Hostile = |query| {
        let end = question_end(query);
        let name = query[12..end - 4].to_vec();
        vec![reply(query, 0, &[(CNAME, 60, name)])]
    };
    let pointer_loop: Hostile = |query| vec![reply(query, 0, &[(CNAME, 60, vec![0xc0, 255])])];
    let short_address: Hostile = |query| vec![reply(query, 0, &[(A, 60, vec![10, 0, 1])])];
    let a_question: Hostile = |query| vec![query.to_vec()];
    for (what, answer) in [
        ("a wrong id", wrong_id),
        ("another name", another_name),
        ("garbage", garbage),
        ("huge", huge),
        ("a CNAME of itself", loops),
        ("a pointer nowhere", pointer_loop),
        ("a short address", short_address),
        ("the question", a_question),
    ] {
        let server = Server::start(answer);
        let start = std::time::Instant::now();
        let answer = server.look_up(&[Family::V4]);
        assert!(start.elapsed() < Duration::from_secs(3), "{what}");
        match &answer[&Family::V4] {
            Part::Failed(why) => {
                assert!(
                    !why.is_empty() && why.len() <= 4 * MAX_REASON,
                    "{what}: {why}"
                );
                assert!(!why.contains(char::is_control), "{what}: {why:?}");
                println!("{what}: {why}");
            }
            Part::Nothing => println!("{what}: nothing"),
            other @ Part::Addresses { .. } => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_stranger_that_answers_first_with_a_wrong_id_does_not_keep_the_right_answer_out() {
    let server = Server::start(|query| {
        let right = reply(query, 0, &[(A, 60, vec![10, 0, 1, 2])]);
        let mut wrong = reply(query, 0, &[(A, 60, vec![10, 0, 1, 66])]);
        wrong[0] ^= 0xff;
        vec![wrong, right]
    });
    let answer = server.look_up(&[Family::V4]);
    let Part::Addresses { addresses, .. } = &answer[&Family::V4] else {
        panic!("{answer:?}");
    };
    assert_eq!(addresses, &["10.0.1.2".parse::<IpAddr>().unwrap()]);
}
