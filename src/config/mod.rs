//! What the operator asks for: flags, `prometheus.yml`, the tuning file.

pub(crate) mod flags;
mod foreign;
mod nearest;
pub(crate) mod prometheus;
pub(crate) mod retention;
pub(crate) mod rules;
pub(crate) mod tuning;
pub(crate) mod units;
pub(crate) mod yaml;
