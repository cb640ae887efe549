//! What a service manager is told: ready, stopping, and, as often as it wants, that every shard still answers. The protocol is
//! systemd's (`sd_notify(3)`): datagrams of assignments to the socket that `NOTIFY_SOCKET` names.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use shard::Handle;

/// While data is recovered the manager is asked to wait so much longer, each third of it.
const START_EXTENSION: Duration = Duration::from_secs(30);

pub(crate) struct ServiceManager {
    /// `None`: nobody wants to know.
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The process is taken for hung after so long without a word.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The manager that has started this process, if one has. What it left in the environment is for this process alone.
    pub(crate) fn of_environment() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let socket = text("NOTIFY_SOCKET").and_then(|name| {
            connect(&name)
                .inspect_err(|error| tracing::warn!(%error, name, "NOTIFY_SOCKET can't be used: the service manager learns nothing"))
                .ok()
        });
        let is_meant = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(process::id()));
        let watchdog = text("WATCHDOG_USEC").filter(|_| is_meant).and_then(|text| text.parse().ok());
        Self { socket, watchdog: watchdog.filter(|&us| us > 0).map(Duration::from_micros) }
    }

    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Asks for more time, as long as this is polled: a large log takes longer to replay than a service may take to start.
    pub(crate) async fn starting(&self) {
        let microseconds = START_EXTENSION.as_micros();
        loop {
            self.tell(&format!("EXTEND_TIMEOUT_USEC={microseconds}\nWATCHDOG=1"));
            let pause = self.watchdog.map_or(START_EXTENSION / 3, |watchdog| (watchdog / 3).min(START_EXTENSION / 3));
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells that the process lives, as long as this is polled and all shards answer.
    pub(crate) async fn watch(&self, handle: &Handle) {
        let Some(watchdog) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        loop {
            match tokio::time::timeout(watchdog / 2, handle.stats()).await {
                Ok(Ok(_)) => self.tell("WATCHDOG=1"),
                Ok(Err(refusal)) => tracing::error!(%refusal, "a shard is gone: the watchdog is not fed"),
                Err(_) => tracing::error!("a shard has not answered for half of the watchdog's time"),
            }
            tokio::time::sleep(watchdog / 4).await;
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, manager)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), manager)
        {
            tracing::debug!(%error, "the service manager can't be told");
        }
    }
}

/// A name that begins with `@` is in Linux' abstract space.
fn connect(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}
