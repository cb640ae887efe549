//! The backend that needs nothing of the kernel but threads and files: for containers that forbid io_uring, old kernels,
//! laptops. It keeps the same promises as the other.

use std::{
    io,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

mod disk;
mod executor;

pub use disk::{PortableDisk, PortableFile};

use crate::{RunningThread, Runtime, ThreadConfig, placement, wall_clock_ms, worker::yield_once};
use executor::Executor;

/// See [`run`].
#[derive(Clone)]
pub struct PortableRuntime {
    executor: Rc<Executor>,
    disk: PortableDisk,
    start: Instant,
}

impl Runtime for PortableRuntime {
    type Disk = PortableDisk;

    fn disk(&self) -> &PortableDisk {
        &self.disk
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_clock_ms(&self) -> i64 {
        wall_clock_ms()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.executor.sleep_until(Instant::now() + duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        yield_once()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(Box::pin(task));
    }
}

/// Runs `main` on a thread of its own, to its end; tasks that it has spawned and that are not done by then are dropped.
///
/// # Errors
/// If a thread cannot be started.
pub fn run<T, F>(
    config: ThreadConfig,
    main: impl FnOnce(PortableRuntime) -> F + Send + 'static,
) -> io::Result<RunningThread<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let disk = disk::Workers::start(&config)?;
    let thread = thread::Builder::new().name(config.name.clone()).spawn(move || {
        if let Some(cpu) = config.cpu {
            // Checked by the caller's placement; a CPU that has gone since then costs speed, not correctness.
            drop(placement::pin_current_thread(&[cpu]));
        }
        config.give_way();
        let executor = Rc::new(Executor::new());
        let runtime = PortableRuntime {
            executor: Rc::clone(&executor),
            disk: PortableDisk::new(disk, config.durable),
            start: Instant::now(),
        };
        executor.block_on(main(runtime))
    })?;
    Ok(RunningThread(thread))
}
