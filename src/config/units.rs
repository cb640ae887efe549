//! Durations and sizes as Prometheus writes them: `1h30m`, `512MB`.

use std::{fmt, str::FromStr, time::Duration};

/// Units of a duration in descending order, in milliseconds; a year is 365 days.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Powers of 1024, with and without the `i`.
const SIZE_UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// A duration of whole milliseconds in Prometheus' notation: each unit at most once, in descending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PromDuration {
    ms: u64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("empty duration string")]
    Empty,
    #[error("not a valid duration string: {0:?} (like 30s, 5m, 1h30m; units y w d h m s ms, each once, largest first)")]
    Invalid(String),
    #[error("duration out of range")]
    OutOfRange,
}

impl PromDuration {
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    pub(crate) fn ms(self) -> u64 {
        self.ms
    }

    pub(crate) fn get(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        match text {
            "" => return Err(DurationError::Empty),
            "0" => return Ok(Self::from_ms(0)),
            _ => {}
        }
        let invalid = || DurationError::Invalid(text.to_owned());
        let (mut rest, mut ms) = (text, 0_u64);
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            let name = &after[..after.bytes().take_while(u8::is_ascii_alphabetic).count()];
            // `units` only moves forward: a unit that comes twice or in the wrong place is not found any more.
            let (_, unit) = units.find(|(unit, _)| *unit == name).filter(|_| !digits.is_empty()).ok_or_else(invalid)?;
            let part = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*unit));
            ms = part.and_then(|part| ms.checked_add(part)).ok_or(DurationError::OutOfRange)?;
            rest = &after[name.len()..];
        }
        // Prometheus counts nanoseconds in 64 bits.
        if ms > i64::MAX.unsigned_abs() / 1_000_000 {
            return Err(DurationError::OutOfRange);
        }
        Ok(Self { ms })
    }
}

/// Years and weeks only where they are the whole of it, as Prometheus prints them.
impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (name, unit) in DURATION_UNITS {
            let only_exact = matches!(name, "y" | "w");
            if rest < unit || (only_exact && !rest.is_multiple_of(unit)) {
                continue;
            }
            write!(f, "{}{name}", rest / unit)?;
            rest %= unit;
        }
        Ok(())
    }
}

/// A number of bytes: `1048576`, `512MB`, `1GiB`. Units are powers of 1024, as in Prometheus' flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: u64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {0:?} (like 1048576, 512MB, 2GiB; a unit is a power of 1024)")]
pub(crate) struct SizeError(String);

impl Size {
    pub(crate) fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let parse = || {
            let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
            let unit = unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit);
            let power = SIZE_UNITS.iter().position(|name| name.eq_ignore_ascii_case(unit))?;
            digits.parse::<u64>().ok()?.checked_mul(1 << (10 * power))
        };
        parse().map(|bytes| Self { bytes }).ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power =
            (1..SIZE_UNITS.len()).rev().find(|power| self.bytes.is_multiple_of(1 << (10 * power)) && self.bytes > 0);
        let power = power.unwrap_or(0);
        write!(f, "{}{}B", self.bytes >> (10 * power), SIZE_UNITS[power])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        let check = |text: &str, ms: u64| assert_eq!(text.parse(), Ok(PromDuration::from_ms(ms)), "{text}");
        check("0", 0);
        check("1h30m", 5_400_000);
        check("5m", 300_000);
        check("1y2w3d4h5m6s7ms", 365 * 86_400_000 + 14 * 86_400_000 + 3 * 86_400_000 + 4 * 3_600_000 + 306_007);
        for bad in
            ["", "1", "m", "1m1h", "1m1m", "-1m", "1.5m", "1 m", "1minute", "99999999999999999999y", "300000y", "ü"]
        {
            assert!(bad.parse::<PromDuration>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_print_back() {
        for (text, printed) in
            [("90m", "1h30m"), ("14d", "2w"), ("15d", "15d"), ("365d", "1y"), ("0", "0s"), ("1500ms", "1s500ms")]
        {
            assert_eq!(text.parse::<PromDuration>().expect("valid").to_string(), printed);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, bytes: u64, printed: &str| {
            let size = text.parse::<Size>().expect("valid");
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed), "{text}");
        };
        check("0", 0, "0B");
        check("1000", 1000, "1000B");
        check("512MB", 512 << 20, "512MB");
        check("2GiB", 2 << 30, "2GB");
        check("1536k", 1536 << 10, "1536KB");
        for bad in ["", "B", "1.5GB", "-1", "1XB", "99999999999GB", "16EB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }
}
