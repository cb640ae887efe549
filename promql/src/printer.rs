//! Trees to canonical text, as Prometheus prints them.
//!
//! Promised: the text parses (with every option on) to the same tree, save for spans and for the order of matchers, which are
//! printed sorted. Parentheses come from the tree: a tree that no parser built may lack some that its text would need.

use std::fmt::{self, Display, Formatter};

use model::{METRIC_NAME, MatchOp, Matcher, labels::is_plain_label_name};

use crate::{
    ast::{
        Aggregate, At, Binary, BinaryOp, Cardinality, Duration, DurationExpr, Expr, ExprKind, MatrixSelector,
        Modifiers, NumberLiteral, Subquery, UnaryOp, VectorMatching, VectorSelector,
    },
    parser::quote::quote,
};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(unary) => write!(f, "{}{}", unary.op.as_str(), unary.operand),
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                separated(f, &call.args, |f, arg| arg.fmt(f))?;
                f.write_str(")")
            }
            ExprKind::VectorSelector(selector) => selector.fmt(f),
            ExprKind::MatrixSelector(matrix) => matrix.fmt(f),
            ExprKind::Subquery(subquery) => subquery.fmt(f),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_duration {
            return write_number(f, self.value);
        }
        if self.value.is_sign_negative() {
            f.write_str("-")?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a duration literal has at most 63 bits of nanoseconds")]
        write_duration(f, (self.value.abs() * 1e3).round() as i64)
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let return_bool = if self.return_bool { " bool" } else { "" };
        // A sign binds less tightly than `^`: in "+Inf ^ a" it would be that of the power.
        match self.left.kind {
            ExprKind::Number(NumberLiteral { value: f64::INFINITY, .. }) if self.op == BinaryOp::Pow => {
                f.write_str("Inf")?
            }
            _ => self.left.fmt(f)?,
        }
        write!(f, " {}{return_bool}", self.op.as_str())?;
        if let Some(matching) = &self.matching {
            matching.fmt(f)?;
        }
        write!(f, " {}", self.right)
    }
}

/// With a space in front of each part.
impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if self.on || !self.labels.is_empty() || group.is_some() {
            write!(f, " {} ", if self.on { "on" } else { "ignoring" })?;
            write_labels(f, &self.labels)?;
        }
        if let Some(group) = group {
            write!(f, " {group} ")?;
            write_labels(f, &self.include)?;
        }
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write_fill(f, "fill", Some(left)),
            (left, right) => {
                write_fill(f, "fill_left", left)?;
                write_fill(f, "fill_right", right)
            }
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.without || !self.grouping.is_empty() {
            f.write_str(if self.without { " without " } else { " by " })?;
            write_labels(f, &self.grouping)?;
            f.write_str(" ")?;
        }
        match &self.parameter {
            Some(parameter) => write!(f, "({parameter}, {})", self.operand),
            None => write!(f, "({})", self.operand),
        }
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_matchers(f)?;
        self.modifiers.write_at(f)?;
        self.write_extension(f)?;
        self.modifiers.write_offset(f)
    }
}

impl VectorSelector {
    fn write_matchers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.matchers.last().filter(|_| self.is_named).map(Matcher::value);
        f.write_str(name.unwrap_or_default())?;
        // What only says the name once more is left out.
        let says_name = |matcher: &&Matcher| {
            matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && Some(matcher.value()) == name
        };
        let mut shown: Vec<_> = self.matchers.iter().filter(|matcher| !says_name(matcher)).map(matcher_text).collect();
        if shown.is_empty() && name.is_some() {
            return Ok(());
        }
        shown.sort_unstable();
        write!(f, "{{{}}}", shown.join(","))
    }

    fn write_extension(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.extension {
            Some(extension) => write!(f, " {}", extension.as_str()),
            None => Ok(()),
        }
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.selector.write_matchers(f)?;
        write!(f, "[{}]", self.range)?;
        self.selector.write_extension(f)?;
        self.selector.modifiers.fmt(f)
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.operand, self.range)?;
        if let Some(step) = &self.step {
            step.fmt(f)?;
        }
        f.write_str("]")?;
        self.modifiers.fmt(f)
    }
}

/// With a space in front of each.
impl Display for Modifiers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_at(f)?;
        self.write_offset(f)
    }
}

impl Modifiers {
    fn write_at(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(milliseconds)) => {
                let sign = if milliseconds < 0 { "-" } else { "" };
                let magnitude = milliseconds.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
            }
            Some(At::Start) => f.write_str(" @ start()"),
            Some(At::End) => f.write_str(" @ end()"),
            None => Ok(()),
        }
    }

    fn write_offset(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(offset) = &self.offset else { return Ok(()) };
        let plus = match offset {
            Duration::Expr(expr) => is_paren_of_paren(expr),
            Duration::Literal(_) => false,
        };
        write!(f, " offset {}{offset}", if plus { "+" } else { "" })
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(milliseconds) => write_duration(f, *milliseconds),
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negate(inner) => write!(f, "-{inner}"),
            Self::Paren(inner) if is_paren_of_paren(self) => inner.fmt(f),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Binary(op, left, right) => write!(f, "{left} {} {right}", op.as_str()),
            Self::MinOf(one, two) => write!(f, "min_of({one}, {two})"),
            Self::MaxOf(one, two) => write!(f, "max_of({one}, {two})"),
        }
    }
}

fn is_paren_of_paren(expr: &DurationExpr) -> bool {
    matches!(expr, DurationExpr::Paren(inner) if matches!(**inner, DurationExpr::Paren(_)))
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut write: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    f.write_str("(")?;
    separated(f, labels, |f, label| f.write_str(&label_text(label)))?;
    f.write_str(")")
}

fn label_text(name: &str) -> String {
    if is_plain_label_name(name) { name.to_owned() } else { quote(name) }
}

fn matcher_text(matcher: &Matcher) -> String {
    format!("{}{}{}", label_text(matcher.name()), matcher.op().as_str(), quote(matcher.value()))
}

fn write_fill(f: &mut Formatter<'_>, word: &str, value: Option<f64>) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    write!(f, " {word} (")?;
    if value != 0.0 && value.is_finite() && !(1e-4..1e21).contains(&value.abs()) {
        let shown = format!("{value:e}");
        let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        write!(f, "{mantissa}e{sign}{digits:0>2}")?;
    } else {
        write_number(f, value)?;
    }
    f.write_str(")")
}

fn write_number(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    match value {
        f64::INFINITY => f.write_str("+Inf"),
        f64::NEG_INFINITY => f.write_str("-Inf"),
        _ => write!(f, "{value}"),
    }
}

/// Years and weeks only where nothing is left over, as people write them.
fn write_duration(f: &mut Formatter<'_>, milliseconds: i64) -> fmt::Result {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 24 * 3_600_000, true),
        ("w", 7 * 24 * 3_600_000, true),
        ("d", 24 * 3_600_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    if milliseconds == 0 {
        return f.write_str("0s");
    }
    if milliseconds < 0 {
        f.write_str("-")?;
    }
    let mut rest = milliseconds.unsigned_abs();
    for (unit, size, whole_only) in UNITS {
        if rest >= size && (!whole_only || rest.is_multiple_of(size)) {
            write!(f, "{}{unit}", rest / size)?;
            rest %= size;
        }
    }
    Ok(())
}

impl UnaryOp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parser::{ParseOptions, parse};

    fn printed(text: &str) -> String {
        parse(text, &ParseOptions::all()).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn canonical_text_is_that_of_prometheus() {
        let cases = [
            ("sum(foo) by (b, a)", "sum by (b, a) (foo)"),
            ("sum(foo) without ()", "sum without () (foo)"),
            ("sum by () (foo)", "sum(foo)"),
            ("TOPK(1,foo)", "topk(1, foo)"),
            ("foo{b='1',a=~`\\d`}", r#"foo{a=~"\\d",b="1"}"#),
            ("{__name__='foo'}", r#"{__name__="foo"}"#),
            ("{'my.metric', 'a.b'='c'}", r#"{"a.b"="c",__name__="my.metric"}"#),
            ("foo{}", "foo"),
            ("a+on(x)group_left b", "a + on (x) group_left () b"),
            ("a>bool ignoring(x,\"y.z\")b", "a > bool ignoring (x, \"y.z\") b"),
            ("a and on() b", "a and on () b"),
            ("a + fill(1) b", "a + fill (1) b"),
            ("a + fill_right(-Inf) fill_left(1e-7) b", "a + fill_left (1e-07) fill_right (-Inf) b"),
            ("rate(foo[90s] offset 1h @ 1.5)", "rate(foo[1m30s] @ 1.500 offset 1h)"),
            ("rate(foo[365d] offset -2w)", "rate(foo[1y] offset -2w)"),
            ("foo offset 0", "foo"),
            ("foo[5m:]", "foo[5m:]"),
            ("(foo+1)[1h:30] @ end()", "(foo + 1)[1h:30s] @ end()"),
            ("increase(foo[5m] offset 1m smoothed)", "increase(foo[5m] smoothed offset 1m)"),
            ("foo anchored @ start()", "foo @ start() anchored"),
            ("foo offset (5m)*2 + 1", "foo offset ((5m) * 2 + 1)"),
            ("foo offset +(5m*2) + 1", "foo offset +(5m * 2) + 1"),
            ("foo offset -(5m*2) + 1", "foo offset -(5m * 2) + 1"),
            ("foo offset --5m + 1m", "foo offset (5m + 1m)"),
            ("foo offset 5m + 1m", "foo offset 5m + 1m"),
            ("foo offset step()*0", "foo offset step() * 0"),
            ("foo[((5m))+((step()))]", "foo[(5m) + (step())]"),
            ("foo[(5m+step())*2]", "foo[(5m + step()) * 2]"),
            ("foo[max_of(1,-step()+1h)]", "foo[max_of(1, -step() + 1h)]"),
            ("1e3 * 0x10", "1000 * 16"),
            ("-Inf", "-Inf"),
            ("inf * 2 ^ inf", "+Inf * 2 ^ +Inf"),
            ("2 ^ inf ^ foo", "2 ^ Inf ^ foo"),
            ("+inf ^ foo", "+Inf ^ foo"),
            ("foo > 90m", "foo > 1h30m"),
            ("- -5m", "5m"),
            ("foo * -0s", "foo * -0s"),
            ("foo * -1d", "foo * -1d"),
            ("-foo ^ +bar", "-foo ^ +bar"),
            ("vector(pi())", "vector(pi())"),
            ("\"\\u00e9\\n\\x01\"", "\"é\\n\\x01\""),
        ];
        for (text, expected) in cases {
            assert_eq!(printed(text), expected, "{text}");
            assert_eq!(printed(expected), expected);
        }
    }
}
