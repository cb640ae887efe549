//! What the process says about itself: log lines, metrics, and what the kernel knows of it.

pub(crate) mod blocks;
pub(crate) mod data_plane;
pub(crate) mod exposition;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod process;
