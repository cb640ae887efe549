//! Help from as many threads as are asked for.

use std::{sync::Arc, thread, time::Duration};

use crate::help::{Help, Helpers, Work};

struct ThreadEach;

impl Helpers for ThreadEach {
    fn lend(&self, work: Work) -> bool {
        thread::spawn(move || work(&|| false));
        true
    }
}

/// Help at once and with each series, so that queries of a few series meet what large ones meet.
pub fn hasty_help() -> Help {
    Help { helpers: Arc::new(ThreadEach), after: Duration::ZERO, series_max: 1 }
}
