//! Which program this is.

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Prometheus whose API this is: Grafana picks faster requests for newer versions.
pub(crate) const API_VERSION: &str = "3.5.0";

/// Commit of the sources, if the build knew it: set `MILLRACE_REVISION` when building a release.
pub(crate) const REVISION: &str = match option_env!("MILLRACE_REVISION") {
    Some(revision) => revision,
    None => "",
};
