//! Values by series and pass, without state: whoever knows the arguments of a load can compute them again.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// Whole numbers that grow by different amounts
    Counter,
    /// Two decimals, up and down around a level
    Gauge,
    /// The same number all the time
    Constant,
    /// All 53 bits of the fraction at random
    Random,
    /// Of twenty series ten counters, six gauges, three constants and a random one
    Mixed,
}

impl Shape {
    /// The value of a series' sample in a pass.
    pub(super) fn value(self, series: u32, pass: u32) -> f64 {
        match self {
            Self::Counter => counter(series, pass),
            Self::Gauge => gauge(series, pass),
            Self::Constant => f64::from(series % 1000),
            Self::Random => fraction(mix(series, pass)),
            Self::Mixed => self.of_mixture(series).value(series, pass),
        }
    }

    fn of_mixture(self, series: u32) -> Self {
        match mix(series, u32::MAX) % 20 {
            0..10 => Self::Counter,
            10..16 => Self::Gauge,
            16..19 => Self::Constant,
            _ => Self::Random,
        }
    }
}

/// Grows by about `rate` each pass; the noise is below it, so that the number never falls.
fn counter(series: u32, pass: u32) -> f64 {
    let rate = 1 + mix(series, u32::MAX - 1) % 5000;
    let noise = mix(series, pass) % rate;
    ((u64::from(pass) + 1) * rate + noise) as f64
}

fn gauge(series: u32, pass: u32) -> f64 {
    let level = mix(series, u32::MAX - 2) % 10_000;
    let noise = mix(series, pass) % 500;
    (level + noise) as f64 / 100.0
}

fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A well-mixed number from two (the finaliser of splitmix64).
fn mix(series: u32, pass: u32) -> u64 {
    let mut number = (u64::from(series) << 32 | u64::from(pass)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
