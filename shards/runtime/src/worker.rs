//! A helper thread for calls that block, so that the thread that asks goes on.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, JoinHandle, Thread},
};

use futures_channel::oneshot;

use crate::mailbox;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait for the thread; more than that wait at the asker's.
const QUEUE_JOBS: usize = 64;

/// Runs jobs one after the other, in the order in which they came. Dropping it waits for those under way.
pub(crate) struct Worker {
    jobs: Option<mailbox::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; `prepare` is the first thing that it does.
    pub(crate) fn start(name: &str, prepare: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mailbox::channel(QUEUE_JOBS);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            prepare();
            work(receiver);
        })?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    /// Runs `job` on the thread. A job that has been handed over runs even if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waiting any more is no fault of the job's.
            drop(answer.send(job()));
        });
        let jobs = self.jobs.as_ref().expect("the queue is there until drop");
        jobs.send(job).await.expect("the thread lives until its queue is dropped");
        answered.await.expect("jobs report failures as values, they do not panic")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job's panic has been printed and has reached its asker.
            drop(thread.join());
        }
    }
}

fn work(mut receiver: mailbox::Receiver<Job>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut jobs = Vec::with_capacity(QUEUE_JOBS);
    while park_until(pin!(receiver.receive_all(&mut jobs)), &mut context).is_ok() {
        for job in jobs.drain(..) {
            job();
        }
    }
}

fn park_until<F: Future>(mut future: Pin<&mut F>, context: &mut Context<'_>) -> F::Output {
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return output;
        }
        thread::park();
    }
}

/// Wakes a thread that has parked itself; costs a system call only if it has.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Lets everything else that is ready run once.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
