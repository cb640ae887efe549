//! Bodies of answers, unpacked, within a limit that holds for what comes out and for what goes in.

use std::io::{self, Write};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt as _;
use hyper::{
    Response,
    body::{Body as _, Incoming},
    header::CONTENT_ENCODING,
};
use tokio::sync::Semaphore;

use super::{connect::Connection, with_causes};

#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body is packed as {0:?}, which was not asked for")]
    Encoding(String),
    #[error("unpack the body: {0}")]
    Unpack(io::Error),
    #[error("read the body: {0}")]
    Read(String),
    #[error("read the body: its connection is gone")]
    Gone,
}

/// From here on a body is large, and few are read at a time: many targets that send without end must not take the memory together.
const LARGE_BYTES: usize = 8 << 20;
static LARGE_BODIES: Semaphore = Semaphore::const_new(4);

/// Memory that a frame may ask for, as a power of two: what the format says every decoder should grant (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Reads a body, moving its connection along.
pub(super) async fn read(
    response: Response<Incoming>,
    bytes_max: usize,
    out: &mut Vec<u8>,
    connection: &mut Connection,
) -> Result<(), BodyError> {
    out.clear();
    // Who says that it sends too much is believed before it takes any memory.
    if response.body().size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let limited = Limited { out: std::mem::take(out), bytes_max, is_exceeded: false };
    let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let mut sink = Sink::new(encoding.as_deref().unwrap_or_default(), limited)?;
    let read = read_into(response.into_body(), bytes_max, &mut sink, connection).await;
    if sink.limited().is_exceeded {
        return Err(BodyError::TooLarge(bytes_max));
    }
    read?;
    *out = sink.finish().map_err(BodyError::Unpack)?.out;
    Ok(())
}

async fn read_into(
    mut body: Incoming,
    bytes_max: usize,
    sink: &mut Sink,
    connection: &mut Connection,
) -> Result<(), BodyError> {
    let (mut bytes, mut place) = (0usize, None);
    while let Some(frame) = connection.drive(body.frame()).await {
        let frame = frame.map_err(|error| BodyError::Read(with_causes(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len();
        // What is packed larger than it is allowed to be unpacked is nothing that was meant well.
        if bytes > bytes_max.saturating_add(data.len()) {
            return Err(BodyError::TooLarge(bytes_max));
        }
        sink.write(&data).map_err(BodyError::Unpack)?;
        if place.is_none() && sink.limited().out.len() > LARGE_BYTES {
            place = Some(LARGE_BODIES.acquire().await.map_err(|_| BodyError::Gone)?);
        }
    }
    Ok(())
}

/// Bytes up to a limit.
struct Limited {
    out: Vec<u8>,
    bytes_max: usize,
    is_exceeded: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() + bytes.len() > self.bytes_max {
            self.is_exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a body's bytes go, by its encoding.
enum Sink {
    Plain(Limited),
    Gzip(Box<MultiGzDecoder<Limited>>),
    Zlib(Box<ZlibDecoder<Limited>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Limited>>),
}

impl Sink {
    fn new(encoding: &[u8], limited: Limited) -> Result<Self, BodyError> {
        match encoding {
            b"" | b"identity" => Ok(Self::Plain(limited)),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(limited)))),
            b"deflate" => Ok(Self::Zlib(Box::new(ZlibDecoder::new(limited)))),
            b"zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(limited).map_err(BodyError::Unpack)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(BodyError::Unpack)?;
                Ok(Self::Zstd(Box::new(decoder)))
            }
            other => Err(BodyError::Encoding(String::from_utf8_lossy(other).into_owned())),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(limited) => limited.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    fn limited(&self) -> &Limited {
        match self {
            Self::Plain(limited) => limited,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zlib(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }

    /// An end in the middle is an error.
    fn finish(self) -> io::Result<Limited> {
        match self {
            Self::Plain(limited) => Ok(limited),
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zlib(decoder) => decoder.finish(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}
