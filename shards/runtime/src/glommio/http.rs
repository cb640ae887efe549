//! An HTTP/1.1 server on a shard's own thread, for the ingest listener.
//!
//! Promised: every bound of [`Limits`] holds, reaching one is an answer (or, for a peer that is silent too long, a closed
//! connection) and a number in [`Counters`]; the handler sees whole bodies only; a stop lets answers under way finish.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    net::{SocketAddr, TcpListener},
    os::fd::{FromRawFd, IntoRawFd},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_lite::future::or;
use glommio::{net::TcpStream, timer::sleep};
use http::{StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};

mod body;
mod listen;
mod stream;
#[cfg(test)]
mod tests;
mod watch;

pub use listen::listen;

use super::GlommioRuntime;
use crate::{Runtime, mailbox};
use body::Budget;
use stream::Stream;
use watch::Watch;

/// Pause after a failed accept, which mostly means that no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections above the limit that are kept long enough to be told so; beyond them, connections are just closed.
const REFUSED_CONNECTIONS_MAX: usize = 64;

/// hyper's buffer per connection, which also bounds the request's head (431 above).
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// Bounds of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at a time; more get 503.
    pub connections_max: usize,
    /// Time for a request's head, from its first byte, and between two pieces of its body.
    pub header_timeout: Duration,
    /// Time without a request, or for a peer to take an answer.
    pub idle_timeout: Duration,
    /// Bytes of one body as sent; more get 413.
    pub body_bytes_max: usize,
    /// Bytes of all bodies being received or handled, over all connections; more get 503.
    pub bodies_bytes_max: usize,
    /// Time for answers under way once the server is to stop.
    pub stop_timeout: Duration,
}

/// A request with its whole body.
#[derive(Debug)]
pub struct Request {
    pub parts: Parts,
    pub body: Bytes,
    pub peer: SocketAddr,
}

pub type Response = http::Response<Bytes>;

/// What has happened since the server's start; read on the server's thread.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections: Cell<u64>,
    pub connections_refused: Cell<u64>,
    pub accept_errors: Cell<u64>,
    pub requests: Cell<u64>,
    pub bodies_too_large: Cell<u64>,
    pub bodies_over_budget: Cell<u64>,
    pub timeouts: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Serves until `stop` is done and then until every answer under way is out, or `stop_timeout` has passed. `listener` is one of
/// [`listen`]'s. Must run on the runtime's thread.
pub async fn serve<H, F>(
    runtime: &GlommioRuntime,
    listener: TcpListener,
    limits: Limits,
    counters: Rc<Counters>,
    handler: H,
    stop: impl Future<Output = ()>,
) where
    H: Fn(Request) -> F + 'static,
    F: Future<Output = Response> + 'static,
{
    // SAFETY: the descriptor is open and a listening socket, and nobody else owns it from here on.
    let listener = unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
    let budget = Budget::new(limits.bodies_bytes_max);
    let server = Rc::new(Server {
        runtime: runtime.clone(),
        limits,
        counters,
        handler,
        budget,
        state: Cell::new(State::Serving),
        open: RefCell::default(),
    });
    // Every connection holds a sender, so the mailbox closes when the last one ends.
    let (open, mut all_closed) = mailbox::channel::<()>(1);
    let mut stop = pin!(stop);
    let mut next = 0;
    while let Some(accepted) = or(async { Some(listener.accept().await) }, async {
        stop.as_mut().await;
        None
    })
    .await
    {
        match accepted {
            Ok(stream) => server.start(stream, next, open.clone()),
            Err(_) => {
                count(&server.counters.accept_errors);
                sleep(ACCEPT_PAUSE).await;
            }
        }
        next += 1;
    }
    drop((listener, open));
    server.enter(State::Stopping);
    let mut nothing = Vec::new();
    let closing = async { while all_closed.receive_all(&mut nothing).await.is_ok() {} };
    or(closing, sleep(limits.stop_timeout)).await;
    server.enter(State::Stopped);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    /// Connections end after the request that they are at.
    Stopping,
    /// Connections end now.
    Stopped,
}

struct Server<H> {
    runtime: GlommioRuntime,
    limits: Limits,
    counters: Rc<Counters>,
    handler: H,
    budget: Budget,
    state: Cell<State>,
    /// Wakers of the open connections by number.
    open: RefCell<BTreeMap<u64, Waker>>,
}

impl<H, F> Server<H>
where
    H: Fn(Request) -> F + 'static,
    F: Future<Output = Response> + 'static,
{
    fn enter(&self, state: State) {
        self.state.set(state);
        let wakers: Vec<_> = self.open.borrow().values().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn start(self: &Rc<Self>, stream: TcpStream, number: u64, alive: mailbox::Sender<()>) {
        let open = self.open.borrow().len();
        let refused = open >= self.limits.connections_max;
        count(if refused { &self.counters.connections_refused } else { &self.counters.connections });
        if open >= self.limits.connections_max + REFUSED_CONNECTIONS_MAX {
            return;
        }
        // Counted before the task first runs.
        self.open.borrow_mut().insert(number, Waker::noop().clone());
        let server = Rc::clone(self);
        let task = async move {
            server.serve_connection(stream, number, refused).await;
            server.open.borrow_mut().remove(&number);
            drop(alive);
        };
        self.runtime.spawn(task);
    }

    async fn serve_connection(self: &Rc<Self>, stream: TcpStream, number: u64, refused: bool) {
        // A peer that is gone already has no address, and an option that cannot be set costs speed only.
        let Ok(peer) = stream.peer_addr() else { return };
        drop(stream.set_nodelay(true));
        let watch = Rc::new(Watch::new(self.limits.header_timeout, self.limits.idle_timeout));
        let service = service_fn(|request| {
            let (server, watch) = (Rc::clone(self), Rc::clone(&watch));
            async move {
                Ok::<_, std::convert::Infallible>(server.answer(request, &watch, peer, refused).await.map(Full::new))
            }
        });
        let mut builder = http1::Builder::new();
        // Its timers would have to be `Send`; the watch does their work.
        builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
        let mut connection = pin!(builder.serve_connection(Stream::new(stream, Rc::clone(&watch)), service));
        let mut told = false;
        poll_fn(|context| {
            if self.state.get() != State::Serving && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
            }
            self.stay_wakeable(number, context);
            // A failed connection is the peer's doing and has had its answer, if it could take one.
            if self.state.get() == State::Stopped || connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            watch.poll_expired(context).map(|()| count(&self.counters.timeouts))
        })
        .await;
    }

    fn stay_wakeable(&self, number: u64, context: &Context<'_>) {
        if let Some(waker) = self.open.borrow_mut().get_mut(&number) {
            waker.clone_from(context.waker());
        }
    }

    async fn answer(
        &self,
        request: http::Request<Incoming>,
        watch: &Watch,
        peer: SocketAddr,
        refused: bool,
    ) -> Response {
        watch.body_begins();
        let answer = self.try_answer(request, watch, peer, refused).await.unwrap_or_else(|refusal| refusal);
        watch.answered();
        answer
    }

    async fn try_answer(
        &self,
        request: http::Request<Incoming>,
        watch: &Watch,
        peer: SocketAddr,
        refused: bool,
    ) -> Result<Response, Response> {
        if refused {
            return Err(unavailable(format!("more than {} connections are open\n", self.limits.connections_max), true));
        }
        let (parts, incoming) = request.into_parts();
        let collected = body::collect(incoming, self.limits.body_bytes_max, &self.budget).await;
        // The claim on the budget lives until the answer is there.
        let (body, _claim) = collected.map_err(|refusal| self.refuse_body(refusal))?;
        watch.body_ends();
        count(&self.counters.requests);
        Ok((self.handler)(Request { parts, body, peer }).await)
    }

    fn refuse_body(&self, refusal: body::Refusal) -> Response {
        match refusal {
            body::Refusal::TooLarge => {
                count(&self.counters.bodies_too_large);
                let reason = format!("the body is larger than {} bytes\n", self.limits.body_bytes_max);
                plain(StatusCode::PAYLOAD_TOO_LARGE, reason)
            }
            body::Refusal::OverBudget => {
                count(&self.counters.bodies_over_budget);
                let reason = format!("the bodies of all requests exceed {} bytes\n", self.limits.bodies_bytes_max);
                unavailable(reason, false)
            }
            body::Refusal::Broken(error) => plain(StatusCode::BAD_REQUEST, format!("reading the body: {error}\n")),
        }
    }
}

fn plain(status: StatusCode, reason: String) -> Response {
    let mut response = Response::new(Bytes::from(reason));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn unavailable(reason: String, close: bool) -> Response {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    if close {
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}
