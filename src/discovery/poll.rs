//! Mechanisms that are asked again and again, as their servers don't tell of changes.

use std::{error::Error, future::Future, time::Duration};

use tokio::time::timeout;

use super::Updates;
use crate::targets::TargetGroup;

/// Nobody needs targets more often.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Who is asked.
pub(super) trait Refresh: Send {
    type Error: Error + Send;

    /// By its name in metrics.
    const MECHANISM: &'static str;

    /// For the log: what is asked.
    fn place(&self) -> String;

    /// Everything that is found now.
    fn refresh(&mut self) -> impl Future<Output = Result<Vec<TargetGroup>, Self::Error>> + Send;
}

/// Asks at an interval, for ever.
pub(super) async fn run<R: Refresh>(mut asked: R, interval: Duration, updates: Updates) {
    let interval = interval.max(INTERVAL_MIN);
    let mut ticks = tokio::time::interval(interval);
    let mut log = FailureLog::default();
    loop {
        ticks.tick().await;
        match timeout(interval, asked.refresh()).await {
            Ok(Ok(groups)) => {
                log.succeeded();
                updates.replace(groups);
            }
            Ok(Err(error)) => log.failed(&updates, R::MECHANISM, &asked.place(), &error.to_string()),
            Err(_) => {
                log.failed(&updates, R::MECHANISM, &asked.place(), "there was no answer within the refresh interval");
            }
        }
    }
}

/// Tells once of what fails again and again for the same reason.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    last: Option<String>,
}

impl FailureLog {
    pub(super) fn succeeded(&mut self) {
        self.last = None;
    }

    pub(super) fn failed(&mut self, updates: &Updates, mechanism: &'static str, place: &str, error: &str) {
        updates.failed(mechanism);
        if self.last.as_deref() != Some(error) {
            tracing::error!(job = &*updates.job, mechanism, place, error, "get targets; what was found last stands");
            self.last = Some(error.to_owned());
        }
    }
}
