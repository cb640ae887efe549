//! A bounded mailbox: many senders, one receiver, any threads, any executors.
//!
//! Promised:
//! - memory is bounded: `capacity` messages, allocated once, and one waker per sender that waits;
//! - a busy receiver is never woken: a sender calls the waker only if the receiver said that it sleeps, and only the first sender
//!   to see that does, so a send to a busy receiver makes no system call;
//! - messages of one sender arrive in the order of its completed sends;
//! - nothing here is random or looks at a clock: on one thread, the same calls give the same order.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll, Waker},
};

use crossbeam_queue::ArrayQueue;

#[cfg(test)]
mod tests;

/// Makes a mailbox that holds at most `capacity` messages.
///
/// # Panics
/// If `capacity` is 0.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        sleeping: AtomicBool::new(false),
        receiver: Mutex::new(None),
        receiver_gone: AtomicBool::new(false),
        senders: AtomicUsize::new(1),
        waiting: AtomicUsize::new(0),
        waiters: Mutex::new(BTreeMap::new()),
        next_ticket: AtomicU64::new(0),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// Why a message was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// `capacity` messages are waiting.
    Full(T),
    /// The receiver is gone for good.
    Closed(T),
}

impl<T> SendError<T> {
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }

    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Closed(..)" })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "the mailbox is full" } else { "the mailbox is closed" })
    }
}

impl<T> std::error::Error for SendError<T> {}

/// All senders are gone and every message has been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all senders of the mailbox are gone")
    }
}

impl std::error::Error for Closed {}

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// The receiver has put its waker into `receiver` and found the queue empty afterwards; whoever swaps this to false wakes it.
    sleeping: AtomicBool,
    receiver: Mutex<Option<Waker>>,
    receiver_gone: AtomicBool,
    senders: AtomicUsize,
    /// The length of `waiters`, so that a receiver that nobody waits for takes no lock.
    waiting: AtomicUsize,
    /// Senders that met a full queue, by ticket, so in the order in which they came.
    waiters: Mutex<BTreeMap<u64, Waker>>,
    next_ticket: AtomicU64,
}

/// No code of ours panics under these locks, so a poisoned one still holds good data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    fn push(&self, message: T) -> Result<(), SendError<T>> {
        if self.receiver_gone.load(Ordering::Acquire) {
            return Err(SendError::Closed(message));
        }
        self.queue.push(message).map_err(SendError::Full)?;
        // Pairs with the fences in `poll_receive` and `Receiver::drop`: either we see their flag, or they see our message.
        fence(Ordering::SeqCst);
        if self.receiver_gone.load(Ordering::Relaxed) {
            self.discard();
        } else {
            self.wake_receiver();
        }
        Ok(())
    }

    fn wake_receiver(&self) {
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::SeqCst) {
            let waker = lock(&self.receiver).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Wakes every waiting sender, oldest first; those that find no room wait again.
    fn wake_senders(&self) {
        // Pairs with the fence in `poll_send`: either we see the waiter, or it sees the room that we made.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiters = lock(&self.waiters);
        let woken = mem::take(&mut *waiters);
        self.waiting.store(0, Ordering::Relaxed);
        drop(waiters);
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    fn wait(&self, ticket: u64, waker: &Waker) {
        let mut waiters = lock(&self.waiters);
        waiters.insert(ticket, waker.clone());
        self.waiting.store(waiters.len(), Ordering::Relaxed);
    }

    fn stop_waiting(&self, ticket: u64) {
        let mut waiters = lock(&self.waiters);
        waiters.remove(&ticket);
        self.waiting.store(waiters.len(), Ordering::Relaxed);
    }

    /// Drops what nobody will receive, so that whoever waits for an answer hears that there is none.
    fn discard(&self) {
        while self.queue.pop().is_some() {}
    }
}

/// The sending end.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// `Full` or `Closed`, with the message.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        self.shared.push(message)
    }

    /// Sends, waiting for room. A sender that does not wait may overtake one that does.
    ///
    /// # Errors
    /// `Closed` with the message; never `Full`.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = match self.try_send(message) {
            Err(SendError::Full(message)) => Some(message),
            done => return done,
        };
        let place = Place { shared: &self.shared, ticket: self.shared.next_ticket.fetch_add(1, Ordering::Relaxed) };
        poll_fn(|context| place.poll_send(&mut message, context)).await
    }

    /// Messages waiting to be received.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.queue.len()
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.queue.capacity()
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            fence(Ordering::SeqCst);
            self.shared.wake_receiver();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("depth", &self.depth()).field("capacity", &self.capacity()).finish()
    }
}

/// One waiting send; leaves the line when it is dropped half-way.
struct Place<'a, T> {
    shared: &'a Shared<T>,
    ticket: u64,
}

impl<T> Place<'_, T> {
    fn poll_send(&self, message: &mut Option<T>, context: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let Some(waiting) = message.take() else { return Poll::Ready(Ok(())) };
        self.shared.wait(self.ticket, context.waker());
        fence(Ordering::SeqCst);
        match self.shared.push(waiting) {
            Err(SendError::Full(back)) => {
                *message = Some(back);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.shared.stop_waiting(self.ticket);
    }
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Appends what is there to `into`, at most `capacity` messages, and returns how many; never waits.
    pub fn try_receive_all(&mut self, into: &mut Vec<T>) -> usize {
        let before = into.len();
        // Bounded, as senders may be refilling as fast as we take.
        while into.len() - before < self.shared.queue.capacity() {
            let Some(message) = self.shared.queue.pop() else { break };
            into.push(message);
        }
        let received = into.len() - before;
        if received > 0 {
            self.shared.wake_senders();
        }
        received
    }

    /// Appends all that is there to `into`; waits while there is nothing. Losing the future loses no message.
    ///
    /// # Errors
    /// [`Closed`] when all senders are gone and nothing is left.
    pub async fn receive_all(&mut self, into: &mut Vec<T>) -> Result<(), Closed> {
        poll_fn(|context| self.poll_receive(into, context)).await
    }

    /// Messages waiting to be received.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// [`Self::receive_all`] for those who wait for something else too.
    ///
    /// # Errors
    /// As there.
    pub fn poll_receive(&mut self, into: &mut Vec<T>, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if self.try_receive_all(into) > 0 {
            return Poll::Ready(Ok(()));
        }
        {
            let mut waker = lock(&self.shared.receiver);
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        self.shared.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Senders are counted before the queue is looked at: a last sender's message is in the queue before it leaves.
        let closed = self.shared.senders.load(Ordering::Acquire) == 0;
        if self.try_receive_all(into) > 0 {
            self.shared.sleeping.store(false, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        if closed { Poll::Ready(Err(Closed)) } else { Poll::Pending }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.shared.discard();
        self.shared.wake_senders();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("depth", &self.depth()).finish_non_exhaustive()
    }
}
