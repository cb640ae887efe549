//! glommio's TCP stream as hyper wants one.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::watch::Watch;

/// Most bytes taken at once: the memory for them is zeroed first, and more than the socket holds would be zeroed in vain.
const READ_BYTES_MAX: usize = 64 << 10;

pub(super) struct Stream {
    stream: TcpStream,
    watch: Rc<Watch>,
}

impl Stream {
    pub(super) const fn new(stream: TcpStream, watch: Rc<Watch>) -> Self {
        Self { stream, watch }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = cursor.remaining().min(READ_BYTES_MAX);
        let into = cursor.initialize_unfilled_to(bytes);
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        // SAFETY: the stream has filled `read` bytes of those just initialised.
        unsafe { cursor.advance(read) };
        self.watch.bytes_came();
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.watch.bytes_went();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
