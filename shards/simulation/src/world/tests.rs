use std::future::poll_fn;

use super::*;

/// Runs a world of three tasks on two threads that write down when they ran.
fn story(seed: u64) -> (Vec<(u32, Nanos)>, u64) {
    let world = World::new(seed);
    let process = world.new_process();
    let threads = [world.new_thread(process), world.new_thread(process)];
    let log: Rc<RefCell<Vec<(u32, Nanos)>>> = Rc::default();
    for name in 0..3u32 {
        let (world_of_task, log) = (world.clone(), Rc::clone(&log));
        world.spawn(threads[name as usize % 2], async move {
            for round in 0..5u32 {
                log.borrow_mut().push((name, world_of_task.now()));
                world_of_task.sleep(Duration::from_millis(u64::from(name + round))).await;
            }
        });
    }
    while world.step() == Step::Ran {}
    let log = log.borrow().clone();
    (log, world.trace())
}

#[test]
fn a_seed_tells_one_story_and_seeds_differ() {
    assert_eq!(story(1), story(1));
    assert_ne!(story(1).1, story(2).1);
    assert_eq!(story(3).0.len(), 15);
    let orders: std::collections::BTreeSet<Vec<u32>> =
        (0..20).map(|seed| story(seed).0.iter().map(|&(name, _)| name).collect()).collect();
    assert!(orders.len() > 5, "the order of ready tasks must depend on the seed");
}

#[test]
fn time_never_goes_back_and_sleeps_last_long_enough() {
    let (log, _) = story(4);
    assert!(log.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    let second_task: Vec<Nanos> = log.iter().filter(|(name, _)| *name == 2).map(|&(_, at)| at).collect();
    let slept: Vec<Nanos> = second_task.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(slept.iter().zip(2..).all(|(&slept, least)| slept >= least * MILLISECOND), "{slept:?}");
}

#[test]
fn a_killed_process_never_runs_again_even_when_woken() {
    let world = World::new(5);
    let process = world.new_process();
    let thread = world.new_thread(process);
    let polls: Rc<Cell<u32>> = Rc::default();
    let seen: Rc<RefCell<Option<Waker>>> = Rc::default();
    let (count, keep) = (Rc::clone(&polls), Rc::clone(&seen));
    world.spawn(
        thread,
        poll_fn(move |context| {
            count.set(count.get() + 1);
            *keep.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        }),
    );
    assert_eq!(world.step(), Step::Ran);
    world.kill(process);
    seen.borrow().as_ref().expect("it was polled once").wake_by_ref();
    let count = Rc::clone(&polls);
    world.spawn(thread, async move { count.set(100) });
    assert_eq!(world.step(), Step::Idle);
    assert_eq!(polls.get(), 1);
}

#[test]
fn the_wall_clock_jumps_and_the_monotonic_one_does_not() {
    let world = World::new(6);
    world.jump_wall_clock(-3_600_000);
    assert_eq!(world.wall_clock_ms(), WALL_START_MS - 3_600_000);
    assert_eq!(world.now(), 0);
}

#[test]
fn a_stalled_thread_holds_up_its_own_tasks_only() {
    let world = World::new(7);
    world.set_stalls(Stalls { per_million: 1_000_000, longest: SECOND });
    let process = world.new_process();
    let log: Rc<RefCell<Vec<Nanos>>> = Rc::default();
    for _ in 0..2 {
        let thread = world.new_thread(process);
        for _ in 0..2 {
            let (world_of_task, log) = (world.clone(), Rc::clone(&log));
            world.spawn(thread, async move { log.borrow_mut().push(world_of_task.now()) });
        }
    }
    while world.step() == Step::Ran {}
    let mut log = log.borrow().clone();
    log.sort_unstable();
    assert_eq!(&log[..2], &[0, 0], "both threads start at once");
    assert!(log[2] >= MILLISECOND, "each second task waits for its thread");
}
