//! Curves in the terminal, of Braille dots, two by four to a character; an instant vector as bars.

use std::{
    env,
    io::{self, Write},
};

use super::{
    answer::{Data, Point, Sample, Series, metric_text},
    time::rfc3339,
};

/// Rows of a canvas for curves.
const ROWS: usize = 20;
/// Where neither the terminal nor the environment says how wide it is.
const COLUMNS: usize = 100;
const COLUMNS_MIN: usize = 30;
/// Curves that can be told apart.
const CURVES_MAX: usize = 12;
/// Foreground colours of ANSI that show on dark and on light ground.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Two steps of a curve that lie further apart than this many usual ones are not joined.
const GAP_STEPS: f64 = 1.5;

/// Where it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    columns: usize,
    colors: bool,
}

impl Canvas {
    pub(super) fn of_terminal(is_terminal: bool) -> Self {
        let told = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let window = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let columns = told.or_else(window).filter(|columns| *columns > 0).unwrap_or(COLUMNS);
        Self { columns: columns.max(COLUMNS_MIN), colors: is_terminal && env::var_os("NO_COLOR").is_none() }
    }
}

pub(super) fn write(out: &mut dyn Write, data: &Data, canvas: Canvas) -> io::Result<()> {
    match data {
        Data::Matrix(series) => curves(out, series, canvas),
        Data::Vector(samples) => bars(out, samples, canvas),
        Data::Scalar(point) => writeln!(out, "{}", point.text),
        Data::Text((_, text)) => writeln!(out, "{text}"),
        Data::Names(_) | Data::Series(_) => Ok(()),
    }
}

/// The least and the most of finite numbers.
fn bounds(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.filter(|number| number.is_finite()).fold(None, |bounds, number| {
        let (low, high) = bounds.unwrap_or((number, number));
        Some((number.min(low), number.max(high)))
    })
}

fn curves(out: &mut dyn Write, series: &[Series], canvas: Canvas) -> io::Result<()> {
    let drawn: Vec<&Series> = series.iter().filter(|one| !one.values.is_empty()).take(CURVES_MAX).collect();
    let points = || drawn.iter().flat_map(|one| &one.values);
    let (Some(values), Some(times)) = (bounds(points().map(|point| point.value)), bounds(points().map(|p| p.seconds)))
    else {
        return writeln!(out, "(nothing to draw)");
    };
    // A curve of one value lies in the middle.
    let (low, high) = if values.0 == values.1 { (values.0 - 1.0, values.1 + 1.0) } else { values };
    let labels = [high, f64::midpoint(low, high), low].map(short);
    let margin = labels.iter().map(String::len).max().unwrap_or(0) + 2;
    let mut dots = Dots::new(canvas.columns.saturating_sub(margin).max(10), ROWS);
    let place = |point: &Point| {
        let across = (point.seconds - times.0) / (times.1 - times.0).max(f64::MIN_POSITIVE);
        let up = (point.value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        (across * (dots.width() - 1) as f64, (1.0 - up) * (dots.height() - 1) as f64)
    };
    let lines: Vec<Vec<_>> = drawn.iter().map(|one| segments(&one.values, place)).collect();
    for (curve, line) in lines.iter().enumerate() {
        line.iter().for_each(|(from, to)| dots.line(curve, *from, *to));
    }
    let style = Style { colors: canvas.colors, letters: !canvas.colors && drawn.len() > 1 };
    for row in 0..ROWS {
        let label = match row {
            0 => &labels[0],
            row if row == ROWS / 2 => &labels[1],
            row if row == ROWS - 1 => &labels[2],
            _ => "",
        };
        writeln!(out, "{label:>width$} │{}", dots.row(row, style), width = margin - 2)?;
    }
    axis(out, margin, dots.columns, times)?;
    for (curve, one) in drawn.iter().enumerate() {
        legend(out, curve, one, style)?;
    }
    let left = series.len() - drawn.len();
    if left > 0 {
        writeln!(out, "  and {left} more that are not drawn")?;
    }
    Ok(())
}

/// A curve's lines, without those over gaps, and without numbers that have no place.
fn segments<P>(points: &[Point], place: impl Fn(&Point) -> P) -> Vec<(P, P)> {
    let step = points.windows(2).map(|pair| pair[1].seconds - pair[0].seconds).fold(f64::INFINITY, f64::min);
    let alone = points.iter().map(|point| (point, point));
    let joined = points.windows(2).map(|pair| (&pair[0], &pair[1]));
    let is_near = |(from, to): &(&Point, &Point)| to.seconds - from.seconds <= step * GAP_STEPS || from == to;
    let has_place = |(from, to): &(&Point, &Point)| from.value.is_finite() && to.value.is_finite();
    alone.chain(joined).filter(is_near).filter(has_place).map(|(from, to)| (place(from), place(to))).collect()
}

fn axis(out: &mut dyn Write, margin: usize, columns: usize, times: (f64, f64)) -> io::Result<()> {
    writeln!(out, "{:>margin$}{}", "└", "─".repeat(columns))?;
    let (from, to) = (rfc3339(times.0), rfc3339(times.1));
    let room = columns.saturating_sub(from.len()).max(to.len() + 2);
    writeln!(out, "{:margin$}{from}{to:>room$}", "")
}

fn legend(out: &mut dyn Write, curve: usize, series: &Series, style: Style) -> io::Result<()> {
    let (low, high) = bounds(series.values.iter().map(|point| point.value)).unwrap_or((f64::NAN, f64::NAN));
    let last = series.values.last().map_or("", |point| point.text.as_str());
    let sign = if style.letters { letter(curve).to_string() } else { style.paint(curve, "━") };
    let (low, high) = (short(low), short(high));
    writeln!(out, "  {sign} {}  min {low}  max {high}  last {last}", metric_text(&series.metric))
}

fn bars(out: &mut dyn Write, samples: &[Sample], canvas: Canvas) -> io::Result<()> {
    let rows: Vec<(String, &Point)> =
        samples.iter().filter_map(|one| Some((metric_text(&one.metric), one.value.as_ref()?))).collect();
    let Some((low, high)) = bounds(rows.iter().map(|(_, point)| point.value)) else {
        return writeln!(out, "(nothing to draw)");
    };
    let (low, high) = (low.min(0.0), high.max(0.0));
    let chars = |text: &str| text.chars().count();
    let names = rows.iter().map(|(name, _)| chars(name)).max().unwrap_or(0).min(canvas.columns / 2);
    let texts = rows.iter().map(|(_, point)| point.text.len()).max().unwrap_or(0);
    let room = canvas.columns.saturating_sub(names + texts + 4).max(10);
    let column = |value: f64| ((value - low) / (high - low).max(f64::MIN_POSITIVE) * room as f64).round() as usize;
    let style = Style { colors: canvas.colors, letters: false };
    for (name, point) in &rows {
        let name: String = name.chars().take(names).collect();
        let (from, to) = if point.value.is_finite() { (column(0.0), column(point.value)) } else { (0, 0) };
        let bar = style.paint(0, &"█".repeat(from.abs_diff(to)));
        writeln!(out, "{name:names$} {:>texts$} {}{bar}", point.text, " ".repeat(from.min(to)))?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Style {
    colors: bool,
    /// Curves are told apart by letters instead.
    letters: bool,
}

impl Style {
    fn paint(self, curve: usize, text: &str) -> String {
        match self.colors && !text.is_empty() {
            true => format!("\x1b[{}m{text}\x1b[0m", COLORS[curve % COLORS.len()]),
            false => text.to_owned(),
        }
    }
}

fn letter(curve: usize) -> char {
    char::from(b'a' + u8::try_from(curve % 26).expect("a letter"))
}

/// Four digits are enough for an axis.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-3..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if size >= 1000.0 { 0 } else { 4 };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Characters of dots, each with the curve that came last.
struct Dots {
    columns: usize,
    cells: Vec<(u8, usize)>,
}

impl Dots {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, cells: vec![(0, 0); columns * rows] }
    }

    fn width(&self) -> usize {
        self.columns * 2
    }

    fn height(&self) -> usize {
        self.cells.len() / self.columns * 4
    }

    fn line(&mut self, curve: usize, from: (f64, f64), to: (f64, f64)) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let part = step as f64 / steps;
            self.dot(curve, from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
        }
    }

    fn dot(&mut self, curve: usize, x: f64, y: f64) {
        let (x, y) = (x.round() as usize, y.round() as usize);
        let Some(cell) = self.cells.get_mut(y / 4 * self.columns + x / 2) else { return };
        // The order of the dots' bits in Unicode: three rows of both columns, then the fourth.
        let bit = match (x % 2, y % 4) {
            (column, 3) => 6 + column,
            (column, row) => row + 3 * column,
        };
        *cell = (cell.0 | 1 << bit, curve);
    }

    fn row(&self, row: usize, style: Style) -> String {
        let cells = &self.cells[row * self.columns..(row + 1) * self.columns];
        let mut text: String = cells
            .iter()
            .map(|(dots, curve)| match (dots, style.letters) {
                (0, _) => " ".to_owned(),
                (_, true) => letter(*curve).to_string(),
                (dots, false) => {
                    let braille = char::from_u32(0x2800 + u32::from(*dots)).expect("a sign of Braille");
                    style.paint(*curve, &braille.to_string())
                }
            })
            .collect();
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: Canvas = Canvas { columns: 30, colors: false };

    fn series(name: &str, values: &[(f64, f64)]) -> Series {
        let point = |(seconds, value): &(f64, f64)| Point { seconds: *seconds, value: *value, text: value.to_string() };
        let metric = [("__name__".to_owned(), name.to_owned())].into();
        Series { metric, values: values.iter().map(point).collect(), histograms: Vec::new() }
    }

    fn drawn(data: &Data) -> Vec<String> {
        let mut out = Vec::new();
        write(&mut out, data, PAPER).expect("writing to memory");
        String::from_utf8(out).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_rising_line_goes_from_corner_to_corner() {
        let values: Vec<_> = (0..50).map(|step| (f64::from(step), f64::from(step) * 2.0)).collect();
        let lines = drawn(&Data::Matrix(vec![series("m", &values)]));
        assert_eq!(lines.len(), ROWS + 3);
        let ends_of = |line: &str| (line.chars().nth(4), line.chars().last());
        assert!(lines[0].starts_with("98 │ ") && !lines[0].ends_with('│'), "{lines:#?}");
        assert!(lines[ROWS - 1].starts_with(" 0 │") && ends_of(&lines[ROWS - 1]).0 != Some(' '), "{lines:#?}");
        assert_eq!(lines[ROWS + 2], "  ━ m  min 0  max 98  last 98");
    }

    #[test]
    fn gaps_and_odd_numbers_are_left_out() {
        let values = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0), (30.0, 1.0)];
        let lines = drawn(&Data::Matrix(vec![series("m", &values)]));
        let line = lines.iter().find(|line| line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)));
        let cells = line.expect("a line of dots").chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert!(cells < 8, "a gap is not bridged: {lines:#?}");
        assert_eq!(drawn(&Data::Matrix(vec![series("m", &[(0.0, f64::NAN)])])), ["(nothing to draw)"]);
    }

    #[test]
    fn two_curves_without_colours_are_letters() {
        let both = vec![series("one", &[(0.0, 0.0), (1.0, 0.0)]), series("two", &[(0.0, 1.0), (1.0, 1.0)])];
        let lines = drawn(&Data::Matrix(both));
        assert!(lines[0].contains("bbb") && lines[ROWS - 1].contains("aaa"), "{lines:#?}");
        assert!(lines[ROWS + 2].starts_with("  a one"));
    }

    #[test]
    fn bars_stand_on_zero() {
        let sample = |name: &str, value: f64| Sample {
            metric: [("__name__".to_owned(), name.to_owned())].into(),
            value: Some(Point { seconds: 0.0, value, text: value.to_string() }),
            histogram: None,
        };
        let lines = drawn(&Data::Vector(vec![sample("a", -1.0), sample("bb", 1.0), sample("c", f64::INFINITY)]));
        let full: Vec<_> = lines.iter().map(|line| line.matches('█').count()).collect();
        assert!(full[0] > 5 && full[0].abs_diff(full[1]) <= 1 && full[2] == 0, "{lines:#?}");
        assert!(lines[1].contains("           █"), "{lines:#?}");
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.0, 0.333_333, 123_456.7, 1e9, -0.000_01, 100.0].map(short);
        assert_eq!(texts, ["0", "1", "0.3333", "123457", "1.000e9", "-1.000e-5", "100"]);
    }
}
