//! One connection's work: its blocks, pass after pass, one request at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    args::LoadArgs,
    client::{Answer, Client, Endpoint, TransportError},
    measure::Totals,
    plan::Plan,
    request::{Block, BodyWriter},
    values::Shape,
};

pub(super) struct Worker {
    connection: u32,
    client: Client,
    plan: Arc<Plan>,
    totals: Arc<Totals>,
    blocks: Vec<Block>,
    body: BodyWriter,
    shape: Shape,
    retries: u32,
    /// Requests in a row that no server answered.
    unanswered: u32,
}

/// Requests in a row without an answer after which a connection gives up: ten seconds without a server, or some minutes when
/// requests are to be sent again, as the pauses grow then.
const UNANSWERED_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A server that asks for more patience than this is not waited for so long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl Worker {
    /// The worker of one of the connections; blocks go round.
    pub(super) fn new(
        connection: u32,
        args: &LoadArgs,
        endpoint: Arc<Endpoint>,
        plan: Arc<Plan>,
        totals: Arc<Totals>,
    ) -> Self {
        let blocks = (connection..plan.blocks()).step_by(args.connections as usize);
        Self {
            connection,
            client: Client::new(endpoint, args.protocol.into(), args.timeout),
            blocks: blocks.map(|block| Block::new(args, plan.series_of(block))).collect(),
            plan,
            totals,
            body: BodyWriter::default(),
            shape: args.values,
            retries: args.retries,
            unanswered: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut pass = 0;
        while !self.blocks.is_empty() && self.plan.goes_on(pass) && self.unanswered < UNANSWERED_MAX {
            self.plan.lockstep.enter(self.connection, pass).await;
            self.run_pass(pass).await;
            pass += 1;
        }
        self.plan.lockstep.leave(self.connection);
    }

    async fn run_pass(&mut self, pass: u32) {
        for index in 0..self.blocks.len() {
            let samples = self.blocks[index].series.len() as u64;
            self.plan.wait(pass, samples).await;
            if !self.plan.goes_on(pass) {
                return;
            }
            self.send(index, pass).await;
            if self.unanswered >= UNANSWERED_MAX {
                self.totals.give_up();
                return;
            }
        }
    }

    /// Sends one block of one pass, again if it is asked for, and counts what became of it.
    async fn send(&mut self, index: usize, pass: u32) {
        let block = &mut self.blocks[index];
        let body = Bytes::copy_from_slice(self.body.write(block, &self.plan, self.shape, pass));
        let (series, time_ms) = (block.series.clone(), self.plan.time_ms(pass));
        let samples = series.len() as u64;
        let mut retries = self.retries;
        loop {
            let sent = Instant::now();
            let answer = self.client.post(body.clone()).await;
            let latency = sent.elapsed();
            self.unanswered = if answer.is_err() { self.unanswered + 1 } else { 0 };
            if retries > 0 && wants_retry(&answer) && self.unanswered < UNANSWERED_MAX && self.plan.goes_on(pass) {
                retries -= 1;
                self.totals.count_retry();
                tokio::time::sleep(pause(&answer, self.retries - retries)).await;
                continue;
            }
            return match answer {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    let written = answer.samples_written.unwrap_or(samples).min(samples);
                    self.totals.count_acknowledged(written, samples, latency);
                    if written == samples {
                        self.totals.log_acknowledged(&series, time_ms);
                    }
                }
                Ok(answer) => {
                    let written = answer.samples_written.unwrap_or(0).min(samples);
                    self.totals.count_partly_acknowledged(written);
                    self.totals.count_refused(answer.status.to_string(), samples - written, answer.text);
                }
                Err(error) => {
                    self.totals.count_refused("unanswered".to_owned(), samples, error.to_string());
                    tokio::time::sleep(PAUSE).await;
                }
            };
        }
    }
}

fn wants_retry(answer: &Result<Answer, TransportError>) -> bool {
    answer.as_ref().map_or(true, |answer| answer.status >= 500)
}

/// What the server asks for, else longer from time to time.
fn pause(answer: &Result<Answer, TransportError>, attempt: u32) -> Duration {
    let asked = answer.as_ref().ok().and_then(|answer| answer.retry_after);
    match asked {
        Some(asked) => asked.min(RETRY_AFTER_MAX),
        None => PAUSE.saturating_mul(attempt).min(PAUSE_MAX),
    }
}
