//! What a push brings: text or protobuf, packed or not.

use std::io::{self, Read};

use axum::http::{HeaderMap, HeaderName, header};
use wire::exposition::{
    ParseError, ProtobufError,
    families::{self, FamilyMessage},
    family_text,
};

/// Bytes of a push once they are unpacked.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("read the body: {0}")]
    Read(String),
    #[error("the body is packed as {0:?}: send it plain, or as gzip, zstd or snappy (framed)")]
    Encoding(String),
    #[error("unpack the body: {0}")]
    Unpack(io::Error),
    #[error("the body is larger than {} MiB once unpacked", UNPACKED_BYTES_MAX >> 20)]
    TooLarge,
    #[error("text format parsing error in {0}")]
    Text(#[from] ParseError),
    #[error("the body is no metric families: {0}")]
    Protobuf(#[from] ProtobufError),
}

/// The families of a push's body.
pub(super) fn families(headers: &HeaderMap, body: &[u8]) -> Result<Vec<FamilyMessage>, BodyError> {
    let text = |name: HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    };
    let page = unpacked(&text(header::CONTENT_ENCODING), body)?;
    let content_type = text(header::CONTENT_TYPE);
    if content_type.starts_with("application/vnd.google.protobuf") {
        return Ok(families::read_all(&page)?);
    }
    Ok(family_text::read(&page)?)
}

fn unpacked(encoding: &str, body: &[u8]) -> Result<Vec<u8>, BodyError> {
    match encoding {
        "" | "identity" => Ok(body.to_vec()),
        "gzip" => read(flate2::read::MultiGzDecoder::new(body)),
        "snappy" => read(snap::read::FrameDecoder::new(body)),
        "zstd" => read(zstd::stream::read::Decoder::new(body).map_err(BodyError::Unpack)?),
        other => Err(BodyError::Encoding(other.to_owned())),
    }
}

fn read(packed: impl Read) -> Result<Vec<u8>, BodyError> {
    let mut page = Vec::new();
    packed.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut page).map_err(BodyError::Unpack)?;
    if page.len() as u64 > UNPACKED_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(page) }
}
