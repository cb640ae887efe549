//! Random expressions that are valid, by type.

use super::{
    expression::{Expression, Kind, Piece, SLOT},
    random::Random,
};

const FLOATS: &[&str] =
    &["requests_total", "errors_total", "temperature", "level", "sparse", "duration_seconds_bucket", "target_info"];
pub(super) const HISTOGRAMS: &[&str] = &["latency_seconds", "load", "size_bytes", "mixed"];
const LABELS: &[&str] = &["instance", "job", "code", "path", "room", "le", "version", "\"label.x\"", "absent_label"];
const MATCHERS: &[&str] = &[
    "job=\"api\"",
    "job!=\"api\"",
    "job=~\"a.*|db\"",
    "instance=~\"host-[0-2]\"",
    "instance!~\"host-(1|4)\"",
    "instance=\"host-1\"",
    "instance=~\".+\"",
    "code=\"200\"",
    "code=~\"4..|5..\"",
    "code!~\"5..\"",
    "code=\"\"",
    "path!=\"/\"",
    "room=~\"(?i)HALL\"",
    "le!=\"+Inf\"",
    "version=~\"1\\\\.(0|1)\"",
    "absent_label=~\".*\"",
];
const DURATIONS: &[&str] = &["30s", "1m", "95s", "2m", "5m", "7m30s", "11m", "20m", "1h", "2m + 45s", "300"];
const SHORT: &[&str] = &["30s", "45s", "1m", "2m", "3m20s", "5m"];
const OFFSETS: &[&str] = &["30s", "1m", "4m", "-90s", "-5m", "17m", "1h", "(1m * 2)"];
const NUMBERS: &[&str] =
    &["0", "1", "2", "-1", "0.5", "3", "10", "100", "1e3", "0x1f", "1_000", "-7.25", "Inf", "-Inf", "NaN", "5m"];
const PHIS: &[&str] = &["0", "0.1", "0.5", "0.9", "0.99", "1", "-0.1", "1.5", "NaN"];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", "<", ">", "<=", ">="];
const SETS: &[&str] = &["and", "or", "unless"];

/// Of one value.
const MATH: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sgn",
    "deg",
    "rad",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "timestamp",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "year",
    "absent",
    "histogram_count",
    "histogram_sum",
    "histogram_avg",
    "histogram_stddev",
    "histogram_stdvar",
    "sort",
    "sort_desc",
];
const OF_RANGES: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "resets",
    "changes",
    "deriv",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "mad_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
    "sum_over_time",
];

pub(super) struct Generator {
    pub(super) random: Random,
}

impl Generator {
    pub(super) fn expression(&mut self) -> Expression {
        let depth = self.random.below(5);
        match self.random.below(20) {
            0 => self.scalar(depth),
            _ => self.instant(depth),
        }
    }

    fn labels(&mut self) -> String {
        self.random.some_of(LABELS, 30).join(", ")
    }

    /// The name and matchers of a selector, brackets and all, without modifiers.
    fn selector_pieces(&mut self) -> Vec<Piece> {
        let name = match self.random.below(20) {
            0..10 => self.random.of(FLOATS),
            10..17 => self.random.of(HISTOGRAMS),
            17 => "{\"dotted.name\"",
            18 => "{job=~\".+\"",
            _ => "{__name__=~\"re.*_total|temp.*\"",
        };
        let (is_open, mut pieces) = (name.starts_with('{'), vec![Piece::Text(name.to_owned())]);
        if !is_open {
            pieces.push(Piece::Text("{".to_owned()));
        }
        let count = self.random.of(&[0, 0, 0, 1, 1, 2]);
        for at in 0..count {
            let comma = if is_open || at > 0 { ", " } else { "" };
            let matcher = self.random.of(MATCHERS);
            // A leading comma would be none of the language, so only the first ones are left out together with the brackets' rest.
            match is_open || at > 0 {
                true => pieces.push(Piece::Optional(format!("{comma}{matcher}"))),
                false if count == 1 => pieces.push(Piece::Optional(matcher.to_owned())),
                false => pieces.push(Piece::Text(matcher.to_owned())),
            }
        }
        pieces.push(Piece::Text("}".to_owned()));
        pieces
    }

    fn modifiers(&mut self, pieces: &mut Vec<Piece>) {
        if self.random.percent(15) {
            pieces.push(Piece::Optional(format!(" offset {}", self.random.of(OFFSETS))));
        }
        if self.random.percent(8) {
            pieces.push(Piece::Optional(format!(" @ {}", self.random.of(&["start()", "end()"]))));
        }
    }

    fn selector(&mut self) -> Expression {
        let mut pieces = self.selector_pieces();
        self.modifiers(&mut pieces);
        Expression { kind: Kind::Instant, pieces }
    }

    fn range(&mut self, depth: usize) -> Expression {
        let mut pieces;
        if depth > 0 && self.random.percent(25) {
            pieces = vec![Piece::Child(self.instant(depth - 1).in_parentheses())];
            let step = if self.random.percent(70) { self.random.of(SHORT) } else { "" };
            pieces.push(Piece::Text(format!("[{}:{step}]", self.random.of(DURATIONS))));
        } else {
            pieces = self.selector_pieces();
            pieces.push(Piece::Text(format!("[{}]", self.random.of(DURATIONS))));
        }
        self.modifiers(&mut pieces);
        Expression { kind: Kind::Range, pieces }
    }

    fn scalar(&mut self, depth: usize) -> Expression {
        if depth == 0 || self.random.percent(60) {
            let text = match self.random.below(12) {
                0 => "time()",
                1 => "pi()",
                _ => self.random.of(NUMBERS),
            };
            return Expression::leaf(Kind::Scalar, text);
        }
        match self.random.below(4) {
            0 => Expression::new(Kind::Scalar, "scalar(§)", [self.instant(depth - 1)]),
            1 => Expression::new(Kind::Scalar, "-(§)", [self.scalar(depth - 1)]),
            2 => {
                let operator = self.random.of(COMPARISONS);
                self.of_scalars(&format!("(§ {operator} bool §)"), depth)
            }
            _ => {
                let operator = self.random.of(ARITHMETIC);
                self.of_scalars(&format!("(§ {operator} §)"), depth)
            }
        }
    }

    fn of_scalars(&mut self, template: &str, depth: usize) -> Expression {
        let sides = [self.scalar(depth - 1), self.scalar(depth - 1)];
        Expression::new(Kind::Scalar, template, sides)
    }

    fn instant(&mut self, depth: usize) -> Expression {
        if depth == 0 {
            return self.selector();
        }
        match self.random.below(100) {
            0..10 => self.selector(),
            10..30 => self.aggregation(depth),
            30..55 => self.binary(depth),
            55..80 => self.of_range(depth),
            80..90 => {
                let name = self.random.of(MATH);
                Expression::new(Kind::Instant, &format!("{name}(§)"), [self.instant(depth - 1)])
            }
            _ => self.special(depth),
        }
    }

    fn aggregation(&mut self, depth: usize) -> Expression {
        let clause = match self.random.below(4) {
            0 => String::new(),
            1 => format!("without ({})", self.labels()),
            _ => format!("by ({})", self.labels()),
        };
        let names = ["sum", "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
        let (head, argument, child) = match self.random.below(15) {
            0 => ("quantile", Some(Expression::leaf(Kind::Scalar, self.random.of(PHIS))), self.instant(depth - 1)),
            1 => ("count_values", Some(Expression::leaf(Kind::Scalar, "\"found\"")), self.instant(depth - 1)),
            // Where values are equal, which of them is taken is up to the order of series, which is no part of the language.
            2 => (
                self.random.of(&["topk", "bottomk"]),
                Some(self.scalar(0)),
                Expression::leaf(
                    Kind::Instant,
                    "temperature + on(instance, room) group_left() (timestamp(temperature) / 1e9)",
                ),
            ),
            3 => (
                "limit_ratio",
                Some(Expression::leaf(Kind::Scalar, self.random.of(&["0.3", "-0.7", "1", "0.5", "-0.1"]))),
                self.instant(depth - 1),
            ),
            _ => (self.random.of(&names), None, self.instant(depth - 1)),
        };
        let arguments = if argument.is_some() { "(§, §)" } else { "(§)" };
        let template = match self.random.percent(50) {
            true => format!("{head} {clause} {arguments}"),
            false => format!("{head}{arguments} {clause}"),
        };
        Expression::new(Kind::Instant, &template, argument.into_iter().chain([child])).in_parentheses()
    }

    fn matching(&mut self, may_group: bool) -> String {
        let labels = self.labels();
        let on = match self.random.below(5) {
            0 | 1 => return String::new(),
            2 => format!(" on({labels})"),
            3 => " on(instance, job)".to_owned(),
            _ => format!(" ignoring({labels})"),
        };
        if !may_group || self.random.percent(50) {
            return on;
        }
        let side = self.random.of(&["group_left", "group_right"]);
        let included = if self.random.percent(30) { "version" } else { "" };
        format!("{on} {side}({included})")
    }

    fn binary(&mut self, depth: usize) -> Expression {
        let [left, right] = [0, 1].map(|_| self.instant(depth - 1).in_parentheses());
        let operator = match self.random.below(3) {
            0 => self.random.of(COMPARISONS),
            _ => self.random.of(ARITHMETIC),
        };
        let bool = if COMPARISONS.contains(&operator) && self.random.percent(30) { " bool" } else { "" };
        match self.random.below(10) {
            0..3 => Expression::new(
                Kind::Instant,
                &format!("{SLOT} {operator}{bool} {SLOT}"),
                [left, self.scalar(depth - 1)],
            ),
            3 => Expression::new(
                Kind::Instant,
                &format!("{SLOT} {operator}{bool} {SLOT}"),
                [self.scalar(depth - 1), right],
            ),
            4..7 => {
                let (set, matching) = (self.random.of(SETS), self.matching(false));
                Expression::new(Kind::Instant, &format!("{SLOT} {set}{matching} {SLOT}"), [left, right])
            }
            7 => {
                let (name, matching) = (self.random.of(FLOATS), self.matching(true));
                let [left, right] = [0, 1].map(|_| Expression::leaf(Kind::Instant, name));
                Expression::new(Kind::Instant, &format!("{SLOT} {operator}{bool}{matching} {SLOT}"), [left, right])
            }
            _ => {
                let matching = self.matching(true);
                Expression::new(Kind::Instant, &format!("{SLOT} {operator}{bool}{matching} {SLOT}"), [left, right])
            }
        }
    }

    fn of_range(&mut self, depth: usize) -> Expression {
        let range = self.range(depth - 1);
        let number = |text: &str| Expression::leaf(Kind::Scalar, text);
        match self.random.below(12) {
            0 => Expression::new(Kind::Instant, "quantile_over_time(§, §)", [number(self.random.of(PHIS)), range]),
            1 => Expression::new(Kind::Instant, "predict_linear(§, §)", [range, self.scalar(depth - 1)]),
            2 => Expression::new(Kind::Instant, "double_exponential_smoothing(§, 0.4, 0.6)", [range]),
            _ => Expression::new(Kind::Instant, &format!("{}(§)", self.random.of(OF_RANGES)), [range]),
        }
    }

    fn special(&mut self, depth: usize) -> Expression {
        let phi = Expression::leaf(Kind::Scalar, self.random.of(PHIS));
        let one = |template: &str, child: Expression| Expression::new(Kind::Instant, template, [child]);
        match self.random.below(13) {
            0 => Expression::new(Kind::Instant, "histogram_quantile(§, §)", [phi, self.instant(depth - 1)]),
            1 => Expression::new(
                Kind::Instant,
                "histogram_quantile(§, sum by (le, job) (rate(duration_seconds_bucket[5m])))",
                [phi],
            ),
            2 => {
                let bounds = [self.scalar(0), self.scalar(0), self.instant(depth - 1)];
                Expression::new(Kind::Instant, "histogram_fraction(§, §, §)", bounds)
            }
            3 => one("label_replace(§, \"job\", \"$1-$0\", \"instance\", \"h(.*)\")", self.instant(depth - 1)),
            4 => one("label_replace(§, \"new\", \"x\", \"code\", \"4.*|\")", self.instant(depth - 1)),
            5 => one(
                "label_join(§, \"joined\", \"-\", \"job\", \"absent_label\", \"instance\")",
                self.instant(depth - 1),
            ),
            6 => Expression::new(
                Kind::Instant,
                "clamp(§, §, §)",
                [self.instant(depth - 1), self.scalar(0), self.scalar(0)],
            ),
            7 => {
                let name = self.random.of(&["clamp_min", "clamp_max", "round"]);
                Expression::new(
                    Kind::Instant,
                    &format!("{name}({SLOT}, {SLOT})"),
                    [self.instant(depth - 1), self.scalar(0)],
                )
            }
            8 => one(
                self.random.of(&["info(§)", "info(§, {region=~\".+\"})", "info(§, {version=\"1.0\"})"]),
                self.selector(),
            ),
            9 => one("vector(§)", self.scalar(depth - 1)),
            10 => one("-(§)", self.instant(depth - 1)),
            11 => one("sort_by_label(§, \"instance\")", self.instant(depth - 1)),
            _ => one("count(limitk(2, §))", self.instant(depth - 1)),
        }
    }
}

impl Expression {
    fn in_parentheses(self) -> Self {
        Self::new(self.kind, "(§)", [self])
    }
}
