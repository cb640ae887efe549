//! Servers of our own that speak a protocol: what they answer is for a test to say, and when.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::Arc,
    thread,
};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// Parameters in their order.
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Answers a request; an error ends the connection.
pub(crate) type Handler = Arc<dyn Fn(&Request, &mut dyn Write) -> io::Result<()> + Send + Sync>;

/// Serves on loopback until the process ends.
pub(crate) fn serve(handler: Handler) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = handler.clone();
            // Who asks may go at any time.
            thread::spawn(move || stream.try_clone().and_then(|reader| converse(reader, stream, &handler)));
        }
    });
    address
}

/// The same on a socket of this machine.
pub(crate) fn serve_on_socket(path: &Path, handler: Handler) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = handler.clone();
            thread::spawn(move || stream.try_clone().and_then(|reader| converse(reader, stream, &handler)));
        }
    });
}

fn converse(reader: impl Read, mut writer: impl Write, handler: &Handler) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    while let Some(request) = read(&mut reader)? {
        handler(&request, &mut writer)?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request { method: method.to_owned(), path: path.to_owned(), ..Request::default() };
    request.query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// An answer as a whole.
pub(crate) fn answer(out: &mut dyn Write, status: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    out.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    out.flush()
}

pub(crate) fn json(out: &mut dyn Write, value: &serde_json::Value) -> io::Result<()> {
    answer(out, "200 OK", &[("Content-Type", "application/json")], value.to_string().as_bytes())
}

/// A piece of an answer whose end is open.
pub(crate) fn chunk(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    write!(out, "{:x}\r\n", bytes.len())?;
    out.write_all(bytes)?;
    out.write_all(b"\r\n")?;
    out.flush()
}
