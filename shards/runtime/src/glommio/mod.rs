//! The backend of io_uring: one executor per thread, which sleeps in the kernel while nothing is under way.
//!
//! This is the only place that knows glommio. What one must know about it:
//! - it may fall asleep with tasks ready to run: if a completion that nobody waits for (a timer's, a wake-up's) arrives just before
//!   it would run them, it takes that for "nothing to run" and sleeps until the next event; hence [`heartbeat`];
//! - it looks at completions when no task is ready, or after [`PREEMPT_AFTER`]; a task that only yields waits as long for its I/O;
//! - its file type reads sysfs and panics on odd devices, so only the log's writes go through it, after a plain open has succeeded;
//! - its calls that block run on [`HELPER_THREADS`] threads, in no order between them.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

mod available;
mod disk;
pub mod http;

pub use available::{Unavailable, available};
pub use disk::{GlommioDisk, GlommioFile};

use crate::{RunningThread, Runtime, ThreadConfig, placement, wall_clock_ms, worker::yield_once};

/// Registered I/O memory of an executor: a few commits of the largest size at once; what does not fit comes from the heap.
const IO_MEMORY_BYTES: usize = 1 << 20;

/// For calls that block: two, so that filling a new log segment or syncing a large file holds up no read.
const HELPER_THREADS: usize = 2;

/// How long ready tasks run before completions are looked at. No timer runs while the thread sleeps.
const PREEMPT_AFTER: Duration = Duration::from_millis(2);

/// How long tasks that are ready may be overlooked, while there is something to do ...
const HEARTBEAT_MIN: Duration = Duration::from_millis(5);
/// ... and after a while with nothing to do, when a beat (some 150 us of CPU) should be rare.
const HEARTBEAT_MAX: Duration = Duration::from_millis(200);

/// See [`run`].
#[derive(Clone)]
pub struct GlommioRuntime {
    disk: GlommioDisk,
    start: Instant,
    /// Polls of spawned tasks so far.
    polls: Rc<Cell<u64>>,
}

impl Runtime for GlommioRuntime {
    type Disk = GlommioDisk;

    fn disk(&self) -> &GlommioDisk {
        &self.disk
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_clock_ms(&self) -> i64 {
        wall_clock_ms()
    }

    async fn sleep(&self, duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        yield_once()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let polls = Rc::clone(&self.polls);
        drop(glommio::spawn_local(counted(task, polls)).detach());
    }
}

/// Runs `main` on a thread of its own, to its end; tasks that it has spawned and that are not done by then are dropped.
///
/// # Errors
/// If the thread or its executor cannot be started; [`available`] tells beforehand.
pub fn run<T, F>(
    config: ThreadConfig,
    main: impl FnOnce(GlommioRuntime) -> F + Send + 'static,
) -> io::Result<RunningThread<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    // The executor cannot change threads, so the thread reports whether it has one, and panics with the reason if not.
    let (started, starts) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(config.name.clone()).spawn(move || {
        let executor = make_executor();
        let outcome = executor.as_ref().map(drop).map_err(|error| io::Error::new(error.kind(), error.to_string()));
        // The caller waits for this.
        drop(started.send(outcome));
        let executor = executor.expect("the caller has been told");
        if let Some(cpu) = config.cpu {
            // After the executor's helper threads have been started, which may run elsewhere. Placement has checked the CPU; one that
            // has gone since then costs speed, not correctness.
            drop(placement::pin_current_thread(&[cpu]));
        }
        let runtime =
            GlommioRuntime { disk: GlommioDisk::new(config.durable), start: Instant::now(), polls: Rc::default() };
        executor.run(async move {
            runtime.spawn(heartbeat(Rc::clone(&runtime.polls)));
            let polls = Rc::clone(&runtime.polls);
            counted(main(runtime), polls).await
        })
    })?;
    starts.recv().unwrap_or_else(|_| Err(io::Error::other("the executor panicked while it started")))?;
    Ok(RunningThread(thread))
}

async fn counted<T>(task: impl Future<Output = T>, polls: Rc<Cell<u64>>) -> T {
    let mut task = pin!(task);
    poll_fn(|context| {
        polls.set(polls.get() + 1);
        task.as_mut().poll(context)
    })
    .await
}

/// An event that comes by itself, so that the executor finds what it has overlooked: often while tasks run, seldom while none do.
async fn heartbeat(polls: Rc<Cell<u64>>) {
    let mut pause = HEARTBEAT_MIN;
    loop {
        // This task's own next poll, at the beat, counts as well.
        let expected = polls.get() + 1;
        glommio::timer::sleep(pause).await;
        pause = if polls.get() == expected { (pause * 2).min(HEARTBEAT_MAX) } else { HEARTBEAT_MIN };
    }
}

fn make_executor() -> io::Result<LocalExecutor> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound);
    Ok(builder
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT_AFTER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(HELPER_THREADS))
        .make()?)
}
