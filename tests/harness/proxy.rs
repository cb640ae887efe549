//! A proxy that connects others, and notes what it was asked.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Serves on loopback until the process ends.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = noted.clone();
                // Who asks may go at any time.
                thread::spawn(move || drop(connect(stream, &noted)));
            }
        });
        Self { address, asked }
    }

    /// The requests so far, with their headers.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn connect(stream: TcpStream, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_connect = request.starts_with("CONNECT ");
    noted.lock().expect("nobody panics with it").push(request);
    let mut stream = stream;
    if !is_connect {
        return stream.write_all(b"HTTP/1.1 405 CONNECT alone\r\nContent-Length: 0\r\n\r\n");
    }
    let mut other = TcpStream::connect(target)?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut back_from, mut back_to) = (other.try_clone()?, stream);
    thread::spawn(move || io::copy(&mut back_from, &mut back_to));
    io::copy(&mut reader, &mut other).map(drop)
}
