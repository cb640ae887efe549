//! What the tests have in common: servers as child processes, HTTP by hand, remote-write bodies.

pub(crate) mod answers;
pub(crate) mod body;
pub(crate) mod days;
pub(crate) mod exposer;
pub(crate) mod http;
pub(crate) mod native;
pub(crate) mod peer;
pub(crate) mod proxy;
pub(crate) mod responder;
pub(crate) mod server;

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Generous: the machine may be building something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `attempt` gives something.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before year 292 million")
}
