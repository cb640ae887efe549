//! Times and steps on the command line.

use std::str::FromStr;

use crate::{calendar, config::units::PromDuration};

/// A time, perhaps seen from now. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeText {
    At(i64),
    BeforeNow(i64),
}

impl TimeText {
    pub(super) fn at(self, now_ms: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::BeforeNow(ms) => now_ms.saturating_sub(ms),
        }
    }
}

impl FromStr for TimeText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::BeforeNow(0));
        }
        if let Some(seconds) = text.parse().ok().and_then(ms_of) {
            return Ok(Self::At(seconds));
        }
        if let Some(ms) = text.strip_prefix('-').and_then(duration) {
            return Ok(Self::BeforeNow(ms));
        }
        let nanos = calendar::parse_rfc3339(text).and_then(|nanos| i64::try_from(nanos.div_euclid(1_000_000)).ok());
        nanos.map(Self::At).ok_or_else(|| {
            format!(
                "{text:?} is no time: write RFC 3339, seconds since 1970, now, or a duration before now such as -1h"
            )
        })
    }
}

/// What lies between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepText(i64);

impl StepText {
    pub(super) fn ms(self) -> i64 {
        self.0
    }
}

impl FromStr for StepText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = text.parse().ok().and_then(ms_of).or_else(|| duration(text));
        let ms = ms.filter(|ms| *ms > 0).map(Self);
        ms.ok_or_else(|| format!("{text:?} is no step: write seconds or a duration such as 15s, above zero"))
    }
}

fn duration(text: &str) -> Option<i64> {
    text.parse::<PromDuration>().ok().and_then(|duration| i64::try_from(duration.ms()).ok())
}

fn ms_of(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    (ms.abs() < i64::MAX as f64).then_some(ms as i64)
}

/// As the API takes it.
pub(super) fn seconds(ms: i64) -> String {
    let mut out = Vec::new();
    crate::json::number::push_time(&mut out, ms);
    String::from_utf8(out).expect("digits are ASCII")
}

/// A time of an answer as promtool writes it: seconds without zeros at the end.
pub(super) fn seconds_text(answered: f64) -> String {
    answered.to_string()
}

/// A time of an answer as a date; milliseconds only where there are some.
pub(super) fn rfc3339(answered: f64) -> String {
    // Times of answers are milliseconds; what a float adds to them is noise.
    match (answered * 1000.0).round() as i64 {
        ms if ms % 1000 == 0 => calendar::rfc3339_s(ms),
        ms => calendar::rfc3339_ms(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_seen_from_now() {
        let at = |text: &str| text.parse::<TimeText>().map(|time| time.at(10_000_000)).ok();
        let texts = ["now", "-1h", "1.5", "-1", "1970-01-01T00:00:02Z", "-1h30m", "yesterday", "nan"];
        let times = texts.map(at);
        let expected =
            [Some(10_000_000), Some(6_400_000), Some(1500), Some(-1000), Some(2000), Some(4_600_000), None, None];
        assert_eq!(times, expected);
    }

    #[test]
    fn steps_are_above_zero() {
        let ms = |text: &str| text.parse().map(StepText::ms).ok();
        assert_eq!(
            ["15", "0.5", "1m", "0", "-1", "x"].map(ms),
            [Some(15_000), Some(500), Some(60_000), None, None, None]
        );
    }
}
