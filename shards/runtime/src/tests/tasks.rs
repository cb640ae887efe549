//! What [`Runtime`] promises of tasks, timers and mailboxes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

use super::on_all_backends;
use crate::{Runtime, mailbox};

on_all_backends!(
    tasks_take_turns,
    sleeps_end_in_the_order_of_their_deadlines,
    a_task_spawns_others,
    messages_come_from_other_threads,
    an_answer_crosses_threads_and_back,
    a_sleeper_sleeps_while_others_work,
    nothing_to_do_costs_nothing,
    clocks_go_on,
    tasks_left_over_are_dropped,
);

async fn tasks_take_turns(runtime: impl Runtime) {
    let turns = Rc::new(RefCell::new(Vec::new()));
    for who in 0..3 {
        let (turns, inner) = (Rc::clone(&turns), runtime.clone());
        runtime.spawn(async move {
            for turn in 0..3 {
                turns.borrow_mut().push((turn, who));
                inner.yield_now().await;
            }
        });
    }
    while turns.borrow().len() < 9 {
        runtime.yield_now().await;
    }
    let expected: Vec<_> = (0..3).flat_map(|turn| (0..3).map(move |who| (turn, who))).collect();
    assert_eq!(*turns.borrow(), expected);
}

async fn sleeps_end_in_the_order_of_their_deadlines(runtime: impl Runtime) {
    let (done, mut finished) = mailbox::channel(8);
    for ms in [60, 20, 40, 0] {
        let (done, inner) = (done.clone(), runtime.clone());
        runtime.spawn(async move {
            let start = inner.monotonic();
            inner.sleep(Duration::from_millis(ms)).await;
            assert!(inner.monotonic() - start >= Duration::from_millis(ms));
            done.try_send(ms).unwrap();
        });
    }
    drop(done);
    let mut order = Vec::new();
    while finished.receive_all(&mut order).await.is_ok() {}
    assert_eq!(order, [0, 20, 40, 60]);
}

async fn a_task_spawns_others(runtime: impl Runtime) {
    fn chain(runtime: impl Runtime, left: u32, done: mailbox::Sender<u32>) {
        runtime.clone().spawn(async move {
            if left == 0 {
                done.try_send(left).unwrap();
            } else {
                chain(runtime, left - 1, done);
            }
        });
    }
    let (done, mut finished) = mailbox::channel(1);
    chain(runtime, 100, done);
    let mut received = Vec::new();
    finished.receive_all(&mut received).await.unwrap();
    assert_eq!(received, [0]);
}

async fn messages_come_from_other_threads(_: impl Runtime) {
    let (sender, mut receiver) = mailbox::channel(4);
    let thread = thread::spawn(move || {
        for number in 0..200_u32 {
            let mut message = number;
            while let Err(refused) = sender.try_send(message) {
                message = refused.into_inner();
                thread::yield_now();
            }
            if number % 20 == 0 {
                // Long enough for the receiver to fall asleep.
                thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let mut received = Vec::new();
    while receiver.receive_all(&mut received).await.is_ok() {}
    assert_eq!(received, (0..200).collect::<Vec<_>>());
    thread.join().unwrap();
}

/// Both ends of the mailboxes wait on different executors, with the narrowest mailbox there is.
async fn an_answer_crosses_threads_and_back(_: impl Runtime) {
    let (ask, mut asked) = mailbox::channel(1);
    let (answer, mut answered) = mailbox::channel(1);
    let other = crate::portable::run(super::config(crate::DurableWay::SyncedWrite), move |_| async move {
        let mut questions = Vec::new();
        while asked.receive_all(&mut questions).await.is_ok() {
            for question in questions.drain(..) {
                answer.send(question * 2).await.unwrap();
            }
        }
    });
    let mut answers = Vec::new();
    for question in 0..300 {
        ask.send(question).await.unwrap();
        answers.clear();
        answered.receive_all(&mut answers).await.unwrap();
        assert_eq!(answers, [question * 2]);
    }
    drop(ask);
    super::finish(other);
}

/// Yielding all the time starves neither timers nor messages.
async fn a_sleeper_sleeps_while_others_work(runtime: impl Runtime) {
    let stop = Rc::new(Cell::new(false));
    let (worker_stop, worker) = (Rc::clone(&stop), runtime.clone());
    runtime.spawn(async move {
        while !worker_stop.get() {
            worker.yield_now().await;
        }
    });
    let start = runtime.monotonic();
    for _ in 0..10 {
        runtime.sleep(Duration::from_millis(2)).await;
    }
    let took = runtime.monotonic() - start;
    stop.set(true);
    assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(5), "{took:?}");
}

fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// No periodic timer, no polling: a second of waiting for a message costs less than a hundredth of a second.
async fn nothing_to_do_costs_nothing(runtime: impl Runtime) {
    let (sender, mut receiver) = mailbox::channel::<()>(1);
    runtime.spawn(async move {
        assert_eq!(receiver.receive_all(&mut Vec::new()).await, Err(mailbox::Closed));
    });
    runtime.sleep(Duration::from_millis(10)).await;
    let before = thread_cpu();
    runtime.sleep(Duration::from_secs(1)).await;
    let spent = thread_cpu() - before;
    drop(sender);
    assert!(spent < Duration::from_millis(10), "an idle second cost {spent:?} of CPU");
}

async fn clocks_go_on(runtime: impl Runtime) {
    let (wall, monotonic) = (runtime.wall_clock_ms(), runtime.monotonic());
    let system = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!((system - wall).abs() < 10_000);
    runtime.sleep(Duration::from_millis(5)).await;
    assert!(runtime.monotonic() >= monotonic + Duration::from_millis(5));
}

async fn tasks_left_over_are_dropped(runtime: impl Runtime) {
    let inner = runtime.clone();
    runtime.spawn(async move {
        inner.sleep(Duration::from_secs(3600)).await;
        unreachable!("the thread ends long before");
    });
    runtime.yield_now().await;
}
