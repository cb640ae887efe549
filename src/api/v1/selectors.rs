//! `match[]` parameters and expressions, as far as a handler has to look into them before it runs anything.

use model::Matcher;
use promql::{
    ast::Expr,
    parser::{self, ParseError, ParseOptions},
};

use crate::api::{error::ApiError, params::Params};

#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum SelectorError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("match[] must contain at least one non-empty matcher")]
    MatchesEverything,
}

/// Every `match[]`, each with at least one matcher that an absent label does not satisfy: the rest would be the whole store.
pub(in crate::api) fn match_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, SelectorError> {
    let mut sets = Vec::new();
    for text in params.all("match[]") {
        sets.push(parser::parse_metric_selector(text)?);
    }
    match sets.iter().all(|set| set.iter().any(|matcher| !matcher.matches_empty())) {
        true => Ok(sets),
        false => Err(SelectorError::MatchesEverything),
    }
}

pub(super) fn parse_query(text: &str, options: &ParseOptions) -> Result<Expr, ApiError> {
    parser::parse(text, options).map_err(|error| ApiError::bad_parameter("query", error))
}
