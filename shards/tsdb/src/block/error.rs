//! What is wrong with a file of a block. Whoever opened the file adds its name.

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("it does not begin as a file of its kind does")]
    Magic,
    #[error("its version {0} is not one that this program reads")]
    Version(u8),
    #[error("{what} at byte {offset}")]
    Damaged { offset: u64, what: Damage },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the bytes end too early")]
    Truncated,
    #[error("a checksum does not match")]
    Checksum,
    #[error("a number has more bits than its place allows")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("an entry is out of order")]
    Order,
    #[error("a reference leads nowhere")]
    Reference,
    #[error("a count does not fit what it counts")]
    Count,
}

impl BlockError {
    pub(super) fn damaged(offset: u64, what: Damage) -> Self {
        Self::Damaged { offset, what }
    }
}
