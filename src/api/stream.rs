//! A body that is written by a thread while the client reads it.
//!
//! Bounded by the channel: a slow client slows the writer down, one that stops for [`STALL_MAX`] is cut, one that goes away ends
//! the writer. A body that does not come to its end is cut off, never ended as if it were whole.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, http::StatusCode, response::Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::error::json_response;
use crate::json::Json;

/// What is written before it is sent: the unit of a response's memory, and an answer below it goes with its length.
const PIECE_BYTES: usize = 64 << 10;
/// What is mostly written between two looks at how much there is.
const PIECE_SLACK: usize = 16 << 10;
/// Pieces on their way.
const PIECES: usize = 4;
/// How long a client may take to read a piece.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The client went away or stopped reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

enum Piece {
    Data(Bytes),
    End,
}

/// The writer's side: answers once, either with an error or with a success that may be long.
pub(crate) struct Answer {
    head: Option<oneshot::Sender<Response>>,
    pieces: Option<mpsc::Sender<Piece>>,
    runtime: Handle,
    json: Json,
}

/// The two ends; called on the runtime. The handler awaits the second and returns what it gets.
pub(crate) fn answer() -> (Answer, oneshot::Receiver<Response>) {
    let (head, response) = oneshot::channel();
    (Answer { head: Some(head), pieces: None, runtime: Handle::current(), json: Json::default() }, response)
}

impl Answer {
    /// Answers with something that is ready; nobody may be there any more to take it.
    pub(crate) fn whole(mut self, response: Response) -> Result<(), Gone> {
        self.head.take().expect("answered once").send(response).map_err(|_| Gone)
    }

    pub(crate) fn json(&mut self) -> &mut Json {
        &mut self.json
    }

    /// Sends what is written so far if it is enough for a piece. Called from time to time while writing.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Gone> {
        if self.json.len() < PIECE_BYTES {
            return Ok(());
        }
        if let Some(head) = self.head.take() {
            let (sender, receiver) = mpsc::channel(PIECES);
            self.pieces = Some(sender);
            let body = Body::new(PieceBody { receiver, ended: false });
            head.send(json_response(StatusCode::OK, body)).map_err(|_| Gone)?;
        }
        let piece = Piece::Data(self.json.take().into());
        self.json.reserve(PIECE_BYTES + PIECE_SLACK);
        self.send(piece)
    }

    /// Sends the rest.
    pub(crate) fn finish(mut self) -> Result<(), Gone> {
        let rest = self.json.take();
        if let Some(head) = self.head.take() {
            return head.send(json_response(StatusCode::OK, rest)).map_err(|_| Gone);
        }
        self.send(Piece::Data(rest.into()))?;
        self.send(Piece::End)
    }

    fn send(&self, piece: Piece) -> Result<(), Gone> {
        let pieces = self.pieces.as_ref().expect("set with the first piece");
        let sent = self.runtime.block_on(async { tokio::time::timeout(STALL_MAX, pieces.send(piece)).await });
        sent.map_err(|_| Gone)?.map_err(|_| Gone)
    }
}

struct PieceBody {
    receiver: mpsc::Receiver<Piece>,
    ended: bool,
}

impl hyper::body::Body for PieceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|piece| match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(io::Error::other("the answer was not written to its end"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn written(strings: usize, to_the_end: bool) -> Result<Vec<u8>, axum::Error> {
        let (mut answer, response) = answer();
        let writer = tokio::task::spawn_blocking(move || {
            answer.json().array();
            for _ in 0..strings {
                answer.json().string(&"x".repeat(1000));
                answer.checkpoint()?;
            }
            answer.json().end_array();
            if to_the_end { answer.finish() } else { Ok(()) }
        });
        let response = response.await.expect("an answer");
        let body = response.into_body().collect().await;
        writer.await.expect("no panic").expect("the reader stays");
        body.map(|body| body.to_bytes().to_vec())
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn short_and_long_answers_arrive_whole() {
        for strings in [0, 1, 64, 1000] {
            let body = run(written(strings, true)).expect("a whole body");
            let back: Vec<String> = serde_json::from_slice(&body).expect("valid JSON");
            assert_eq!(back.len(), strings);
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error_for_the_reader() {
        run(written(1000, false)).expect_err("cut off");
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_writer() {
        let gone = run(async {
            let (mut answer, response) = answer();
            drop(response);
            tokio::task::spawn_blocking(move || {
                answer.json().string(&"x".repeat(PIECE_BYTES));
                answer.checkpoint()
            })
            .await
        });
        assert_eq!(gone.expect("no panic"), Err(Gone));
    }
}
