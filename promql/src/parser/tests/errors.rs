//! What is refused, in which words and at which position.

use super::super::{ParseOptions, parse, parse_metric_selector};

fn refuses(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        match parse(text, &ParseOptions::all()) {
            Ok(expr) => panic!("{text:?} should be refused with {expected:?}, was read as {expr}"),
            Err(error) => assert_eq!(error.to_string(), *expected, "{text:?}"),
        }
    }
}

#[test]
fn characters_that_make_no_token() {
    refuses(&[
        (r#""unterminated"#, "1:1: parse error: unterminated quoted string"),
        ("'unterminated", "1:1: parse error: unterminated quoted string"),
        ("`unterminated", "1:1: parse error: unterminated raw string"),
        ("\"a\nb\"", "1:1: parse error: unterminated quoted string"),
        (r#""\q""#, "1:1: parse error: unknown escape sequence U+0071 'q'"),
        (r#""\'""#, "1:1: parse error: unknown escape sequence U+0027 '''"),
        (r#"'\"'"#, r#"1:1: parse error: unknown escape sequence U+0022 '"'"#),
        (r#""\x1""#, r#"1:1: parse error: illegal character U+0022 '"' in escape sequence"#),
        (r#""\xzz""#, "1:1: parse error: illegal character U+007A 'z' in escape sequence"),
        (r#""\u12""#, r#"1:1: parse error: illegal character U+0022 '"' in escape sequence"#),
        (r#""\ud800""#, "1:1: parse error: escape sequence is an invalid Unicode code point"),
        (r#""\400""#, "1:1: parse error: escape sequence is an invalid Unicode code point"),
        (r#""\xff""#, r#"1:1: parse error: error unquoting string "\"\\xff\"": not valid UTF-8"#),
        ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
        ("foo]", "1:4: parse error: unexpected right bracket ']'"),
        ("foo{{}}", "1:5: parse error: unexpected left brace '{'"),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        (r#"foo{a!"b"}"#, r#"1:6: parse error: unexpected character after '!' inside braces: '"'"#),
        (r#"foo{1="b"}"#, "1:5: parse error: unexpected character inside braces: '1'"),
        ("sum(foo", "1:8: parse error: unclosed left parenthesis"),
        ("(", "1:2: parse error: unclosed left parenthesis"),
        ("foo ~", "1:5: parse error: unexpected character: '~'"),
        ("foo =~ bar", "1:5: parse error: unexpected character after '=': '~'"),
        ("foo ! bar", "1:5: parse error: unexpected character after '!': ' '"),
        ("foo $ bar", "1:5: parse error: unexpected character: '$'"),
        ("foo é bar", "1:5: parse error: unexpected character: 'é'"),
        ("1.2.3", r#"1:1: parse error: bad number or duration syntax: "1.2.""#),
        ("1e", r#"1:1: parse error: bad number or duration syntax: "1e""#),
        ("1e5e5", r#"1:1: parse error: bad number or duration syntax: "1e5e""#),
        ("1_", r#"1:1: parse error: bad number or duration syntax: "1_""#),
        ("123abc", r#"1:1: parse error: bad number or duration syntax: "123""#),
        ("0b1", r#"1:1: parse error: bad number or duration syntax: "0""#),
        ("5mm", r#"1:1: parse error: bad number or duration syntax: "5mm""#),
        ("foo[5m[", "1:7: parse error: unexpected left bracket '['"),
        (
            "1e1000",
            r#"1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e1000": value out of range"#,
        ),
        ("0x", r#"1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax"#),
        ("1__0", r#"1:1: parse error: bad number or duration syntax: "1__""#),
        ("1ms7s", r#"1:1: parse error: not a valid duration string: "1ms7s""#),
        ("5s1m", r#"1:1: parse error: not a valid duration string: "5s1m""#),
        ("300y", "1:1: parse error: duration out of range"),
        ("1e5m", r#"1:1: parse error: unknown unit "e" in duration "1e5m""#),
    ]);
}

#[test]
fn tokens_out_of_place() {
    refuses(&[
        ("foo bar", r#"1:5: parse error: unexpected identifier "bar""#),
        ("foo 1", r#"1:5: parse error: unexpected number "1""#),
        ("foo 5m", r#"1:5: parse error: unexpected duration "5m""#),
        ("1 1", r#"1:3: parse error: unexpected number "1""#),
        (r#"foo "abcdefghijkl""#, r#"1:5: parse error: unexpected string "\"abcdefghi"..."#),
        ("foo 12345678901", r#"1:5: parse error: unexpected number "1234567890"..."#),
        ("foo by", "1:5: parse error: unexpected <by>"),
        ("foo = bar", r#"1:5: parse error: unexpected "=""#),
        ("foo bool", "1:5: parse error: unexpected <bool>"),
        ("foo :bar", r#"1:5: parse error: unexpected metric identifier ":bar""#),
        (")", "1:2: parse error: unexpected right parenthesis ')'"),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo a:b", r#"1:5: parse error: unexpected metric identifier "a:b""#),
        ("* 1", "1:1: parse error: unexpected <op:*>"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo and", "1:8: parse error: unexpected end of input"),
        ("foo atan2", "1:10: parse error: unexpected end of input"),
        ("foo group_left", "1:5: parse error: unexpected <group_left>"),
        ("on", "1:1: parse error: unexpected <on>"),
        ("bool", "1:1: parse error: unexpected <bool>"),
        (r#"foo{a="b"}{c="d"}"#, r#"1:11: parse error: unexpected "{""#),
        ("foo @ 5 @", "1:10: parse error: unexpected end of input in @, expected timestamp"),
        ("()", r#"1:2: parse error: unexpected ")""#),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("rate(foo[5m] 1)", r#"1:14: parse error: unexpected number "1""#),
        ("foo {} bar", r#"1:8: parse error: unexpected identifier "bar""#),
    ]);
}

#[test]
fn tokens_out_of_place_name_what_was_being_read() {
    refuses(&[
        ("sum(", "1:5: parse error: unclosed left parenthesis"),
        ("sum(1 2)", r#"1:7: parse error: unexpected number "2" in aggregation"#),
        ("sum by foo", r#"1:8: parse error: unexpected identifier "foo" in grouping opts, expected "(""#),
        ("sum by (a) foo", r#"1:12: parse error: unexpected identifier "foo" in aggregation"#),
        ("sum (bar) by", r#"1:13: parse error: unexpected end of input in grouping opts, expected "(""#),
        ("sum (bar) by (", "1:15: parse error: unclosed left parenthesis"),
        ("sum (bar) by (a b)", r#"1:17: parse error: unexpected identifier "b" in grouping opts, expected "," or ")""#),
        ("sum (bar) by (1)", r#"1:15: parse error: unexpected number "1" in grouping opts, expected label"#),
        ("sum (bar) by (,)", r#"1:15: parse error: unexpected "," in grouping opts, expected label"#),
        ("sum (bar) by (without)", "1:15: parse error: unexpected <without> in grouping opts, expected label"),
        (r#"sum (bar) by ("")"#, r#"1:15: parse error: invalid label name for grouping: """#),
        ("foo + on bar", r#"1:10: parse error: unexpected identifier "bar" in grouping opts, expected "(""#),
        ("foo + on(a) group_left =", r#"1:24: parse error: unexpected "=" in grouping opts, expected "(""#),
        ("foo{a}", r#"1:6: parse error: unexpected "}" in label matching, expected label matching operator"#),
        ("foo{a=}", r#"1:7: parse error: unexpected "}" in label matching, expected string"#),
        ("foo{a=b}", r#"1:7: parse error: unexpected identifier "b" in label matching, expected string"#),
        (
            "foo{a b}",
            r#"1:7: parse error: unexpected identifier "b" in label matching, expected label matching operator"#,
        ),
        (r#"foo{"a" b}"#, r#"1:9: parse error: unexpected identifier "b" in label matching, expected "," or "}""#),
        ("foo{,}", r#"1:5: parse error: unexpected "," in label matching, expected identifier or "}""#),
        (r#"foo{a="b",,}"#, r#"1:11: parse error: unexpected "," in label matching, expected identifier or "}""#),
        (
            r#"foo{a="b" c="d"}"#,
            r#"1:11: parse error: unexpected identifier "c" in label matching, expected "," or "}""#,
        ),
        ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ bar", r#"1:7: parse error: unexpected identifier "bar" in @, expected timestamp"#),
        ("foo @ start", "1:12: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ start(1)", r#"1:13: parse error: unexpected number "1" in @, expected timestamp"#),
        ("foo @ (5)", r#"1:7: parse error: unexpected "(" in @, expected timestamp"#),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo offset bar",
            r#"1:12: parse error: unexpected identifier "bar" in offset, expected number, duration, step(), or range()"#,
        ),
        (
            r#"foo offset "5m""#,
            r#"1:12: parse error: unexpected string "\"5m\"" in offset, expected number, duration, step(), or range()"#,
        ),
        (
            "foo offset -bar",
            r#"1:13: parse error: unexpected identifier "bar" in offset, expected number, duration, step(), or range()"#,
        ),
        ("foo offset (5m", "1:15: parse error: unclosed left parenthesis"),
        (
            "foo offset (5m+)",
            r#"1:16: parse error: unexpected ")" in offset, expected number, duration, step(), or range()"#,
        ),
        (
            "foo offset step",
            "1:16: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo[]",
            r#"1:5: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("foo[5m:", "1:8: parse error: unclosed left bracket"),
        ("foo[x]", "1:5: parse error: unexpected character in duration expression: 'x'"),
        ("foo[:]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo[:5m]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo[5m x]", "1:8: parse error: unexpected character: 'x', expected ':'"),
        ("foo[5m 5m]", r#"1:8: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]""#),
        (r#"foo["5m"]"#, r#"1:5: parse error: unexpected character in duration expression: '"'"#),
        (r#"foo[5m "a"]"#, r#"1:8: parse error: unexpected string "\"a\"" in subquery or range, expected ":" or "]""#),
        ("foo[5m:x]", "1:8: parse error: unexpected character: 'x', expected ':'"),
        ("foo[5m:5m:5m]", "1:10: parse error: unexpected colon ':'"),
        ("foo[5m:5m 5m]", r#"1:11: parse error: unexpected duration "5m" in subquery selector, expected "]""#),
        ("foo[5m:)]", "1:9: parse error: unexpected right parenthesis ')'"),
        (
            "foo[5m+]",
            r#"1:8: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        (
            "foo[(5m]",
            r#"1:8: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        (
            "foo[step(]",
            r#"1:10: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        (
            "foo[min_of(5m)]",
            r#"1:14: parse error: unexpected ")" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        ("foo[5m < 6m]", r#"1:8: parse error: unexpected <op:<> in subquery or range, expected ":" or "]""#),
        ("foo[+:5m]", "1:7: parse error: unexpected colon before duration in duration expression"),
        (
            "sum(foo offset bar)",
            r#"1:16: parse error: unexpected identifier "bar" in offset, expected number, duration, step(), or range()"#,
        ),
        ("sum(foo{a})", r#"1:10: parse error: unexpected "}" in label matching, expected label matching operator"#),
    ]);
}

#[test]
fn durations_that_are_none() {
    refuses(&[
        ("foo[0]", "1:5: parse error: duration must be greater than 0"),
        ("foo[0s]", "1:5: parse error: duration must be greater than 0"),
        ("foo[-5m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[0.0004]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m:0]", "1:8: parse error: duration must be greater than 0"),
        ("foo[NaN]", "1:5: parse error: unexpected character in duration expression: 'N'"),
        ("foo[1e30]", "1:5: parse error: duration out of range"),
        ("foo offset 1e30", "1:12: parse error: duration out of range"),
        ("foo offset -1e30", "1:12: parse error: duration out of range"),
        ("foo[5m/0]", "1:7: parse error: division by zero"),
        ("foo[5m%(0)]", "1:7: parse error: modulo by zero"),
        ("foo[300y]", "1:5: parse error: duration out of range"),
        ("foo[1h5h]", r#"1:5: parse error: not a valid duration string: "1h5h""#),
    ]);
}

#[test]
fn modifiers_where_they_can_not_stand() {
    refuses(&[
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "(foo) offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "sum(foo) @ 5",
            "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("(foo)[5m]", "1:6: parse error: ranges only allowed for vector selectors"),
        ("1[5m]", "1:2: parse error: ranges only allowed for vector selectors"),
        ("foo[5m][5m]", "1:8: parse error: ranges only allowed for vector selectors"),
        ("foo[5m:][5m]", "1:9: parse error: ranges only allowed for vector selectors"),
        ("foo offset 5m [5m]", "1:15: parse error: no offset modifiers allowed before range"),
        ("foo @ 5 [5m]", "1:9: parse error: no @ modifiers allowed before range"),
        ("foo offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
        ("foo offset (1+1) offset 5m", "1:1: parse error: offset may not be set multiple times"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("foo @ start() @ end()", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("foo @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("foo @ -inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"),
        ("foo @ nan", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
        (
            "foo @ 1e30",
            "1:1: parse error: timestamp out of bounds for @ modifier: 1000000000000000019884624838656.000000",
        ),
        ("foo anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("foo[5m] smoothed anchored", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("foo[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("1 smoothed", "1:1: parse error: smoothed modifier not implemented"),
    ]);
}

#[test]
fn calls() {
    refuses(&[
        ("foo(bar)", r#"1:1: parse error: unknown function with name "foo""#),
        ("RATE(foo[5m])", r#"1:1: parse error: unknown function with name "RATE""#),
        ("rate(foo)", r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#),
        ("rate()", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 0"#),
        ("rate(foo[5m], 1)", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 2"#),
        ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
        ("foo(,)", r#"1:5: parse error: unexpected ",""#),
        ("round()", r#"1:1: parse error: expected at least 1 argument(s) in call to "round", got 0"#),
        ("round(foo,1,2)", r#"1:1: parse error: expected at most 2 argument(s) in call to "round", got 3"#),
        (
            "round(foo, foo)",
            r#"1:12: parse error: expected type scalar in call to function "round", got instant vector"#,
        ),
        (
            r#"label_join(foo,"a")"#,
            r#"1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2"#,
        ),
        (
            r#"label_join(foo,"a","b",1)"#,
            r#"1:24: parse error: expected type string in call to function "label_join", got scalar"#,
        ),
        ("pi(1)", r#"1:1: parse error: expected 0 argument(s) in call to "pi", got 1"#),
        ("time(1)", r#"1:1: parse error: expected 0 argument(s) in call to "time", got 1"#),
        ("hour(1)", r#"1:6: parse error: expected type instant vector in call to function "hour", got scalar"#),
        ("vector(foo)", r#"1:8: parse error: expected type scalar in call to function "vector", got instant vector"#),
        ("scalar(1)", r#"1:8: parse error: expected type instant vector in call to function "scalar", got scalar"#),
        (
            r#"predict_linear(foo[5m], "a")"#,
            r#"1:25: parse error: expected type scalar in call to function "predict_linear", got string"#,
        ),
        (
            "histogram_quantile(0.9, foo[5m])",
            r#"1:25: parse error: expected type instant vector in call to function "histogram_quantile", got range vector"#,
        ),
        (
            r#"histogram_quantiles(foo, "q")"#,
            r#"1:1: parse error: expected at least 3 argument(s) in call to "histogram_quantiles", got 2"#,
        ),
        ("info(foo, bar)", "1:11: parse error: expected label selectors only, got vector selector instead"),
        ("info(foo, 1)", r#"1:1: parse error: expected type instant vector in call to function "info", got scalar"#),
        ("info(foo, (bar))", "1:11: parse error: expected label selectors only"),
        ("info(1)", r#"1:6: parse error: expected type instant vector in call to function "info", got scalar"#),
    ]);
}

#[test]
fn aggregations() {
    refuses(&[
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        (r#"sum("a")"#, "1:5: parse error: expected type instant vector in aggregation expression, got string"),
        ("sum(foo[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
        (
            "sum(foo, bar)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
        ),
        ("sum(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("topk(foo, bar)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        (r#"topk("a", foo)"#, "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        (
            "topk(1, foo, 2)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 3",
        ),
        ("count_values(1, foo)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("quantile(0.9, 1)", "1:15: parse error: expected type instant vector in aggregation expression, got scalar"),
    ]);
}

#[test]
fn operators() {
    refuses(&[
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("1 + bool 1", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("foo and bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo and 1", r#"1:1: parse error: set operator "and" not allowed in binary scalar expression"#),
        ("1 or foo", r#"1:1: parse error: set operator "or" not allowed in binary scalar expression"#),
        ("1 unless 1", r#"1:1: parse error: set operator "unless" not allowed in binary scalar expression"#),
        ("foo and on(a) group_left bar", r#"1:1: parse error: no grouping allowed for "and" operation"#),
        ("foo or ignoring(a) group_right bar", r#"1:1: parse error: no grouping allowed for "or" operation"#),
        (
            "foo + on(a) group_left(a) bar",
            r#"1:5: parse error: label "a" must not occur in ON and GROUP clause at once"#,
        ),
        (
            "foo  +  on(a,b) group_right(c,b) bar",
            r#"1:6: parse error: label "b" must not occur in ON and GROUP clause at once"#,
        ),
        ("foo + on(a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("1 + ignoring(a) foo", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("foo[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("1 + foo[5m]", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
        (r#""a" + 1"#, "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        (
            r#"-"a""#,
            r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "string""#,
        ),
        (
            "-foo[5m]",
            r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector""#,
        ),
        (
            "+(foo[5m:])",
            r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector""#,
        ),
        ("foo + fill(0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("foo and fill(0) bar", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("foo + fill(a) bar", r#"1:12: parse error: unexpected identifier "a""#),
        ("foo + fill(0) fill_left(1) bar", "1:15: parse error: unexpected <fill_left>"),
        (
            "rate(foo[5m])[5m:] * 2",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
        ("(foo[5m])[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        (r#""a"[5m:]"#, "1:1: parse error: subquery is only allowed on instant vector, got string instead"),
    ]);
}

#[test]
fn selectors() {
    refuses(&[
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"{a=""}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"{a=~".*"}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"{a!="x"}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"foo{__name__="bar"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "bar""#),
        (r#"foo{"bar"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "bar""#),
        (r#"foo{__name__=~"b|c"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "b|c""#),
        (r#"foo{a=~"("}"#, "1:5: parse error: error parsing regexp: unclosed group: `(`"),
        ("rate({}[5m])", "1:6: parse error: vector selector must contain at least one non-empty matcher"),
        ("sum(foo) + {}", "1:12: parse error: vector selector must contain at least one non-empty matcher"),
    ]);
}

#[test]
fn positions_count_lines_and_bytes() {
    refuses(&[
        ("   ", "1:1: parse error: no expression found in input"),
        ("# comment", "1:1: parse error: no expression found in input"),
        ("foo\n+\nbar)", "3:5: parse error: unexpected right parenthesis ')'"),
        (
            "foo\n  offset bar",
            r#"2:10: parse error: unexpected identifier "bar" in offset, expected number, duration, step(), or range()"#,
        ),
        ("\n\n  sum(", "3:7: parse error: unclosed left parenthesis"),
        ("foo # )\n )", "2:3: parse error: unexpected right parenthesis ')'"),
        ("1 +\n\t\n 1 == 1", "3:4: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo\r\n+ ba r", r#"2:6: parse error: unexpected identifier "r""#),
    ]);
}

#[test]
fn an_empty_text_has_no_position() {
    refuses(&[("", "unknown position: parse error: no expression found in input")]);
    let error = parse_metric_selector("").expect_err("nothing there");
    assert_eq!(error.to_string(), "unknown position: parse error: unexpected end of input");
}

#[test]
fn series_selectors_are_no_expressions() {
    let cases = [
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("foo[5m]", "1:4: parse error: unexpected \"[\""),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo offset 5m", "1:5: parse error: unexpected <offset>"),
        ("sum(x)", "1:4: parse error: unexpected \"(\""),
        ("5", "1:1: parse error: unexpected number \"5\""),
        ("(foo)", "1:1: parse error: unexpected \"(\""),
    ];
    for (text, expected) in cases {
        let error = parse_metric_selector(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_experimental_names_the_flag_that_allows_it() {
    let functions = "set --enable-feature=promql-experimental-functions";
    let ranges = "set --enable-feature=promql-extended-range-selectors";
    let fills = "set --enable-feature=promql-binop-fill-modifiers";
    let cases = [
        ("1 + info(foo)", format!("1:5: parse error: function \"info\" is not enabled, {functions}")),
        ("start()", format!("1:1: parse error: function \"start\" is not enabled, {functions}")),
        (
            "limitk(1, foo)",
            "1:1: parse error: limitk() is experimental and must be enabled with \
             --enable-feature=promql-experimental-functions"
                .to_owned(),
        ),
        ("1 + foo anchored", format!("1:5: parse error: anchored modifier is experimental and not enabled, {ranges}")),
        (
            "rate(foo[5m] smoothed)",
            format!("1:6: parse error: smoothed modifier is experimental and not enabled, {ranges}"),
        ),
        (
            "1 + (foo + fill(0) bar)",
            format!("1:6: parse error: binop fill modifiers are experimental and not enabled, {fills}"),
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text, &ParseOptions::default()).expect_err(text);
        assert_eq!(error.to_string(), expected);
        parse(text, &ParseOptions::all()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
