//! One seed: a system lives through several starts and ends while clients write and read, and the oracle watches.
//!
//! Each life ends by the seed: power cut or kill -9 after any number of steps, recovery included; a clean stop; or both. Before
//! the last life the disk heals and the weather clears: then the system must start, show everything, and accept writes.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use runtime::{Disk, Runtime};

use crate::{
    disk::{DiskCounts, Faults, Lies, RottenSector, SimDisk},
    oracle::{Oracle, OracleCounts},
    process::Process,
    random::Random,
    system::{Answer, Client, ReadAnswer, Request, Selection, Started, System},
    workload::{self, Errand, Workload},
    world::{MILLISECOND, Nanos, SECOND, Stalls, Step, World},
};

/// What a caller may add to what the seed says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub lies: Lies,
    /// No weather but this: the disk's change of this number fails.
    pub fail_change: Option<u64>,
    /// Nobody deletes anything or makes snapshots.
    pub no_errands: bool,
    /// Tells the story on standard error.
    pub aloud: bool,
}

/// What became of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash of everything that happened; equal for equal seeds.
    pub trace: u64,
    pub steps: u64,
    pub lives: u64,
    pub oracle: OracleCounts,
    pub disk: DiskCounts,
    /// The first broken promise.
    pub failure: Option<String>,
}

/// Polls after which a world is said to run in circles.
const STEPS_MAX: u64 = 5_000_000;
/// Tries to start on a disk that is not healthy, after which it heals.
const STARTS_BEFORE_HEALING: u32 = 3;

/// Runs one seed to its end or to the first broken promise.
pub fn run<S: System>(system: &S, seed: u64, options: Options) -> Report {
    let world = World::new(seed);
    if options.aloud {
        world.tell_aloud();
    }
    let story = Story::new(system, &world, options);
    let result = catch_unwind(AssertUnwindSafe(|| story.tell()));
    let failure = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    };
    let report = Report {
        trace: world.trace(),
        steps: world.steps(),
        lives: story.lives.get(),
        oracle: story.oracle.borrow().counts(),
        disk: story.disk.counts(),
        failure,
    };
    world.end();
    report
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// Everything that outlives the single lives of the system.
struct Story<S: System> {
    system: S,
    world: World,
    disk: SimDisk,
    oracle: Rc<RefCell<Oracle>>,
    plan: Plan,
    random: RefCell<Random>,
    clients: Vec<Rc<RefCell<Workload>>>,
    /// What rotted since a life got as far as to look at everything.
    rotten: Rc<RefCell<Vec<RottenSector>>>,
    lives: Cell<u64>,
}

/// What the seed has in store.
struct Plan {
    lives: u64,
    requests_per_life: u64,
    weather: bool,
    clock_jumps: bool,
    rot: bool,
    options: Options,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    PowerCut,
    Kill,
    /// The system was asked to stop; the clients had gone.
    Stop,
}

impl<S: System> Story<S> {
    fn new(system: &S, world: &World, options: Options) -> Self {
        let mut random = world.fork_random();
        let disk = SimDisk::new(world);
        let quiet = options.fail_change.is_some();
        let plan = Plan {
            lives: 2 + random.below(4),
            requests_per_life: 5 + random.skewed(6),
            weather: !quiet && random.percent(70),
            clock_jumps: !quiet && random.percent(20),
            rot: !quiet && random.percent(10),
            options,
        };
        let pool = workload::pool(2 + random.skewed(8) as u32 + random.below(100) as u32);
        let oracle = Oracle::new(system.promises(), &pool, |labels| system.shard_of(labels));
        let clients = 1 + random.index(4);
        let new = |number| Workload::new(number, clients, &pool, world.wall_clock_ms(), random.fork());
        let clients = (0..clients).map(new).map(RefCell::new).map(Rc::new).collect();
        Self {
            system: system.clone(),
            world: world.clone(),
            disk,
            oracle: Rc::new(RefCell::new(oracle)),
            plan,
            random: RefCell::new(random),
            clients,
            rotten: Rc::default(),
            lives: Cell::new(0),
        }
    }

    fn tell(&self) -> Result<(), String> {
        self.make_data_directory();
        self.disk.set_lies(self.plan.options.lies);
        for life in 0..self.plan.lives {
            let last = life + 1 == self.plan.lives;
            self.lives.set(life + 1);
            self.set_weather(last);
            let end = self.live(last)?;
            self.world.note(end as u64);
            self.world.say(|| format!("life {life} ends with {end:?}"));
            if end == End::PowerCut || self.chance(30) {
                self.disk.power_cut();
            }
            if self.plan.rot && self.chance(50) {
                let rotten = self.disk.rot();
                self.world.say(|| format!("a bit rots: {rotten:?}"));
                self.rotten.borrow_mut().extend(rotten);
            }
        }
        self.check_bounds()
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.borrow_mut().percent(percent)
    }

    /// The folder that an operator has made, long before the first start.
    fn make_data_directory(&self) {
        let disk = self.disk.clone();
        let thread = self.world.new_thread(self.world.new_process());
        let made = self.world.block_on(thread, async move {
            disk.create_directory(Path::new("/data")).await?;
            disk.sync_directory(Path::new("/")).await
        });
        assert!(matches!(made, Some(Ok(()))), "the first two operations of a new disk");
    }

    fn set_weather(&self, clear: bool) {
        self.disk.set_space_left(None);
        self.world.set_stalls(Stalls::default());
        self.disk.set_faults(Faults { fail_change: self.plan.options.fail_change, ..Faults::default() });
        if clear {
            self.disk.set_faults(Faults::default());
        } else if self.plan.weather {
            let mut random = self.random.borrow_mut();
            let mut rate = || *random.pick(&[0, 0, 0, 1_000, 10_000, 100_000]);
            self.disk.set_faults(Faults {
                write_errors: rate(),
                sync_errors: rate(),
                read_errors: rate(),
                metadata_errors: rate(),
                slow: rate() / 10,
                fail_change: None,
            });
            self.world.set_stalls(Stalls { per_million: rate() / 100, longest: 5 * SECOND });
        }
    }

    /// One life of the system, from its start to its end.
    fn live(&self, last: bool) -> Result<End, String> {
        let budget = if last || self.chance(15) { u64::MAX } else { self.random.borrow_mut().skewed(13) };
        let cut = if self.chance(60) { End::PowerCut } else { End::Kill };
        let life = Life {
            system: self.system.clone(),
            world: self.world.clone(),
            disk: self.disk.clone(),
            oracle: Rc::clone(&self.oracle),
            clients: self.clients.clone(),
            requests: self.plan.requests_per_life,
            clock_jumps: self.plan.clock_jumps && !last,
            full_disks: self.plan.weather && !last && self.chance(30),
            storms: self.plan.weather && !last && self.chance(30),
            random: Rc::new(RefCell::new(self.random.borrow_mut().fork())),
            errands: !self.plan.options.no_errands,
            sound: !self.plan.rot,
            outside: Process::new(&self.world, &self.disk),
            current: Rc::default(),
            failure: Rc::default(),
            rotten: Rc::clone(&self.rotten),
            last,
        };
        let ended: Rc<Cell<bool>> = Rc::default();
        let (driver, done) = (life.clone(), Rc::clone(&ended));
        life.outside.new_thread().spawn(async move {
            if let Err(text) = driver.drive().await {
                driver.fail(text);
            }
            done.set(true);
        });
        let first_step = self.world.steps();
        while !ended.get() && life.failure.borrow().is_none() && self.world.steps() - first_step < budget {
            if self.world.step() == Step::Idle {
                return Err("deadlock: everybody waits and nothing will happen".to_owned());
            }
            if self.world.steps() - first_step > STEPS_MAX {
                return Err(format!("livelock: no end after {STEPS_MAX} steps"));
            }
        }
        life.outside.kill();
        life.end_process();
        let failure = life.failure.borrow_mut().take();
        match failure {
            Some(text) => Err(text),
            None => Ok(if ended.get() { End::Stop } else { cut }),
        }
    }

    fn check_bounds(&self) -> Result<(), String> {
        let (bounds, disk) = (self.system.promises().bounds, self.disk.counts());
        let checks = [
            ("tasks", self.world.tasks_most() as u64, bounds.tasks as u64),
            ("disk operations in flight", disk.in_flight_most as u64, bounds.disk_operations_in_flight as u64),
            ("files", disk.files_most as u64, bounds.files as u64),
            ("bytes on disk", disk.bytes_most, bounds.disk_bytes),
        ];
        match checks.into_iter().find(|(_, most, bound)| most > bound) {
            Some((what, most, bound)) => Err(format!("{most} {what}, where {bound} is the bound")),
            None => Ok(()),
        }
    }
}

/// One life, as its driver and clients see it.
struct Life<S: System> {
    system: S,
    world: World,
    disk: SimDisk,
    oracle: Rc<RefCell<Oracle>>,
    clients: Vec<Rc<RefCell<Workload>>>,
    requests: u64,
    clock_jumps: bool,
    full_disks: bool,
    /// Now and then nothing can be written for a while.
    storms: bool,
    errands: bool,
    /// Nothing rots.
    sound: bool,
    random: Rc<RefCell<Random>>,
    /// Where driver, clients and weather run; it dies with the life, and with it all answers on their way.
    outside: Process,
    /// The system's process, while there is one.
    current: Rc<RefCell<Option<Process>>>,
    failure: Rc<RefCell<Option<String>>>,
    rotten: Rc<RefCell<Vec<RottenSector>>>,
    last: bool,
}

impl<S: System> Clone for Life<S> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            world: self.world.clone(),
            disk: self.disk.clone(),
            oracle: Rc::clone(&self.oracle),
            clients: self.clients.clone(),
            requests: self.requests,
            clock_jumps: self.clock_jumps,
            full_disks: self.full_disks,
            storms: self.storms,
            errands: self.errands,
            sound: self.sound,
            random: Rc::clone(&self.random),
            outside: self.outside.clone(),
            current: Rc::clone(&self.current),
            failure: Rc::clone(&self.failure),
            rotten: Rc::clone(&self.rotten),
            last: self.last,
        }
    }
}

impl<S: System> Life<S> {
    async fn drive(&self) -> Result<(), String> {
        let Some(Started { client, repairs }) = self.start().await? else { return Ok(()) };
        self.settle(&client, &repairs).await?;
        let weather = self.clone();
        self.outside.new_thread().spawn(async move { weather.blow().await });
        self.run_clients(&client).await;
        if self.last {
            self.prove_alive(&client).await?;
        }
        client.stop().await;
        Ok(())
    }

    fn fail(&self, text: String) {
        self.failure.borrow_mut().get_or_insert(text);
    }

    fn end_process(&self) {
        if let Some(process) = self.current.borrow_mut().take() {
            process.kill();
            self.disk.process_killed();
        }
    }

    /// Starts the system, again and again while the disk is bad; `None` if rot keeps it from starting and it says so.
    async fn start(&self) -> Result<Option<Started<S::Client>>, String> {
        let mut tries = 0;
        loop {
            let process = Process::new(&self.world, &self.disk);
            *self.current.borrow_mut() = Some(process.clone());
            tries += 1;
            self.world.say(|| format!("start, try {tries}"));
            match self.system.start(&process).await {
                Ok(started) => return Ok(Some(started)),
                Err(error) if tries > STARTS_BEFORE_HEALING => {
                    let named =
                        self.rotten.borrow().iter().any(|rotten| error.contains(&*rotten.path.to_string_lossy()));
                    return if named { Ok(None) } else { Err(format!("does not start on a healthy disk: {error}")) };
                }
                Err(_) => self.end_process(),
            }
            if tries == STARTS_BEFORE_HEALING {
                self.disk.set_faults(Faults::default());
            }
        }
    }

    /// Reads everything before anybody writes, and holds it against what was acknowledged in earlier lives.
    async fn settle(&self, client: &S::Client, repairs: &[String]) -> Result<(), String> {
        let answer = self.read_persistently(client).await?;
        let damage = repairs.iter().chain(&answer.damage).count();
        self.world.say(|| format!("started with repairs {repairs:?} and damage {:?}", answer.damage));
        let rotten = self.rotten.take();
        let lost = self.oracle.borrow_mut().settle(&answer, !rotten.is_empty())?;
        if lost > 0 && damage == 0 {
            return Err(format!("{lost} samples lost to rot in {rotten:?}, and not a word"));
        }
        Ok(())
    }

    /// Reads everything; the disk heals if it does not work in a few tries.
    async fn read_persistently(&self, client: &S::Client) -> Result<ReadAnswer, String> {
        for _ in 0..3 {
            if let Ok(answer) = client.read(&Selection::EVERYTHING).await {
                return Ok(answer);
            }
            self.world.sleep(Duration::from_millis(100)).await;
        }
        self.disk.set_faults(Faults::default());
        client.read(&Selection::EVERYTHING).await.map_err(|error| format!("reads fail: {error}"))
    }

    async fn run_clients(&self, client: &S::Client) {
        let running: Rc<Cell<usize>> = Rc::new(Cell::new(self.clients.len()));
        for workload in &self.clients {
            let (life, client, workload) = (self.clone(), client.clone(), Rc::clone(workload));
            let running = Rc::clone(&running);
            self.outside.new_thread().spawn(async move {
                if let Err(text) = life.run_client(&client, &workload).await {
                    life.fail(text);
                }
                running.set(running.get() - 1);
            });
        }
        while running.get() > 0 {
            self.world.sleep(Duration::from_millis(5)).await;
        }
    }

    async fn run_client(&self, client: &S::Client, workload: &RefCell<Workload>) -> Result<(), String> {
        for _ in 0..self.requests {
            let pause = workload.borrow_mut().pause();
            self.world.sleep(Duration::from_nanos(pause)).await;
            if self.errands {
                let errand = workload.borrow_mut().errand();
                if let Some(errand) = errand {
                    // What a system in trouble can't do may be done later.
                    drop(self.run_errand(client, &errand).await?);
                    continue;
                }
            }
            let wants_read = workload.borrow_mut().wants_read();
            if wants_read {
                let selection = workload.borrow_mut().selection();
                self.read_once(client, &selection).await?;
                continue;
            }
            if self.write_persistently(client, workload).await? == Some(Answer::Gone) {
                break;
            }
        }
        Ok(())
    }

    /// Sends the next request until it is acknowledged, or some times.
    async fn write_persistently(
        &self,
        client: &S::Client,
        workload: &RefCell<Workload>,
    ) -> Result<Option<Answer>, String> {
        let request = workload.borrow_mut().next_request();
        let attempts = workload.borrow_mut().attempts();
        for _ in 0..attempts {
            let answer = self.write_once(client, &request).await?;
            match answer {
                Some(Answer::Written { .. }) => workload.borrow_mut().acknowledged(&request),
                Some(Answer::Refused(_)) | None => {
                    self.world.sleep(Duration::from_millis(10)).await;
                    continue;
                }
                Some(Answer::Gone) => {}
            }
            return Ok(answer);
        }
        workload.borrow_mut().lose_patience();
        Ok(None)
    }

    /// Sends a request; `None` when the client lost patience, which leaves the request on its way.
    async fn write_once(&self, client: &S::Client, request: &Rc<Request>) -> Result<Option<Answer>, String> {
        let send = self.oracle.borrow_mut().sending(request);
        self.world.say(|| format!("send {send}: {}", summary(request)));
        let patience = self.patience();
        let answer = within(&self.world, patience, client.write(Rc::clone(request))).await;
        self.world.say(|| format!("send {send} is answered: {answer:?}"));
        if let Some(Answer::Written { accepted, rejected }) = answer {
            self.oracle.borrow_mut().acknowledged(send, accepted, rejected)?;
        }
        Ok(answer)
    }

    /// Mostly long, at times shorter than a commit takes.
    fn patience(&self) -> Nanos {
        let mut random = self.random.borrow_mut();
        if random.percent(10) && !self.last { random.skewed(21) } else { 30 * SECOND }
    }

    async fn read_once(&self, client: &S::Client, selection: &Selection) -> Result<(), String> {
        let began = self.oracle.borrow().reading();
        self.world.say(|| format!("read at moment {began}: {selection:?}"));
        let answer = client.read(selection).await;
        self.world.say(|| format!("read of moment {began} is answered: {}", answer_summary(&answer)));
        match answer {
            Ok(answer) if answer.damage.is_empty() => self.oracle.borrow_mut().check_read(began, selection, &answer),
            // A read that fails or says that it is incomplete proves nothing.
            _ => Ok(()),
        }
    }

    /// Returns whether it was done.
    async fn run_errand(&self, client: &S::Client, errand: &Errand) -> Result<Result<(), String>, String> {
        self.world.say(|| format!("errand: {errand:?}"));
        let done = match errand {
            Errand::Delete(selection) => self.delete_once(client, selection).await?,
            Errand::Clean => client.clean().await,
            Errand::Snapshot => self.take_snapshot(client).await?,
        };
        self.world.say(|| format!("errand {errand:?} is done: {done:?}"));
        Ok(done)
    }

    async fn delete_once(&self, client: &S::Client, selection: &Selection) -> Result<Result<(), String>, String> {
        let deletion = self.oracle.borrow_mut().deleting(selection);
        let patience = self.patience();
        match within(&self.world, patience, client.delete(selection)).await {
            Some(Ok(())) => {
                self.oracle.borrow_mut().deleted(deletion)?;
                Ok(Ok(()))
            }
            Some(Err(error)) => Ok(Err(error)),
            None => Ok(Err("no patience".to_owned())),
        }
    }

    /// A snapshot shows what a read might have that took as long. What it shows is not promised to be there for ever.
    async fn take_snapshot(&self, client: &S::Client) -> Result<Result<(), String>, String> {
        /// A request's part may be in it in part, where it reaches over a window's border.
        const ALL: Selection = Selection { label: None, from: i64::MIN + 1, to: i64::MAX };
        let began = self.oracle.borrow().reading();
        match client.snapshot().await {
            Ok(answer) if answer.damage.is_empty() => {
                let answer = ReadAnswer { provisional: true, ..answer };
                self.oracle
                    .borrow_mut()
                    .check_read(began, &ALL, &answer)
                    .map_err(|error| format!("snapshot: {error}"))?;
                Ok(Ok(()))
            }
            Ok(answer) => Ok(Err(format!("damage {:?}", answer.damage))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// In the last life, on a healthy disk: what is asked for is done.
    async fn prove_errands(&self, client: &S::Client) -> Result<(), String> {
        let to_delete = self.clients[0].borrow_mut().to_delete();
        for errand in [Errand::Delete(to_delete), Errand::Clean, Errand::Snapshot] {
            if let Err(error) = self.run_errand(client, &errand).await?
                && self.sound
            {
                return Err(format!("a healthy system answers {error:?} to {errand:?}"));
            }
        }
        Ok(())
    }

    /// In the last life, on a healthy disk: every client's pending request and a fresh one must be accepted in time.
    async fn prove_alive(&self, client: &S::Client) -> Result<(), String> {
        let bound = self.system.promises().bounds.answer_ms * MILLISECOND;
        for workload in &self.clients {
            let pending = workload.borrow_mut().next_request();
            let fresh = workload.borrow_mut().fresh_request();
            for request in [pending, fresh] {
                let send = self.oracle.borrow_mut().sending(&request);
                match within(&self.world, bound, client.write(Rc::clone(&request))).await {
                    Some(Answer::Written { accepted, rejected }) => {
                        self.oracle.borrow_mut().acknowledged(send, accepted, rejected)?;
                    }
                    Some(other) => return Err(format!("a healthy system answers {other:?}")),
                    None => return Err(format!("no answer from a healthy system in {} ms", bound / MILLISECOND)),
                }
            }
        }
        if self.errands {
            self.prove_errands(client).await?;
        }
        let began = self.oracle.borrow().reading();
        let answer = self.read_persistently(client).await?;
        self.oracle.borrow_mut().check_read(began, &Selection::EVERYTHING, &answer)
    }

    /// Full disks, storms and jumping clocks, while the clients are at it.
    async fn blow(&self) {
        let fair = self.disk.faults();
        loop {
            self.pause(27).await;
            if self.full_disks {
                let room = self.random.borrow_mut().skewed(18);
                self.disk.set_space_left(Some(room));
            }
            if self.storms && self.random.borrow_mut().percent(50) {
                self.disk.set_faults(Faults { write_errors: 700_000, sync_errors: 700_000, ..fair });
            }
            self.pause(25).await;
            self.disk.set_space_left(None);
            self.disk.set_faults(fair);
            if self.clock_jumps {
                self.jump_clock();
            }
        }
    }

    async fn pause(&self, bits: u64) {
        let nanos = self.random.borrow_mut().skewed(bits);
        self.world.sleep(Duration::from_nanos(nanos)).await;
    }

    fn jump_clock(&self) {
        let by_ms = self.random.borrow_mut().skewed(32) as i64;
        let forward = self.random.borrow_mut().percent(50);
        self.oracle.borrow_mut().note_clock_jump();
        self.world.jump_wall_clock(if forward { by_ms } else { -by_ms });
    }
}

fn answer_summary(answer: &Result<ReadAnswer, String>) -> String {
    match answer {
        Ok(answer) => {
            let samples: usize = answer.series.iter().map(|(_, samples)| samples.len()).sum();
            let provisional = if answer.provisional { ", provisional" } else { "" };
            format!("{} series, {samples} samples, damage {:?}{provisional}", answer.series.len(), answer.damage)
        }
        Err(error) => error.clone(),
    }
}

fn summary(request: &Request) -> String {
    let series = request.series.iter().map(|series| {
        let times: Vec<String> =
            series.samples.iter().map(|sample| format!("{} {:016x}", sample.time.0, sample.value.to_bits())).collect();
        format!("{} [{}]", series.labels.get("instance").unwrap_or_default(), times.join(", "))
    });
    series.collect::<Vec<_>>().join("; ")
}

/// Waits for a future at most so long; `None` if it was not done by then, and the future is dropped.
async fn within<T>(world: &World, patience: Nanos, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = pin!(world.sleep(Duration::from_nanos(patience)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}
