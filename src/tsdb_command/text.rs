//! Numbers and tables as promtool, a Go program, prints them.

use std::io::{self, Write};

/// A duration of milliseconds: `2h0m0s`, `1m0.5s`, `500ms`.
pub(super) fn duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{sign}{ms}ms");
    }
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, (ms % 60_000) as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Bytes by powers of 1,024: `29MiB260KiB618B`.
pub(super) fn bytes(mut bytes: u64) -> String {
    let units = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut text = String::new();
    for (unit, shift) in units {
        let count = bytes >> shift;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
        bytes -= count << shift;
    }
    text
}

/// Least width of a column, with the two blanks behind it.
const COLUMN_WIDTH_MIN: usize = 13;

/// Columns as wide as their widest cell; the last is not filled up.
pub(super) fn write_columns(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].len() + 2).fold(COLUMN_WIDTH_MIN, usize::max);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let (last, front) = row.split_last().expect("a row has cells");
        for (cell, width) in front.iter().zip(&widths) {
            write!(out, "{cell:<width$}")?;
        }
        writeln!(out, "{last}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_written_as_go_does() {
        let durations = [0, 500, 1_500, 60_000, 7_200_000, 90_061_001, -1_000].map(duration);
        assert_eq!(durations, ["0s", "500ms", "1.5s", "1m0s", "2h0m0s", "25h1m1.001s", "-1s"]);
        assert_eq!([0, 5, 1024, 2_966_585, 1 << 40].map(bytes), ["0B", "5B", "1KiB", "2MiB849KiB57B", "1TiB"]);
    }
}
