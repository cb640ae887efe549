use std::{
    pin::pin,
    sync::atomic::AtomicUsize,
    task::Wake,
    thread::{self, Thread},
    time::Duration,
};

use super::*;

/// Counts wake-ups.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor; fails instead of hanging when a wake-up is lost.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let parked = std::time::Instant::now();
        thread::park_timeout(Duration::from_secs(20));
        assert!(parked.elapsed() < Duration::from_secs(20), "a wake-up was lost");
    }
}

#[test]
fn what_is_sent_arrives_in_order_and_in_one_go() {
    let (sender, mut receiver) = channel(8);
    for message in 0..5 {
        sender.try_send(message).unwrap();
    }
    assert_eq!(sender.depth(), 5);
    let mut received = vec![-1];
    block_on(receiver.receive_all(&mut received)).unwrap();
    assert_eq!(received, [-1, 0, 1, 2, 3, 4]);
    assert_eq!(sender.depth(), 0);
}

#[test]
fn a_full_mailbox_refuses_and_gives_the_message_back() {
    let (sender, mut receiver) = channel(2);
    sender.try_send("a").unwrap();
    sender.try_send("b").unwrap();
    assert_eq!(sender.try_send("c"), Err(SendError::Full("c")));
    assert_eq!(receiver.try_receive_all(&mut Vec::new()), 2);
    sender.try_send("c").unwrap();
}

#[test]
fn the_last_sender_closes_after_its_messages_are_received() {
    let (sender, mut receiver) = channel(2);
    let other = sender.clone();
    sender.try_send(1).unwrap();
    drop(sender);
    let mut received = Vec::new();
    block_on(receiver.receive_all(&mut received)).unwrap();
    drop(other);
    assert_eq!(block_on(receiver.receive_all(&mut received)), Err(Closed));
    assert_eq!(received, [1]);
}

#[test]
fn a_gone_receiver_refuses_and_drops_what_was_waiting() {
    let (sender, receiver) = channel(4);
    let message = Arc::new(());
    sender.try_send(Arc::clone(&message)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&message), 1);
    assert!(matches!(sender.try_send(Arc::clone(&message)), Err(SendError::Closed(_))));
    assert!(matches!(block_on(sender.send(message)), Err(SendError::Closed(_))));
    assert!(sender.is_closed());
}

#[test]
fn only_a_sleeping_receiver_is_woken_and_only_once() {
    let (sender, mut receiver) = channel(8);
    let wakes = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut received = Vec::new();

    sender.try_send(1).unwrap();
    assert!(receiver.poll_receive(&mut received, &mut context).is_ready());
    sender.try_send(2).unwrap();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0, "a busy receiver was woken");
    assert!(receiver.poll_receive(&mut received, &mut context).is_ready());

    assert!(receiver.poll_receive(&mut received, &mut context).is_pending());
    for message in 3..6 {
        sender.try_send(message).unwrap();
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "one sleep, one wake-up");
    assert!(receiver.poll_receive(&mut received, &mut context).is_ready());
    assert_eq!(received, [1, 2, 3, 4, 5]);
}

#[test]
fn the_latest_waker_is_the_one_woken() {
    let (sender, mut receiver) = channel(8);
    let (first, second) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    for counter in [&first, &second] {
        let waker = Waker::from(Arc::clone(counter));
        assert!(receiver.poll_receive(&mut Vec::new(), &mut Context::from_waker(&waker)).is_pending());
    }
    sender.try_send(()).unwrap();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn waiting_senders_are_woken_oldest_first_and_forgotten_when_dropped() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut given_up = pin!(sender.send(1));
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        assert_eq!(lock(&sender.shared.waiters).len(), 1);
    }
    assert_eq!(lock(&sender.shared.waiters).len(), 0);
    assert_eq!(sender.shared.waiting.load(Ordering::SeqCst), 0);

    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(sender.send(2));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let mut received = Vec::new();
    receiver.try_receive_all(&mut received);
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    receiver.try_receive_all(&mut received);
    assert_eq!(received, [0, 2], "a dropped send sends nothing");
}

#[test]
fn a_waiting_sender_hears_of_a_gone_receiver() {
    let (sender, receiver) = channel(1);
    sender.try_send(0).unwrap();
    let waiting = thread::spawn(move || block_on(sender.send(1)));
    thread::sleep(Duration::from_millis(20));
    drop(receiver);
    assert_eq!(waiting.join().unwrap(), Err(SendError::Closed(1)));
}

#[test]
fn a_sleeping_receiver_hears_of_gone_senders() {
    let (sender, mut receiver) = channel::<()>(1);
    let waiting = thread::spawn(move || block_on(receiver.receive_all(&mut Vec::new())));
    thread::sleep(Duration::from_millis(20));
    drop(sender);
    assert_eq!(waiting.join().unwrap(), Err(Closed));
}

/// Every message of every thread arrives once and in its sender's order, at capacities that make everyone wait all the time.
#[test]
fn threads_lose_nothing_and_keep_each_senders_order() {
    const SENDERS: usize = 4;
    let messages_per_sender = if cfg!(miri) { 50 } else { 20_000 };
    for capacity in [1, 2, 3, 64] {
        let (sender, mut receiver) = channel(capacity);
        let threads: Vec<_> = (0..SENDERS)
            .map(|who| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for number in 0..messages_per_sender {
                        block_on(sender.send((who, number))).unwrap();
                        assert!(sender.depth() <= capacity);
                    }
                })
            })
            .collect();
        drop(sender);

        let mut next = [0; SENDERS];
        let mut received = Vec::new();
        while block_on(receiver.receive_all(&mut received)).is_ok() {
            assert!(received.len() <= capacity);
            for (who, number) in received.drain(..) {
                assert_eq!(next[who], number);
                next[who] += 1;
            }
        }
        assert_eq!(next, [messages_per_sender; SENDERS]);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

/// A lost wake-up shows when each message must be received before the next is sent.
#[test]
fn ping_pong_never_stalls() {
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    let (ping, mut pinged) = channel(1);
    let (pong, mut ponged) = channel(1);
    let echo = thread::spawn(move || {
        let mut received = Vec::new();
        while block_on(pinged.receive_all(&mut received)).is_ok() {
            for message in received.drain(..) {
                block_on(pong.send(message)).unwrap();
            }
        }
    });
    let mut received = Vec::new();
    for round in 0..rounds {
        ping.try_send(round).unwrap();
        block_on(ponged.receive_all(&mut received)).unwrap();
        assert_eq!(mem::take(&mut received), [round]);
    }
    drop(ping);
    echo.join().unwrap();
}
