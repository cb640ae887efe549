//! Why a query gave no result.

use crate::{budget::BudgetError, parser::ParseError, source::SourceError};

#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not a query.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The query doesn't fit its time range: the caller's mistake, found before anything was read.
    #[error("{0}")]
    BadQuery(String),
    /// The query is well formed but its data or its parameters have no answer.
    #[error("{0}")]
    Execution(String),
    /// A limit, the deadline or a cancel stopped it.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The storage failed.
    #[error("{0}")]
    Storage(String),
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Budget(error) => Self::Budget(error),
            SourceError::Storage(text) => Self::Storage(text),
        }
    }
}

impl QueryError {
    pub(crate) fn execution(text: impl Into<String>) -> Self {
        Self::Execution(text.into())
    }
}

/// Two results of a step that would carry the same labels.
pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";
