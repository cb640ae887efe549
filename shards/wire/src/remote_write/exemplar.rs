//! The exemplar message: labels 1 (messages in protocol 1.0, references in 2.0), value 2 (double), timestamp 3 (int64).

use super::{
    DecodeError,
    columns::{Columns, LabelRange},
    label,
};
use crate::protobuf::{Reader, Tag, WIRE_FIXED64, WIRE_LENGTH, WIRE_VARINT};

pub(super) const VALUE: Tag = Tag::new(2, WIRE_FIXED64);
pub(super) const TIME: Tag = Tag::new(3, WIRE_VARINT);

/// How labels stand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Messages,
    References,
}

pub(super) const LABELS_V1: Form = Form::Messages;
pub(super) const LABELS_V2: Form = Form::References;

const LABELS: Tag = Tag::new(1, WIRE_LENGTH);
/// A reference by itself, as a writer without packing puts it.
const REFERENCE: Tag = Tag::new(1, WIRE_VARINT);

/// Reads any legal exemplar message: time in milliseconds, bits of the value, and where the labels are.
pub(super) fn read(
    mut message: Reader<'_>,
    form: Form,
    columns: &mut Columns,
) -> Result<((i64, u64), LabelRange), DecodeError> {
    let (mut time, mut value, mut labels) = (0, 0, LabelRange::default());
    while !message.is_empty() {
        let start = message.at();
        match message.tag()? {
            LABELS if form == Form::Messages => {
                label::read(message.message()?)?;
                labels = columns.join_exemplar_labels(labels, message.buffer(), start, message.at());
            }
            LABELS => {
                let packed = message.message()?;
                // Pieces of a list are joined: a reference must not begin in one and end in the next.
                if packed.rest().last().is_some_and(|&last| last >= 0x80) {
                    return Err(packed.malformed("a reference that does not end").into());
                }
                labels = columns.join_exemplar_labels(labels, packed.buffer(), packed.at(), packed.end());
            }
            REFERENCE if form == Form::References => {
                let start = message.at();
                message.varint()?;
                labels = columns.join_exemplar_labels(labels, message.buffer(), start, message.at());
            }
            VALUE => value = message.fixed64()?,
            TIME => time = message.varint()? as i64,
            other => message.skip_unknown(other, &[LABELS, VALUE, TIME])?,
        }
    }
    Ok(((time, value), labels))
}
