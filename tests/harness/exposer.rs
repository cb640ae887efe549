//! Targets of our own: pages that a test chooses, and behaviour that no honest target has.

use std::{
    io::{BufRead as _, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What a target answers, whole: status line, headers, body.
pub(crate) type Answer = Vec<u8>;

/// Serves paths until the process ends. Who asks for a path that is not there gets 404.
pub(crate) struct Exposer {
    pub(crate) address: SocketAddr,
    pages: Pages,
    asked: Arc<Mutex<Vec<String>>>,
}

type Pages = Arc<Mutex<Vec<(String, Answer)>>>;

pub(crate) fn page(content_type: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

impl Exposer {
    pub(crate) fn start() -> Self {
        let (listener, pages) = (TcpListener::bind("127.0.0.1:0").expect("a port"), Pages::default());
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (served, noted) = (pages.clone(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, asked) = (served.clone(), noted.clone());
                // Who asks may go at any time.
                thread::spawn(move || drop(serve(stream, &pages, &asked)));
            }
        });
        Self { address, pages, asked }
    }

    /// Answers a path from now on.
    pub(crate) fn set(&self, path: &str, answer: Answer) {
        let mut pages = self.pages.lock().expect("nobody panics with it");
        pages.retain(|(known, _)| known != path);
        pages.push((path.to_owned(), answer));
    }

    /// The requests so far, each with its headers.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn serve(stream: TcpStream, pages: &Pages, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        asked.lock().expect("nobody panics with it").push(request);
        let known = pages.lock().expect("nobody panics with it").iter().find(|(known, _)| *known == path).cloned();
        let answer =
            known.map_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), |(_, page)| page);
        writer.write_all(&answer)?;
    }
}
