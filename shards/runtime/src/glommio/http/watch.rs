//! Closes connections whose peer takes too long.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use glommio::timer::sleep;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests; the last answer may still be going out.
    Idle,
    /// A request's head is coming.
    Head,
    /// A request's body is coming.
    Body,
    /// The handler is at work: it takes the time it needs.
    Answering,
}

/// Where a connection stands and since when. One timer serves many requests: it is set anew only when it has run out, or when a
/// deadline comes before it.
pub(super) struct Watch {
    header_timeout: Duration,
    idle_timeout: Duration,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    alarm: RefCell<Alarm>,
}

struct Alarm {
    at: Instant,
    timer: Pin<Box<dyn Future<Output = ()>>>,
}

impl Alarm {
    fn new(at: Instant, now: Instant) -> Self {
        let wait = at.saturating_duration_since(now);
        Self { at, timer: Box::pin(sleep(wait)) }
    }
}

impl Watch {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            header_timeout,
            idle_timeout,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            alarm: RefCell::new(Alarm::new(now + idle_timeout, now)),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    pub(super) fn bytes_came(&self) {
        match self.phase.get() {
            Phase::Idle => self.enter(Phase::Head),
            Phase::Body => self.since.set(Instant::now()),
            // A head has its time as a whole, or it could come a byte at a time for ever.
            Phase::Head | Phase::Answering => {}
        }
    }

    /// A slow reader of an answer is not idle.
    pub(super) fn bytes_went(&self) {
        if self.phase.get() == Phase::Idle {
            self.since.set(Instant::now());
        }
    }

    pub(super) fn body_begins(&self) {
        self.enter(Phase::Body);
    }

    pub(super) fn body_ends(&self) {
        self.phase.set(Phase::Answering);
    }

    pub(super) fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// Ready once the peer has taken too long.
    pub(super) fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.borrow_mut();
        if let Some(earlier) = self.deadline().filter(|&deadline| deadline < alarm.at) {
            *alarm = Alarm::new(earlier, Instant::now());
        }
        while alarm.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => *alarm = Alarm::new(deadline, now),
                // Looked at again when the answer is there, which polls this; the timer only must not be a spent one.
                None => *alarm = Alarm::new(now + self.idle_timeout, now),
            }
        }
        Poll::Pending
    }

    fn deadline(&self) -> Option<Instant> {
        let allowed = match self.phase.get() {
            Phase::Idle => self.idle_timeout,
            Phase::Head | Phase::Body => self.header_timeout,
            Phase::Answering => return None,
        };
        Some(self.since.get() + allowed)
    }
}
