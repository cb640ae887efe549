//! Collecting bodies under two bounds: one for each, one for all together.

use std::{cell::Cell, rc::Rc};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

/// Bytes that bodies may still take.
#[derive(Clone)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Rc::new(Cell::new(bytes)))
    }
}

/// A body's part of the budget; given back on drop.
pub(super) struct Claim {
    budget: Budget,
    bytes: usize,
}

impl Claim {
    /// Makes the claim at least `bytes` large.
    fn raise_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let left = self.budget.0.get().checked_sub(more).ok_or(Refusal::OverBudget)?;
        self.budget.0.set(left);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() + self.bytes);
    }
}

#[derive(Debug)]
pub(super) enum Refusal {
    TooLarge,
    OverBudget,
    Broken(hyper::Error),
}

/// Reads the whole body. A body that arrives in one piece is not copied; others are, once, into memory of the announced size.
pub(super) async fn collect(mut body: Incoming, max: usize, budget: &Budget) -> Result<(Bytes, Claim), Refusal> {
    let announced = body.size_hint().exact().map_or(Ok(0), usize::try_from).map_err(|_| Refusal::TooLarge)?;
    if announced > max {
        return Err(Refusal::TooLarge);
    }
    let mut claim = Claim { budget: budget.clone(), bytes: 0 };
    claim.raise_to(announced)?;
    let Some(first) = next_piece(&mut body).await? else { return Ok((Bytes::new(), claim)) };
    if first.len() == announced {
        return Ok((first, claim));
    }
    let mut whole = BytesMut::with_capacity(announced);
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        let len = whole.len() + bytes.len();
        if len > max {
            return Err(Refusal::TooLarge);
        }
        claim.raise_to(len)?;
        whole.extend_from_slice(&bytes);
        piece = next_piece(&mut body).await?;
    }
    Ok((whole.freeze(), claim))
}

/// The next bytes; trailers are passed over.
async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(Refusal::Broken)?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}
