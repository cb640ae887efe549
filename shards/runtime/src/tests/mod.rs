//! The same suites for every backend.

use std::path::PathBuf;

use crate::{DurableWay, RunningThread, ThreadConfig, portable};

mod disk;
mod tasks;

/// Where tests write: on the disk that holds the build, as a memory file system would refuse direct writes or make them cheap.
pub(crate) fn disk_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders above the crate").join("target")
}

pub(crate) fn config(durable: DurableWay) -> ThreadConfig {
    ThreadConfig { name: "test".to_owned(), cpu: None, durable, nice: 0 }
}

/// What went wrong on the thread goes wrong in the test.
pub(crate) fn finish<T>(running: std::io::Result<RunningThread<T>>) -> T {
    running.unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Writes a suite's tests for both backends; each test is an `async fn(impl Runtime)`.
macro_rules! on_all_backends {
    ($($test:ident),+ $(,)?) => {
        mod portable {
            $(#[test]
            fn $test() {
                for way in [crate::DurableWay::SyncedWrite, crate::DurableWay::WriteThenFlush] {
                    crate::tests::finish(crate::portable::run(crate::tests::config(way), super::$test));
                }
            })+
        }

        #[cfg(feature = "glommio")]
        mod glommio {
            $(#[test]
            fn $test() {
                for way in [crate::DurableWay::SyncedWrite, crate::DurableWay::WriteThenFlush] {
                    crate::tests::finish(crate::glommio::run(crate::tests::config(way), super::$test));
                }
            })+
        }
    };
}
use on_all_backends;

#[test]
fn a_panic_reaches_whoever_joins() {
    let config = config(DurableWay::SyncedWrite);
    let running = portable::run(config, |_| async { panic!("on purpose") }).unwrap();
    let panic = RunningThread::<()>::join(running).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
}

#[cfg(feature = "glommio")]
#[test]
fn io_uring_is_available_where_tests_run() {
    crate::glommio::available().unwrap();
}
