use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream as Client},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Instant,
};

use super::*;
use crate::{DurableWay, RunningThread, Runtime, mailbox, tests};

const LIMITS: Limits = Limits {
    connections_max: 8,
    header_timeout: Duration::from_millis(300),
    idle_timeout: Duration::from_millis(600),
    body_bytes_max: 100_000,
    bodies_bytes_max: 150_000,
    stop_timeout: Duration::from_secs(5),
};

/// A server on a thread of its own; stops when dropped.
struct TestServer {
    address: SocketAddr,
    stop: Option<mailbox::Sender<()>>,
    thread: Option<RunningThread<Vec<u64>>>,
}

impl TestServer {
    /// Answers with the method, the path, the body's length and a sum of its bytes; waits as long as the path says.
    fn start(limits: Limits) -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (stop, mut stopped) = mailbox::channel::<()>(1);
        let thread = crate::glommio::run(tests::config(DurableWay::SyncedWrite), move |runtime| async move {
            let counters = Rc::new(Counters::default());
            let inner = runtime.clone();
            let handler = move |request: Request| echo(inner.clone(), request);
            let stopping = async { while stopped.receive_all(&mut Vec::new()).await.is_ok() {} };
            serve(&runtime, listener, limits, Rc::clone(&counters), handler, stopping).await;
            let c = &counters;
            [
                &c.connections,
                &c.connections_refused,
                &c.requests,
                &c.bodies_too_large,
                &c.bodies_over_budget,
                &c.timeouts,
            ]
            .map(Cell::get)
            .to_vec()
        });
        Self { address, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    fn connect(&self) -> Client {
        let client = Client::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Connections, refused ones, requests, too large bodies, those over budget, timeouts.
    fn stop(mut self) -> Vec<u64> {
        self.stop = None;
        tests::finish(Ok(self.thread.take().unwrap()))
    }
}

async fn echo(runtime: impl Runtime, request: Request) -> Response {
    let path = request.parts.uri.path();
    if let Some(ms) = path.strip_prefix("/wait/") {
        runtime.sleep(Duration::from_millis(ms.parse().unwrap())).await;
    }
    let sum: u64 = request.body.iter().map(|&byte| u64::from(byte)).sum();
    Response::new(Bytes::from(format!("{} {path} {} {sum}", request.parts.method, request.body.len())))
}

/// Sends all of `request`, then reads to the end of the connection.
fn exchange(client: &mut Client, request: &[u8]) -> String {
    // The server may refuse before it has read all.
    drop(client.write_all(request));
    read_all(client)
}

fn read_all(client: &mut Client) -> String {
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

fn post(bytes: usize, extra: &str) -> Vec<u8> {
    let mut request = format!("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n{extra}\r\n").into_bytes();
    request.resize(request.len() + bytes, 1);
    request
}

const CLOSE: &str = "Connection: close\r\n";

#[test]
fn bodies_of_any_shape_arrive_whole() {
    let server = TestServer::start(LIMITS);
    for bytes in [0, 1, 5_000, 70_000, 100_000] {
        let answer = exchange(&mut server.connect(), &post(bytes, CLOSE));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("POST /p {bytes} {bytes}")), "{answer}");
    }
    let chunked = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n";
    assert!(exchange(&mut server.connect(), chunked).ends_with("POST /c 8 804"));
    assert_eq!(server.stop(), [6, 0, 6, 0, 0, 0]);
}

#[test]
fn a_connection_serves_many_requests_also_in_one_go() {
    let server = TestServer::start(LIMITS);
    let mut client = server.connect();
    let mut requests = post(10, "").repeat(5);
    requests.extend(post(20, CLOSE));
    let answer = exchange(&mut client, &requests);
    assert_eq!(answer.matches("POST /p 10 10").count(), 5, "{answer}");
    assert!(answer.ends_with("POST /p 20 20"));
    assert_eq!(server.stop(), [1, 0, 6, 0, 0, 0]);
}

#[test]
fn a_body_above_the_bound_is_refused_announced_or_not() {
    let server = TestServer::start(LIMITS);
    let answer = exchange(&mut server.connect(), &post(100_001, CLOSE)[..200]);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("100000 bytes"), "{answer}");

    let mut chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..11 {
        chunked.extend(b"2710\r\n");
        chunked.resize(chunked.len() + 10_000, b'x');
        chunked.extend(b"\r\n");
    }
    let answer = exchange(&mut server.connect(), &chunked);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(server.stop()[2..5], [0, 2, 0]);
}

#[test]
fn bodies_above_the_common_budget_are_refused_and_the_budget_comes_back() {
    let server = TestServer::start(LIMITS);
    let mut first = server.connect();
    first.write_all(&post(100_000, CLOSE)[..50_000]).unwrap();
    thread::sleep(Duration::from_millis(100));
    let answer = exchange(&mut server.connect(), &post(60_000, CLOSE)[..200]);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    assert!(exchange(&mut server.connect(), &post(40_000, CLOSE)).ends_with("POST /p 40000 40000"));
    assert!(exchange(&mut first, &post(100_000, CLOSE)[50_000..]).ends_with(" 100000"));
    assert!(exchange(&mut server.connect(), &post(100_000, CLOSE)).ends_with(" 100000"));
    assert_eq!(server.stop()[2..], [3, 0, 1, 0]);
}

#[test]
fn connections_above_the_limit_are_told_so() {
    let server = TestServer::start(LIMITS);
    let held: Vec<_> = (0..8).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_millis(50));
    let answer = exchange(&mut server.connect(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("more than 8 connections"), "{answer}");
    drop(held);
    thread::sleep(Duration::from_millis(50));
    assert!(exchange(&mut server.connect(), &post(1, CLOSE)).starts_with("HTTP/1.1 200 "));
    assert_eq!(server.stop()[..3], [9, 1, 1]);
}

#[test]
fn silent_peers_are_closed() {
    let server = TestServer::start(LIMITS);
    let cases: [(&[u8], u64); 3] = [
        (b"", 600),
        (b"GET / HTTP/1.1\r\n", 300),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", 300),
    ];
    for (sent, timeout_ms) in cases {
        let start = Instant::now();
        let answer = exchange(&mut server.connect(), sent);
        let took = start.elapsed();
        assert_eq!(answer, "");
        assert!(
            took >= Duration::from_millis(timeout_ms - 5) && took < Duration::from_secs(10),
            "{took:?} after {sent:?}"
        );
    }
    // An answer, then silence; and a head that comes a byte at a time.
    let mut client = server.connect();
    assert!(exchange(&mut client, &post(3, "")).ends_with("POST /p 3 3"));
    let mut client = server.connect();
    let start = Instant::now();
    while client.write_all(b"G").is_ok() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(30));
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(server.stop()[5], 5);
}

#[test]
fn a_slow_handler_is_not_a_silent_peer() {
    let server = TestServer::start(LIMITS);
    let request = b"GET /wait/1500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(exchange(&mut server.connect(), request).ends_with("GET /wait/1500 0 0"));
    assert_eq!(server.stop()[5], 0);
}

#[test]
fn nonsense_is_answered_or_closed_and_hurts_nobody() {
    let server = TestServer::start(LIMITS);
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(200_000)).into_bytes();
    let cases: [(&[u8], &str); 4] = [
        (b"\0\x01\x02 nonsense\r\n\r\n", "HTTP/1.1 400 "),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "),
        (&long_head, "HTTP/1.1 431 "),
    ];
    for (sent, answer_begins) in cases {
        let answer = exchange(&mut server.connect(), sent);
        assert!(answer.starts_with(answer_begins) || answer.is_empty(), "{answer}");
    }
    let mut half = server.connect();
    half.write_all(&post(50, "")[..70]).unwrap();
    half.shutdown(Shutdown::Both).unwrap();
    assert!(exchange(&mut server.connect(), &post(1, CLOSE)).starts_with("HTTP/1.1 200 "));
    server.stop();
}

#[test]
fn a_stop_lets_answers_finish_and_refuses_new_connections() {
    let mut server = TestServer::start(LIMITS);
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.write_all(b"GET /wait/300 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    server.stop = None;
    assert_eq!(read_all(&mut idle), "");
    assert!(start.elapsed() < Duration::from_millis(500), "an idle connection is closed at once");
    assert!(read_all(&mut busy).ends_with("GET /wait/300 0 0"));
    let address = server.address;
    server.stop();
    assert!(Client::connect(address).is_err());
}

#[test]
fn a_stop_ends_after_its_timeout() {
    let server = TestServer::start(Limits { stop_timeout: Duration::from_millis(100), ..LIMITS });
    let mut busy = server.connect();
    busy.write_all(b"GET /wait/60000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(read_all(&mut busy), "");
}

#[test]
fn a_port_in_use_is_named_even_if_its_owner_shares_it() {
    let mine = listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let address = mine[0].local_addr().unwrap();
    assert_eq!(mine[1].local_addr().unwrap(), address);
    let error = listen(address, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let server = TestServer::start(Limits { bodies_bytes_max: 10_000_000, ..LIMITS });
    let failures = Arc::new(Mutex::new(Vec::new()));
    let (sender, done) = mpsc::channel();
    for who in 0..6_usize {
        let (mut client, failures, sender) = (server.connect(), Arc::clone(&failures), sender.clone());
        thread::spawn(move || {
            for round in 0..50 {
                let bytes = who * 9_001 + round;
                client.write_all(&post(bytes, "")).unwrap();
                let expected = format!("POST /p {bytes} {bytes}");
                let mut answer = Vec::new();
                let mut piece = [0; 512];
                while !answer.ends_with(expected.as_bytes()) {
                    let read = client.read(&mut piece).unwrap();
                    answer.extend_from_slice(&piece[..read]);
                    if read == 0 {
                        failures.lock().unwrap().push((who, round, String::from_utf8_lossy(&answer).into_owned()));
                        break;
                    }
                }
            }
            drop(sender);
        });
    }
    drop(sender);
    assert_eq!(done.recv(), Err::<(), _>(mpsc::RecvError));
    assert!(failures.lock().unwrap().is_empty(), "{failures:?}");
    assert_eq!(server.stop()[2], 300);
}
