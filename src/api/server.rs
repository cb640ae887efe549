//! Listeners and connections: bounded in number, in the time a request's head may take, and in how long they outlive a stop.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use super::{Shared, origin::Client};

/// A pause after an accept that failed for want of descriptors or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("--{flag}={address}: not an address to listen on: {source} (give HOST:PORT, for example 127.0.0.1:9090)")]
    Address { flag: &'static str, address: String, source: io::Error },
    #[error("--{flag}={address}: the port is in use; stop the program that holds it or choose another address")]
    InUse { flag: &'static str, address: String },
    #[error(
        "--{flag}={address}: no permission for this port; choose one from 1024 on, or give the program CAP_NET_BIND_SERVICE"
    )]
    NoPermission { flag: &'static str, address: String },
    #[error("--{flag}={address}: listen: {source}")]
    Other { flag: &'static str, address: String, source: io::Error },
}

/// The address that a flag names. An empty host is every interface, as in Go.
pub(crate) fn resolve(flag: &'static str, address: &str) -> Result<SocketAddr, ListenError> {
    let full = if address.starts_with(':') { format!("[::]{address}") } else { address.to_owned() };
    let failed = |source| ListenError::Address { flag, address: address.to_owned(), source };
    let first = full.to_socket_addrs().map_err(failed)?.next();
    first.ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

pub(crate) async fn listen(flag: &'static str, address: &str) -> Result<TcpListener, ListenError> {
    let address = address.to_owned();
    TcpListener::bind(resolve(flag, &address)?).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { flag, address },
        io::ErrorKind::PermissionDenied => ListenError::NoPermission { flag, address },
        _ => ListenError::Other { flag, address, source },
    })
}

/// Serves until `stop` says so, then lets connections finish their request within [`super::DRAIN_MAX`].
pub(crate) async fn serve(listener: TcpListener, router: Router, shared: Shared, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(shared.flags.connections_max as usize));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = accept(&listener, &places) => accepted,
            // Finished tasks are taken away as they finish, so that the set holds only what is open.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, shared, stop) = (router.clone(), shared.clone(), stop.clone());
                connections.spawn(serve_connection(stream, place, router, shared, stop));
            }
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(super::DRAIN_MAX, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut: their requests did not end in time");
    }
}

/// Waits for a place first: connections beyond the limit stay in the kernel's queue.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// Also when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve_connection(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    router: Router,
    shared: Shared,
    mut stop: watch::Receiver<bool>,
) {
    let _open = shared.metrics.connections.enter();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(shared.flags.read_timeout.get());
    let client = stream.peer_addr().ok().map(|address| Client(address.ip()));
    let router = TowerToHyperService::new(router);
    let with_client = service_fn(move |mut request: Request<Incoming>| {
        client.map(|client| request.extensions_mut().insert(client));
        router.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), with_client);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    drop(place);
}
