//! Random expressions over random data, asked of Millrace and of a real Prometheus that got the same samples. What differs is made as small as it
//! can be and printed; what differs for a known reason is in [`explained`].
//!
//! `MILLRACE_EXPRESSIONS` and `MILLRACE_SEED` choose how many and which. A long run:
//! `MILLRACE_SEED=7 MILLRACE_EXPRESSIONS=10000 cargo test --test main --locked random_expressions -- --nocapture`.

mod data;
mod explained;
mod expression;
mod generate;
mod random;

use std::{collections::BTreeMap, env, fs, net::SocketAddr};

use crate::harness::{
    answers::{first_difference, is_close, parts},
    http,
    native::send,
    now_ms,
    peer::{self, Peer},
    server::{Server, folder},
};
use explained::Parts;
use expression::Expression;
use generate::Generator;
use random::Random;

const EXPERIMENTAL: &str = "--enable-feature=promql-experimental-functions";
/// Of a difference's smaller forms, so many are asked at most.
const ATTEMPTS: usize = 300;

/// When an expression is evaluated: once, or in steps.
#[derive(Clone, Debug)]
struct Times {
    start: i64,
    /// Milliseconds, and how many.
    steps: Option<(i64, i64)>,
}

impl Times {
    fn random(random: &mut Random, start: i64) -> Self {
        let length = data::SCRAPES * data::INTERVAL;
        let time = start + random.between(-60, length / 1000 + 400) * 1000 + random.of(&[0, 0, 1, 250, 999]);
        let step = random.of(&[1_000, 15_000, 30_000, 60_000, 61_500, 300_000, 1_200_000]);
        let steps =
            random.percent(60).then(|| (step, random.between(0, 40).min((start + length - time).max(0) / step)));
        Self { start: time, steps }
    }

    fn ask(&self, query: &str) -> String {
        let seconds = |time: i64| format!("{}.{:03}", time / 1000, time % 1000);
        let start = seconds(self.start);
        match self.steps {
            None => format!("/api/v1/query?{}", http::encode(&[("query", query), ("time", &start)])),
            Some((step, count)) => {
                let (end, step) = (seconds(self.start + step * count), seconds(step));
                let pairs = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
                format!("/api/v1/query_range?{}", http::encode(&pairs))
            }
        }
    }
}

/// How often a question is put again.
const REPEATS: usize = 50;

struct Pair {
    /// Time of the first data.
    start: i64,
    ours: Server,
    theirs: Peer,
}

impl Pair {
    fn start(folder: &std::path::Path, features: &[&str]) -> Self {
        let (mine, beside) = (folder.join("millrace"), folder.join("prometheus"));
        for path in [&mine, &beside] {
            fs::create_dir_all(path).expect("a folder");
        }
        fs::write(mine.join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
        let ours = Server::start(&mine, &[&["--tuning.file=tuning.toml"], features].concat());
        let native = ["--enable-feature=native-histograms", "--enable-feature=promql-duration-expr"];
        let theirs =
            peer::prometheus_with(&beside, "global: {evaluation_interval: 1m}\n", &[&native, features].concat());
        let start = now_ms().div_euclid(60_000) * 60_000 - data::SCRAPES * data::INTERVAL - 600_000;
        Self { start, ours, theirs }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.ours.address, self.theirs.address]
    }

    fn answers(&self, query: &str, times: &Times) -> [Parts; 2] {
        let path = times.ask(query);
        self.addresses().map(|address| explained::simplify(parts(&http::get(address, &path))))
    }

    fn differs(&self, query: &str, times: &Times) -> bool {
        let [ours, theirs] = self.answers(query, times);
        (!is_close(&ours.0, &theirs.0) || ours.1 != theirs.1) && !explained::is_of_order(query, &ours, &theirs)
    }

    fn smallest(&self, expression: &Expression, times: &Times) -> Expression {
        let (mut smallest, mut attempts) = (expression.clone(), 0);
        'again: loop {
            for smaller in smallest.smaller() {
                attempts += 1;
                if attempts > ATTEMPTS {
                    return smallest;
                }
                if smaller.text().len() < smallest.text().len() && self.differs(&smaller.text(), times) {
                    smallest = smaller;
                    continue 'again;
                }
            }
            return smallest;
        }
    }

    /// Whether the other one contradicts itself over data that nobody writes to any more.
    fn is_undecided(&self, query: &str, times: &Times) -> bool {
        let ask = || parts(&http::get(self.theirs.address, &times.ask(query))).0;
        let first = ask();
        (0..REPEATS).any(|_| !is_close(&ask(), &first))
    }

    /// What differs, in its smallest form, or the reason if it is known.
    fn report(&self, expression: &Expression, times: &Times) -> Option<Result<&'static str, String>> {
        if !self.differs(&expression.text(), times) {
            return None;
        }
        let query = self.smallest(expression, times).text();
        let [ours, theirs] = self.answers(&query, times);
        if let Some(reason) = explained::reason(&query, &ours, &theirs) {
            return Some(Ok(reason));
        }
        if self.is_undecided(&query, times) {
            return Some(Ok("3.5 gives another answer when it is asked again"));
        }
        let data = first_difference(&ours.0, &theirs.0).unwrap_or_default();
        let remarks = format!("ours {:?}\n  theirs {:?}", ours.1, theirs.1);
        Some(Err(format!(
            "{query}\n  at {:?} + {times:?}, of {}\n  data{data}\n  {remarks}",
            times.start - self.start,
            expression.text()
        )))
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn compare(features: &[&str], seed: u64, count: u64) {
    let folder = folder();
    let pair = Pair::start(folder.path(), features);
    let start = pair.start;
    for request in data::requests(seed, start) {
        pair.addresses().iter().for_each(|address| send(*address, &request));
    }
    let mut generator = Generator { random: Random::new(seed) };
    let (mut differences, mut known, mut answered) = (Vec::new(), BTreeMap::new(), 0);
    for _ in 0..count {
        let expression = generator.expression();
        let times = Times::random(&mut generator.random, start);
        let query = expression.text();
        match pair.report(&expression, &times) {
            Some(Ok(reason)) => *known.entry(reason).or_insert(0) += 1,
            Some(Err(difference)) => differences.push(difference),
            None => {}
        }
        let answer = http::get(pair.theirs.address, &times.ask(&query)).json();
        answered += u64::from(answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()));
    }
    println!(
        "{count} expressions with {features:?}, seed {seed}: {answered} with a result, {} differ",
        differences.len()
    );
    known.iter().for_each(|(reason, count)| println!("  {count} differ for a known reason: {reason}"));
    assert!(answered * 3 > count, "only {answered} of {count} expressions have a result");
    let shown = differences.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences:\n{shown}", differences.len());
}

/// Goal: whatever is asked, the answer is Prometheus'.
#[test]
fn random_expressions_give_what_prometheus_gives() {
    let (seed, count) = (number("MILLRACE_SEED", 1), number("MILLRACE_EXPRESSIONS", 600));
    compare(&[EXPERIMENTAL], seed, count);
}
