//! `scrape_failure_log_file`: a line of JSON for each scrape that failed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::{calendar, json::Json};

pub(crate) struct FailureLog(File);

impl FailureLog {
    /// Opens a file for writing at its end.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).open(path).map(Self)
    }

    pub(crate) fn write(&self, job: &str, target: &str, error: &str) {
        let mut line = Json::default();
        line.object().key("time").string(&calendar::rfc3339_s(calendar::now_ms())).key("level").string("ERROR");
        line.key("msg").string(error).key("job_name").string(job).key("target").string(target).end_object();
        let mut line = line.take();
        line.push(b'\n');
        // One write, so that lines of several targets don't mix. What can't be logged must not keep anybody from scraping.
        if let Err(error) = (&self.0).write_all(&line) {
            tracing::debug!(%error, "write to scrape_failure_log_file");
        }
    }
}
