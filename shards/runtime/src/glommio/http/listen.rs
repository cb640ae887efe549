//! Listening sockets for one address on several threads.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen as start_listening, socket_with, sockopt};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Makes one listening socket per thread, among which the kernel spreads connections. Port 0 takes a free port, the same for all.
///
/// # Errors
/// With the address, if it is in use or not to be had. Sockets that share a port would also share it with another process of ours
/// that does the same, so a plain bind asks first.
pub fn listen(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("listening on {address}: {error}"));
    let asked = TcpListener::bind(address).map_err(named)?;
    let address = asked.local_addr().map_err(named)?;
    drop(asked);
    (0..threads).map(|_| shared(address).map_err(named)).collect()
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    start_listening(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
