//! Taking turns: of the tasks that read, one does a slice of its work at a time.
//!
//! A shard's tasks run in the order in which they are woken, and a write passes through several of them. If every reader were among
//! the ready tasks with a slice of work, a write would wait for as many slices at each of its steps as there are readers.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use futures_channel::oneshot;

#[derive(Clone, Default)]
pub(crate) struct Turns(Rc<Inner>);

#[derive(Default)]
struct Inner {
    taken: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

impl Turns {
    /// Waits for those that came before.
    pub(crate) async fn take(&self) -> Turn {
        if !self.0.taken.replace(true) {
            return Turn(self.0.clone());
        }
        let (sender, turn) = oneshot::channel();
        self.0.waiting.borrow_mut().push_back(sender);
        turn.await.expect("a turn that ends goes to the next")
    }
}

/// Held for one slice; goes to the next that waits when it is dropped.
pub(crate) struct Turn(Rc<Inner>);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.waiting.borrow_mut().pop_front();
        match next {
            // To one that is gone it comes back, is dropped there, and goes on from there.
            Some(next) => drop(next.send(Self(self.0.clone()))),
            None => self.0.taken.set(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn turns_go_round_in_order_and_past_those_that_left() {
        let turns = Turns::default();
        let mut first = Box::pin(turns.take());
        let Poll::Ready(turn) = poll(first.as_mut()) else { panic!("nobody has it") };
        let mut second = Box::pin(turns.take());
        let mut third = Box::pin(turns.take());
        let mut fourth = Box::pin(turns.take());
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        assert!(poll(fourth.as_mut()).is_pending());
        drop(third);
        drop(turn);
        assert!(poll(fourth.as_mut()).is_pending());
        let Poll::Ready(turn) = poll(second.as_mut()) else { panic!("its turn") };
        drop(turn);
        let Poll::Ready(turn) = poll(fourth.as_mut()) else { panic!("the third is gone") };
        drop(turn);
        assert!(poll(Box::pin(turns.take()).as_mut()).is_ready());
        // One that leaves with the turn in its hands, not yet looked at.
        let Poll::Ready(turn) = poll(Box::pin(turns.take()).as_mut()) else { panic!("nobody has it") };
        let mut waiting = Box::pin(turns.take());
        assert!(poll(waiting.as_mut()).is_pending());
        drop(turn);
        drop(waiting);
        assert!(poll(Box::pin(turns.take()).as_mut()).is_ready());
    }
}
