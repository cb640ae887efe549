//! How long and how much is kept: flags, or the section of the configuration file, which has Prometheus' precedence over them.

use std::path::Path;

use blocks::Retention;

use crate::config::units::{PromDuration, Size};

/// Prometheus' own, where nothing else bounds the blocks.
const TIME_DEFAULT: PromDuration = PromDuration::from_ms(15 * 24 * 3_600_000);

/// What a place of the configuration says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RetentionSettings {
    pub(crate) time: Option<PromDuration>,
    pub(crate) size: Option<Size>,
    /// Of the file system that the data directory is on.
    pub(crate) percentage: Option<f64>,
}

impl RetentionSettings {
    /// These settings, and another place's where these are silent or 0.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            time: self.time.filter(|time| time.ms() > 0).or(other.time),
            size: self.size.filter(|size| size.bytes() > 0).or(other.size),
            percentage: self.percentage.filter(|percentage| *percentage > 0.0).or(other.percentage),
        }
    }

    /// What blocks are kept.
    pub(crate) fn resolve(self, data: &Path) -> Retention {
        let share = self.percentage.filter(|percentage| *percentage > 0.0).and_then(|percentage| {
            let all = file_system_bytes(data)?;
            Some((all as f64 * percentage / 100.0) as u64)
        });
        let bytes = share.or_else(|| self.size.map(Size::bytes)).filter(|&bytes| bytes > 0);
        let time = self.time.or_else(|| bytes.is_none().then_some(TIME_DEFAULT));
        let time_ms = time.map(|time| i64::try_from(time.ms()).unwrap_or(i64::MAX)).filter(|&time| time > 0);
        Retention { time_ms, bytes }
    }

    /// In words, as Prometheus shows it.
    pub(crate) fn text(self, resolved: Retention) -> String {
        let time = resolved.time_ms.map(|time| PromDuration::from_ms(time.unsigned_abs()).to_string());
        let size = match self.percentage.filter(|percentage| *percentage > 0.0) {
            Some(percentage) => Some(format!("{percentage}%")),
            None => self.size.filter(|_| resolved.bytes.is_some()).map(|size| size.to_string()),
        };
        time.into_iter().chain(size).collect::<Vec<_>>().join(" or ")
    }
}

/// `None` where it can't be asked: then the size is not bounded by it.
fn file_system_bytes(path: &Path) -> Option<u64> {
    // The directory may be about to be made.
    let known = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    let found = known.or_else(|| rustix::fs::statvfs(".").ok())?;
    Some(found.f_blocks.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn settings(time: &str, size: &str) -> RetentionSettings {
        RetentionSettings { time: time.parse().ok(), size: size.parse().ok(), percentage: None }
    }

    #[test]
    fn fifteen_days_unless_something_else_bounds_it() {
        let resolved = |time: &str, size: &str| settings(time, size).resolve(Path::new("."));
        assert_eq!(resolved("", ""), Retention { time_ms: Some(15 * DAY), bytes: None });
        assert_eq!(resolved("30d", "").time_ms, Some(30 * DAY));
        assert_eq!(resolved("0s", ""), Retention::default());
        assert_eq!(resolved("", "1GB"), Retention { time_ms: None, bytes: Some(1 << 30) });
        assert_eq!(resolved("", "0"), Retention { time_ms: Some(15 * DAY), bytes: None });
    }

    #[test]
    fn the_file_goes_before_flags_where_it_says_something() {
        let flags = settings("30d", "1GB");
        assert_eq!(settings("1d", "").or(flags), settings("1d", "1GB"));
        assert_eq!(settings("0s", "2GB").or(flags), settings("30d", "2GB"));
        assert_eq!(RetentionSettings::default().or(flags), flags);
    }

    #[test]
    fn a_percentage_is_of_the_file_system_and_goes_before_a_size() {
        let half = RetentionSettings { percentage: Some(50.0), ..settings("", "1GB") };
        let resolved = half.resolve(Path::new("not/made/yet"));
        let all = file_system_bytes(Path::new(".")).expect("a file system");
        assert_eq!(resolved, Retention { time_ms: None, bytes: Some(all / 2) });
        assert_eq!(half.text(resolved), "50%");
    }
}
