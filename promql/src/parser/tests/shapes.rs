//! What texts mean: precedence, literals, names, modifiers.

use model::{MatchOp, Matcher};

use super::{ParseOptions, parse, parse_metric_selector};
use crate::ast::{At, Cardinality, Duration, DurationExpr, Expr, ExprKind, Extension, NumberLiteral, Span, ValueType};

fn read(text: &str) -> Expr {
    parse(text, &ParseOptions::all()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The text with every operation in parentheses.
fn grouped(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary(binary) => {
            format!("({} {} {})", grouped(&binary.left), binary.op.as_str(), grouped(&binary.right))
        }
        ExprKind::Unary(unary) => format!("(-{})", grouped(&unary.operand)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_by_precedence() {
    let cases = [
        ("1 + 2 * 3 ^ 4", "(1 + (2 * (3 ^ 4)))"),
        ("2 ^ 3 ^ 4", "(2 ^ (3 ^ 4))"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("1 * 2 / 3 % 4 atan2 5", "((((1 * 2) / 3) % 4) atan2 5)"),
        ("a or b and c unless d or e", "((a or ((b and c) unless d)) or e)"),
        ("a == b < c </ d >/ e", "((((a == b) < c) </ d) >/ e)"),
        ("a and b == c + d", "(a and (b == (c + d)))"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("a ^ -b * c", "((a ^ (-b)) * c)"),
        ("a ^ -b ^ c", "(a ^ (-(b ^ c)))"),
        ("-a offset 5m - b @ 1", "((-a offset 5m) - b @ 1.000)"),
        ("a offset 2 ^ 2", "(a offset 2s ^ 2)"),
        ("a offset -2 * 2", "(a offset -2s * 2)"),
        ("a offset step() * 2", "(a offset step() * 2)"),
        ("a offset -(1m) + 1m", "(a offset -(1m) + 1m)"),
    ];
    for (text, expected) in cases {
        assert_eq!(grouped(&read(text)), expected, "{text}");
    }
    assert_eq!(read("-1 ^ 2").to_string(), "-1 ^ 2");
}

#[test]
fn numbers_take_every_form() {
    let cases = [
        ("1", 1.0),
        ("-2", -2.0),
        ("+-+3", -3.0),
        ("0x1F", 31.0),
        ("0X_1f", 31.0),
        ("010", 8.0),
        ("08", 8.0),
        ("1_000_000", 1e6),
        ("1_000.5", 1000.5),
        ("1e3", 1e3),
        ("1E-3", 1e-3),
        (".5", 0.5),
        ("5.", 5.0),
        ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ("Inf", f64::INFINITY),
        ("-iNF", f64::NEG_INFINITY),
        ("5m", 300.0),
        ("-1h30m15s500ms", -5415.5),
        ("1y2w3d", 33_004_800.0),
    ];
    for (text, expected) in cases {
        match read(text).kind {
            ExprKind::Number(NumberLiteral { value, .. }) => assert_eq!(value, expected, "{text}"),
            other => panic!("{text} was read as {other:?}"),
        }
    }
    let ExprKind::Number(nan) = read("NaN").kind else { panic!("a number") };
    assert_eq!(nan.value.to_bits(), model::sample::NORMAL_NAN_BITS);
}

#[test]
fn strings_take_the_escapes_of_go() {
    let cases = [
        (r#""a\a\b\f\n\r\t\v\\\"'""#, "a\x07\x08\x0c\n\r\t\x0b\\\"'"),
        (r#"'\'"\x41\101\u00e9\U0001F600'"#, "'\"AAé😀"),
        (r#""\xc3\xa9""#, "é"),
        ("`\\n\n\"'`", "\\n\n\"'"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).kind, ExprKind::String(expected.to_owned()), "{text}");
    }
}

#[test]
fn keywords_are_names_where_no_keyword_can_stand() {
    for name in
        ["sum", "by", "offset", "and", "or", "unless", "start", "step", "range", "anchored", "fill", "min_of", "count"]
    {
        let text = format!("{name} + {name}{{{name}=\"x\"}}");
        assert_eq!(read(&text).to_string(), text);
    }
    let labels = "by, on, bool, atan2, offset, group_left, ignoring, sum, and, start, fill, smoothed, max_of";
    let text = format!("sum by ({labels}) (x)");
    assert_eq!(read(&text).to_string(), text);
    assert_eq!(read("SUM BY (a) (x OFFSET 5m) AND ON () y").to_string(), "sum by (a) (x offset 5m) and on () y");
    assert_eq!(read("start{a=\"b\"} @ start() + start()").to_string(), "start{a=\"b\"} @ start() + start()");
}

#[test]
fn selectors_hold_the_name_among_the_matchers() {
    let ExprKind::VectorSelector(selector) = read(r#"foo{a="1", "b.c"!~'x|y',}"#).kind else { panic!("a selector") };
    let regex = Matcher::new(MatchOp::NotRegex, "b.c", "x|y").expect("a valid pattern");
    assert_eq!(selector.matchers, [Matcher::equal("a", "1"), regex, Matcher::equal("__name__", "foo")]);
    assert!(selector.is_named);
    let ExprKind::VectorSelector(quoted) = read(r#"{"my metric", a="1"}"#).kind else { panic!("a selector") };
    assert_eq!(quoted.matchers, [Matcher::equal("__name__", "my metric"), Matcher::equal("a", "1")]);
    assert!(!quoted.is_named);
}

#[test]
fn series_selectors_may_match_everything() {
    assert_eq!(parse_metric_selector("{}").expect("the caller's business"), []);
    assert_eq!(parse_metric_selector(" by # name\n").expect("a name"), [Matcher::equal("__name__", "by")]);
    assert_eq!(parse_metric_selector("{'a'}").expect("a name"), [Matcher::equal("__name__", "a")]);
}

#[test]
fn modifiers_come_in_any_order() {
    for text in ["a[5m] offset 1m @ 7.5 anchored", "a[5m] anchored @ 7.5 offset 1m", "a[5m] @ 7.5 anchored offset 60"] {
        let ExprKind::MatrixSelector(matrix) = read(text).kind else { panic!("{text}: a range selector") };
        assert_eq!(matrix.range, Duration::Literal(300_000));
        assert_eq!(matrix.selector.modifiers.offset, Some(Duration::Literal(60_000)));
        assert_eq!(matrix.selector.modifiers.at, Some(At::Time(7_500)));
        assert_eq!(matrix.selector.extension, Some(Extension::Anchored));
    }
    let ExprKind::Subquery(subquery) = read("rate(a[1m])[1h:] @ end() offset -1d").kind else { panic!("a subquery") };
    assert_eq!((subquery.range, subquery.step), (Duration::Literal(3_600_000), None));
    assert_eq!(subquery.modifiers.offset, Some(Duration::Literal(-86_400_000)));
    assert_eq!(subquery.modifiers.at, Some(At::End));
}

#[test]
fn duration_arithmetic_is_kept_for_the_engine() {
    let ExprKind::MatrixSelector(matrix) = read("a[-2 ^ step() + (range())]").kind else { panic!("a range selector") };
    let Duration::Expr(sum) = matrix.range else { panic!("an expression") };
    let DurationExpr::Binary(_, power, range) = *sum else { panic!("a sum") };
    assert!(matches!(*power, DurationExpr::Negate(_)), "{power:?}");
    assert_eq!(*range, DurationExpr::Paren(Box::new(DurationExpr::Range)));
    let ExprKind::MatrixSelector(matrix) = read("a[((90))]").kind else { panic!("a range selector") };
    assert_eq!(matrix.range, Duration::Literal(90_000));
}

#[test]
fn vector_matching_stays_between_vectors_only() {
    let matching = |text: &str| match read(text).kind {
        ExprKind::Binary(binary) => binary.matching,
        other => panic!("{text} was read as {other:?}"),
    };
    assert_eq!(matching("1 + a"), None);
    assert_eq!(matching("a > bool on() 1"), None);
    assert_eq!(matching("a and b").map(|it| it.cardinality), Some(Cardinality::ManyToMany));
    let many = matching("a / ignoring(x) group_right(y, \"z.z\") fill_right(-1) b").expect("between vectors");
    assert_eq!(many.cardinality, Cardinality::OneToMany);
    assert_eq!(
        (many.on, many.labels, many.include),
        (false, vec!["x".to_owned()], vec!["y".to_owned(), "z.z".to_owned()])
    );
    assert_eq!((many.fill_left, many.fill_right), (None, Some(-1.0)));
}

#[test]
fn types_follow_from_the_parts() {
    let cases = [
        ("1 + 1", ValueType::Scalar),
        ("-(time())", ValueType::Scalar),
        ("1 + vector(1)", ValueType::Vector),
        ("sum(a)", ValueType::Vector),
        ("a[5m]", ValueType::Matrix),
        ("a[5m:1m]", ValueType::Matrix),
        ("('a')", ValueType::String),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).value_type(), expected, "{text}");
    }
}

#[test]
fn spans_cover_the_text_of_the_node() {
    let text = "  sum by (a) (rate(b[5m] offset 1m)) # all\n / -c  ";
    let ExprKind::Binary(binary) = read(text).kind else { panic!("a quotient") };
    let covered = |span: Span| &text[span.start..span.end];
    assert_eq!(covered(binary.left.span), "sum by (a) (rate(b[5m] offset 1m))");
    assert_eq!(covered(binary.right.span), "-c");
    let ExprKind::Aggregate(aggregate) = binary.left.kind else { panic!("a sum") };
    assert_eq!(covered(aggregate.operand.span), "rate(b[5m] offset 1m)");
}
