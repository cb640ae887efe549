//! [`SimRuntime`]: what one simulated thread sees of its machine.

use std::{future::Future, task::Poll, time::Duration};

use runtime::Runtime;

use crate::{
    disk::SimDisk,
    world::{ProcessId, ThreadId, World},
};

/// A process of the world and the disk it runs on.
#[derive(Clone)]
pub struct Process {
    pub world: World,
    pub id: ProcessId,
    pub disk: SimDisk,
}

impl Process {
    pub fn new(world: &World, disk: &SimDisk) -> Self {
        Self { world: world.clone(), id: world.new_process(), disk: disk.clone() }
    }

    /// A runtime on a thread of its own.
    pub fn new_thread(&self) -> SimRuntime {
        let thread = self.world.new_thread(self.id);
        SimRuntime { world: self.world.clone(), thread, disk: self.disk.clone() }
    }

    /// As kill -9: no task runs again. What the disk does with operations under way is the disk's to say.
    pub fn kill(&self) {
        self.world.kill(self.id);
    }
}

#[derive(Clone)]
pub struct SimRuntime {
    world: World,
    thread: ThreadId,
    disk: SimDisk,
}

impl Runtime for SimRuntime {
    type Disk = SimDisk;

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.world.now())
    }

    fn wall_clock_ms(&self) -> i64 {
        self.world.wall_clock_ms()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.world.sleep(duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        let mut yielded = false;
        std::future::poll_fn(move |context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(self.thread, task);
    }
}
