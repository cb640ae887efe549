//! Input made to break the parser: too long, too deep, random, mutated.

use std::thread;

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, proptest},
    sample::Index,
};

use super::{
    super::{DEPTH_MAX, TEXT_BYTES_MAX},
    ParseOptions, assert_round_trip, conformance, parse, parse_metric_selector,
};

/// Builds texts of some nesting, one for each way to nest.
fn nests() -> [fn(usize) -> String; 10] {
    [
        |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}a", "-".repeat(depth)),
        |depth| format!("a{}", " + a".repeat(depth)),
        |depth| format!("a{}", " ^ a".repeat(depth)),
        |depth| format!("{}a{}", "abs(".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}a{}", "sum by (x) (".repeat(depth), ")".repeat(depth)),
        |depth| format!("a[5m{}]", " + 5m".repeat(depth)),
        |depth| format!("a offset {}step(){}", "(1 + ".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}1{}", "(1 + (1 * ".repeat(depth), "))".repeat(depth)),
        |depth| format!("{}a{}", "rate(".repeat(depth), "[1m:])".repeat(depth)),
    ]
}

#[test]
fn nesting_beyond_the_limit_is_refused_by_name() {
    for nest in nests() {
        let text = nest(TEXT_BYTES_MAX / 32);
        let error = parse(&text, &ParseOptions::all()).expect_err("far too deep");
        assert!(error.message.starts_with("expression is nested deeper than the "), "{}: {error}", &text[..20]);
    }
}

/// Goal: whatever parses can be walked recursively. Method: for each way to nest, find the deepest text that still parses, on a
/// stack of half a thread's usual size, and print, compare and drop its tree there.
#[test]
fn the_deepest_tree_fits_half_a_stack() {
    let walk = || {
        for nest in nests() {
            let deepest = (1..=DEPTH_MAX).rev().find_map(|depth| parse(&nest(depth), &ParseOptions::all()).ok());
            let expr = deepest.expect("one level is allowed");
            assert_eq!(expr, expr.clone());
            assert_round_trip("the deepest", &expr);
        }
    };
    let thread = thread::Builder::new().stack_size(1 << 20).spawn(walk).expect("a thread");
    thread.join().expect("no overflow and no failed assertion");
}

#[test]
fn a_long_chain_within_the_limit_parses() {
    let text = vec!["some_metric{a=\"b\"}"; DEPTH_MAX - 1].join(" or ");
    parse(&text, &ParseOptions::default()).expect("as high as allowed");
}

#[test]
fn regular_expressions_beyond_the_limit_are_refused_by_name() {
    let with = |count: usize| format!("a{{{}}}", "b=~\"c.*\",".repeat(count));
    parse(&with(256), &ParseOptions::default()).expect("as many as allowed");
    let error = parse(&with(257), &ParseOptions::default()).expect_err("one too many");
    assert_eq!(error.message, "query has more than the 256 regular expressions allowed, split it up");
}

/// Lists as long as the text allows must not be compared each with each.
#[test]
fn long_lists_of_labels_take_no_quadratic_time() {
    let labels = |prefix: &str| (0..60_000).map(|index| format!("{prefix}{index}")).collect::<Vec<_>>().join(",");
    let text = format!("a * on({}) group_left({}) b", labels("x"), labels("y"));
    parse(&text, &ParseOptions::default()).expect("long, but well-formed");
}

#[test]
fn a_text_beyond_the_limit_is_refused_by_name() {
    let text = format!("{{a=\"{}\"}}", "b".repeat(TEXT_BYTES_MAX));
    let error = parse(&text, &ParseOptions::default()).expect_err("too long");
    assert_eq!(error.message, "query is 1048582 bytes long, more than the 1048576 allowed");
    parse_metric_selector(&text).expect_err("too long");
    parse(&text[..TEXT_BYTES_MAX - 2].replace("{a=", "a{a="), &ParseOptions::default()).expect_err("only unfinished");
}

/// Neither panics, and what parses survives printing.
fn try_parse(text: &str) {
    if let Ok(expr) = parse(text, &ParseOptions::all()) {
        assert_round_trip(text, &expr);
    }
    drop(parse(text, &ParseOptions::default()));
    drop(parse_metric_selector(text));
}

/// Pieces of which a mutation takes one.
const PIECES: [&str; 64] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "!=",
    "=~",
    "!~",
    "@",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "<",
    ">=",
    "</",
    ">/",
    "#",
    "\n",
    " ",
    "\"",
    "'",
    "`",
    "\\",
    "\\xff",
    "é",
    "\u{fffd}",
    "0",
    "5m",
    "1e3",
    "0x1f",
    "1_0",
    "inf",
    "nan",
    ".",
    "foo",
    "a:b",
    "\"x\"",
    "sum",
    "topk",
    "rate(",
    "info(",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "fill(1)",
    "offset",
    "anchored",
    "start()",
    "step()",
    "max_of(",
    "and",
    "atan2",
    "or",
];

/// Deletes, inserts or replaces a stretch of up to four characters.
fn mutate(text: &str, at: Index, piece: Index, kind: u8) -> String {
    let chars: Vec<char> = text.chars().collect();
    let start = at.index(chars.len() + 1);
    let end = (start + usize::from(kind % 5)).min(chars.len());
    let piece = if kind.is_multiple_of(3) { "" } else { PIECES[piece.index(PIECES.len())] };
    chars[..start].iter().copied().chain(piece.chars()).chain(chars[end..].iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..60)) {
        try_parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces_never_panic(pieces in vec(any::<Index>(), 0..14), blanks in any::<bool>()) {
        let words: Vec<&str> = pieces.iter().map(|piece| PIECES[piece.index(PIECES.len())]).collect();
        try_parse(&words.join(if blanks { " " } else { "" }));
    }
}

#[test]
fn mutated_expressions_never_panic() {
    let evaluations = conformance::evaluations();
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        which in any::<Index>(),
        mutations in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..4),
    )| {
        let (_, text) = &evaluations[which.index(evaluations.len())];
        let mutated = mutations.iter().fold(text.clone(), |text, (at, piece, kind)| mutate(&text, *at, *piece, *kind));
        try_parse(&mutated);
    });
}
