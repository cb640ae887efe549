//! `format_query` and `parse_query`: the language without the data.

use axum::{extract::State, response::Response};
use promql::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, DurationExpr, Expr, ExprKind, MatrixSelector, Modifiers,
    Subquery, UnaryOp, ValueType, VectorMatching, VectorSelector,
};

use super::selectors::parse_query;
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::{Json, number},
};

pub(super) async fn format(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let expr = parsed(&shared, &params)?;
    Ok(success(
        |json| {
            json.string(&expr.to_string());
        },
        &[],
    ))
}

pub(super) async fn parse(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let expr = parsed(&shared, &params)?;
    Ok(success(|json| write_expr(json, &expr), &[]))
}

fn parsed(shared: &Shared, params: &Params) -> Result<Expr, ApiError> {
    parse_query(params.get("query").unwrap_or_default(), &shared.flags.parse_options())
}

/// One node; keys are in alphabetical order, as Prometheus sends them.
fn write_expr(json: &mut Json, expr: &Expr) {
    json.object();
    let name = match &expr.kind {
        ExprKind::Number(literal) => {
            json.key("type").string("numberLiteral").key("val").string(&plain(literal.value));
            json.end_object();
            return;
        }
        ExprKind::String(text) => {
            json.key("type").string("stringLiteral").key("val").string(text).end_object();
            return;
        }
        ExprKind::Paren(inner) => {
            write_expr(json.key("expr"), inner);
            "parenExpr"
        }
        ExprKind::Unary(unary) => {
            write_expr(json.key("expr"), &unary.operand);
            json.key("op").string(match unary.op {
                UnaryOp::Plus => "+",
                UnaryOp::Minus => "-",
            });
            "unaryExpr"
        }
        ExprKind::Binary(binary) => write_binary(json, binary),
        ExprKind::Aggregate(aggregate) => {
            write_aggregate(json, aggregate);
            return;
        }
        ExprKind::Call(call) => write_call(json, call),
        ExprKind::VectorSelector(selector) => {
            write_selector(json, selector, None);
            "vectorSelector"
        }
        ExprKind::MatrixSelector(matrix) => {
            let MatrixSelector { selector, range } = matrix.as_ref();
            write_selector(json, selector, Some(range));
            "matrixSelector"
        }
        ExprKind::Subquery(subquery) => write_subquery(json, subquery),
    };
    json.key("type").string(name).end_object();
}

fn plain(value: f64) -> String {
    let mut out = Vec::new();
    number::push_plain(&mut out, value);
    String::from_utf8(out).expect("digits are ASCII")
}

fn write_binary(json: &mut Json, binary: &Binary) -> &'static str {
    json.key("bool").bool(binary.return_bool);
    write_expr(json.key("lhs"), &binary.left);
    match &binary.matching {
        None => {
            json.key("matching").raw(b"null");
        }
        Some(matching) => write_matching(json.key("matching"), matching),
    }
    json.key("op").string(binary.op.as_str());
    write_expr(json.key("rhs"), &binary.right);
    "binaryExpr"
}

fn write_matching(json: &mut Json, matching: &VectorMatching) {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json.object().key("card").string(cardinality);
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        json.key("fillValues").object();
        for (key, value) in [("lhs", matching.fill_left), ("rhs", matching.fill_right)] {
            if let Some(value) = value {
                json.key(key).string(&plain(value));
            }
        }
        json.end_object();
    }
    json.key("include").strings(matching.include.iter().map(String::as_str));
    json.key("labels").strings(matching.labels.iter().map(String::as_str));
    json.key("on").bool(matching.on).end_object();
}

fn write_aggregate(json: &mut Json, aggregate: &Aggregate) {
    write_expr(json.key("expr"), &aggregate.operand);
    json.key("grouping").strings(aggregate.grouping.iter().map(String::as_str));
    json.key("op").string(aggregate.op.as_str()).key("param");
    match &aggregate.parameter {
        None => {
            json.raw(b"null");
        }
        Some(parameter) => write_expr(json, parameter),
    }
    json.key("type").string("aggregation").key("without").bool(aggregate.without).end_object();
}

fn write_call(json: &mut Json, call: &Call) -> &'static str {
    json.key("args").array();
    call.args.iter().for_each(|arg| write_expr(json, arg));
    json.end_array().key("func").object().key("argTypes");
    json.strings(call.function.args.iter().map(|arg| type_name(*arg)));
    json.key("name").string(call.function.name).key("returnType").string(type_name(call.function.returns));
    json.key("variadic").integer(call.function.variadic).end_object();
    "call"
}

/// As the types are called in data, not in messages.
fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

fn write_selector(json: &mut Json, selector: &VectorSelector, range: Option<&Duration>) {
    json.key("matchers").array();
    for matcher in &selector.matchers {
        json.object().key("name").string(matcher.name()).key("type").string(matcher.op().as_str());
        json.key("value").string(matcher.value()).end_object();
    }
    let name = selector.matchers.last().filter(|_| selector.is_named).map_or("", |matcher| matcher.value());
    json.end_array().key("name").string(name);
    write_modifiers(json, &selector.modifiers);
    if let Some(range) = range {
        write_duration(json, "range", "rangeExpr", Some(range));
    }
    write_at(json, &selector.modifiers);
}

fn write_subquery(json: &mut Json, subquery: &Subquery) -> &'static str {
    write_expr(json.key("expr"), &subquery.operand);
    write_modifiers(json, &subquery.modifiers);
    write_duration(json, "range", "rangeExpr", Some(&subquery.range));
    write_duration(json, "step", "stepExpr", subquery.step.as_ref());
    write_at(json, &subquery.modifiers);
    "subquery"
}

fn write_modifiers(json: &mut Json, modifiers: &Modifiers) {
    write_duration(json, "offset", "offsetExpr", modifiers.offset.as_ref());
}

fn write_at(json: &mut Json, modifiers: &Modifiers) {
    json.key("startOrEnd");
    match modifiers.at {
        Some(At::Start) => json.string("start"),
        Some(At::End) => json.string("end"),
        Some(At::Time(_)) | None => json.raw(b"null"),
    };
    json.key("timestamp");
    match modifiers.at {
        Some(At::Time(ms)) => json.integer(ms),
        Some(At::Start | At::End) | None => json.raw(b"null"),
    };
}

/// Milliseconds; arithmetic that is not settled before the query runs comes as a tree beside a zero.
fn write_duration(json: &mut Json, key: &str, expr_key: &str, duration: Option<&Duration>) {
    match duration {
        None => {
            json.key(key).integer(0);
        }
        Some(Duration::Literal(ms)) => {
            json.key(key).integer(*ms);
        }
        Some(Duration::Expr(expr)) => {
            json.key(key).integer(0);
            write_duration_expr(json.key(expr_key), expr);
        }
    }
}

fn write_duration_expr(json: &mut Json, expr: &DurationExpr) {
    json.object();
    match expr {
        DurationExpr::Number(literal) => {
            json.key("type").string("numberLiteral").key("val").string(&plain(literal.value)).end_object();
            return;
        }
        DurationExpr::Step => {
            json.key("op").string("step");
        }
        DurationExpr::Range => {
            json.key("op").string("range");
        }
        DurationExpr::Negate(inner) => {
            json.key("op").string("-");
            write_duration_expr(json.key("rhs"), inner);
        }
        DurationExpr::Paren(inner) => {
            write_duration_expr(json.key("expr"), inner);
            json.key("type").string("parenExpr").end_object();
            return;
        }
        DurationExpr::Binary(op, left, right) => write_two(json, op.as_str(), left, right),
        DurationExpr::MinOf(left, right) => write_two(json, "min_of", left, right),
        DurationExpr::MaxOf(left, right) => write_two(json, "max_of", left, right),
    }
    json.key("type").string("durationExpr").end_object();
}

fn write_two(json: &mut Json, op: &str, left: &DurationExpr, right: &DurationExpr) {
    write_duration_expr(json.key("lhs"), left);
    json.key("op").string(op);
    write_duration_expr(json.key("rhs"), right);
}
