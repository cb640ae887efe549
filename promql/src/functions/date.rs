//! Parts of a date, in UTC, of values that are seconds since the epoch.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateFunction {
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
    Month,
    Year,
}

const SECONDS_PER_DAY: i64 = 86_400;

impl DateFunction {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "day_of_month" => Self::DayOfMonth,
            "day_of_week" => Self::DayOfWeek,
            "day_of_year" => Self::DayOfYear,
            "days_in_month" => Self::DaysInMonth,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// Of a time in seconds since the epoch; fractions are cut off.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        let seconds = whole(seconds);
        let day = seconds.div_euclid(i128::from(SECONDS_PER_DAY)) as i64;
        let second = seconds.rem_euclid(i128::from(SECONDS_PER_DAY)) as i64;
        let part = match self {
            Self::Hour => second / 3600,
            Self::Minute => second / 60 % 60,
            // The epoch was a Thursday.
            Self::DayOfWeek => (day + 4).rem_euclid(7),
            Self::DayOfMonth => civil(day).day,
            Self::Month => civil(day).month,
            Self::Year => civil(day).year,
            Self::DayOfYear => day - day_number(civil(day).year, 1) + 1,
            Self::DaysInMonth => {
                let Civil { year, month, .. } = civil(day);
                let next = if month == 12 { day_number(year + 1, 1) } else { day_number(year, month + 1) };
                next - day_number(year, month)
            }
        };
        part as f64
    }
}

/// Whole seconds. What is no number or fits in no 64 bits becomes a date in the year 292,277,026,596, as it does in the reference implementation: there
/// the smallest of all times stands for it, and times before all that its calendar knows go on at the calendar's end.
fn whole(seconds: f64) -> i128 {
    const CALENDAR_START: i128 = -9_223_372_028_715_321_600;
    let fits = (-(2_f64.powi(63))..2_f64.powi(63)).contains(&seconds);
    let whole = i128::from(if fits { seconds as i64 } else { i64::MIN });
    if whole < CALENDAR_START { whole + (1 << 64) } else { whole }
}

struct Civil {
    year: i64,
    month: i64,
    day: i64,
}

/// Days in 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to the epoch.
const EPOCH: i64 = 719_468;

/// The date of a day counted from the epoch. Years start in March here, so that a leap day is the last of its year.
fn civil(day: i64) -> Civil {
    let day = day + EPOCH;
    let (era, day_of_era) = (day.div_euclid(DAYS_PER_ERA), day.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Civil { year: era * 400 + year_of_era + i64::from(month <= 2), month, day }
}

/// Days from the epoch to the first of a month.
fn day_number(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        // 2024-02-29 23:59:59, a Thursday.
        let leap = 1_709_251_199.9;
        let parts = [
            (DateFunction::Year, 2024.0),
            (DateFunction::Month, 2.0),
            (DateFunction::DayOfMonth, 29.0),
            (DateFunction::DayOfYear, 60.0),
            (DateFunction::DayOfWeek, 4.0),
            (DateFunction::DaysInMonth, 29.0),
            (DateFunction::Hour, 23.0),
            (DateFunction::Minute, 59.0),
        ];
        for (part, value) in parts {
            assert_eq!(part.of(leap), value, "{part:?}");
        }
        assert_eq!(DateFunction::Year.of(-1.0), 1969.0);
    }

    #[test]
    fn what_is_no_date_has_the_reference_implementations_parts() {
        for seconds in [f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e19] {
            let parts = [DateFunction::Year, DateFunction::Month, DateFunction::DayOfMonth, DateFunction::DayOfWeek];
            assert_eq!(parts.map(|part| part.of(seconds)), [292_277_026_596.0, 12.0, 4.0, 0.0], "{seconds}");
        }
        assert_eq!(DateFunction::Year.of(1e17), 3_168_875_820.0);
    }
}
