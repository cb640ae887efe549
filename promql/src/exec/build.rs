//! From the plan to operators.

use std::sync::Arc;

use crate::{
    annotations::invalid_quantile,
    ast::{AggregateOp, BinaryOp, Extension, Span, ValueType},
    error::{QueryError, SAME_LABELSET},
    exec::{
        BoxOperator, Context, Empty, Operator, Result,
        aggregate::{
            Aggregation, count_values::count_values, counts, fold, histograms::WithHistograms, limit::Limited,
            quantile::QuantileCells, top::Top,
        },
        arithmetic::{self, Operation},
        batch::{Cell, Row, any, fill, words_for},
        broadcast::Broadcast,
        each_row,
        grid::{Grid, STEPS_MAX, Windows},
        join::Join,
        map::{self, Change, Map},
        matrix::{Matrix, Replay, SeriesInfo},
        merge::Merge,
        range::RangeInput,
        range_function::{RangeOperator, Windowed},
        selector::{SelectorOperator, Take},
        set::SetOperation,
    },
    functions::{
        Bound, Direction, Function, QueryParameter, absent,
        date::DateFunction,
        histogram::{self, Measure, Spans},
        info, label, math,
        over_time::RangeFunction,
        quantile,
        scalar::{self, Scalar},
        sort, starts,
    },
    histogram::FloatHistogram,
    plan::{Aggregate, Binary, Call, Node, NodeKind, Selector, TimeShift},
    value_text,
};

/// The operator of an expression that gives an instant vector.
pub(crate) fn vector<'q>(context: &'q Context<'q>, node: &Node, grid: Grid) -> Result<BoxOperator<'q>> {
    if grid.count == 0 {
        return Ok(Box::new(Empty));
    }
    match &node.kind {
        NodeKind::Selector(selector) => instant_selector(context, selector, node.span, grid, false),
        NodeKind::StepInvariant(inner) if grid.count == 1 => vector(context, inner, grid),
        NodeKind::StepInvariant(inner) => {
            Ok(Box::new(Broadcast::new(vector(context, inner, Grid::instant(grid.start))?)))
        }
        NodeKind::Negate(operand) => {
            let input = vector(context, operand, grid)?;
            let negate = map::cells(map::values(|value| -value), |_, histogram| Some(histogram.times(-1.0).into()));
            changed(context, input, grid, true, negate)
        }
        NodeKind::Binary(binary) => vector_binary(context, binary, node.span, grid),
        NodeKind::Aggregate(aggregate) => self::aggregate(context, aggregate, node.span, grid),
        NodeKind::Call(call) => vector_call(context, call, node.span, grid),
        NodeKind::Number(_) | NodeKind::String(_) | NodeKind::RangeSelector(_) | NodeKind::Subquery(_) => {
            unreachable!("the parser has checked that this is an instant vector")
        }
    }
}

fn instant_selector<'q>(
    context: &'q Context<'q>,
    selector: &Selector,
    span: Span,
    grid: Grid,
    is_timestamp: bool,
) -> Result<BoxOperator<'q>> {
    let take = match selector.extension {
        _ if is_timestamp => Take::Timestamp,
        Some(Extension::Smoothed) => Take::Smoothed,
        _ => Take::Value,
    };
    let windows = windows(grid, selector.time, context.options.lookback_ms);
    let operator = SelectorOperator::open(context, selector, windows, take, span)?;
    if is_timestamp { deduplicated(context, Box::new(operator), grid) } else { Ok(Box::new(operator)) }
}

fn windows(grid: Grid, time: TimeShift, range: i64) -> Windows {
    Windows { grid, at: time.at, offset: time.offset, range }
}

/// After the name is gone: joins series that have become the same.
fn deduplicated<'q>(context: &'q Context<'q>, operator: BoxOperator<'q>, grid: Grid) -> Result<BoxOperator<'q>> {
    if context.options.delayed_name_removal || operator.is_unique_without_name() {
        return Ok(operator);
    }
    Ok(Box::new(Merge::new(context, operator, grid.count, true, SAME_LABELSET)?))
}

fn changed<'q>(
    context: &'q Context<'q>,
    input: BoxOperator<'q>,
    grid: Grid,
    drops_name: bool,
    change: Change<'q>,
) -> Result<BoxOperator<'q>> {
    let operator = Box::new(Map::new(context, input, drops_name, change));
    if drops_name { deduplicated(context, operator, grid) } else { Ok(operator) }
}

/// The values of an expression that gives a number.
pub(crate) fn number<'q>(context: &'q Context<'q>, node: &Node, grid: Grid) -> Result<Scalar> {
    match &node.kind {
        NodeKind::Number(value) => Ok(Scalar::Constant(*value)),
        NodeKind::StepInvariant(inner) => {
            Ok(Scalar::Constant(number(context, inner, Grid::instant(grid.start))?.at(0)))
        }
        NodeKind::Negate(operand) => Ok(number(context, operand, grid)?.map(|value| -value)),
        NodeKind::Binary(binary) => {
            let (left, right) = (number(context, &binary.left, grid)?, number(context, &binary.right, grid)?);
            Ok(left.zip(right, |left, right| arithmetic::scalars(binary.op, left, right)))
        }
        NodeKind::Call(call) => number_call(context, call, grid),
        _ => unreachable!("the parser has checked that this is a number"),
    }
}

fn number_call<'q>(context: &'q Context<'q>, call: &Call, grid: Grid) -> Result<Scalar> {
    let seconds = |milliseconds: i64| milliseconds as f64 / 1000.0;
    Ok(match call.function {
        Function::Pi => Scalar::Constant(std::f64::consts::PI),
        Function::Time => Scalar::Steps(grid.times().map(seconds).collect()),
        Function::Query(parameter) => Scalar::Constant(seconds(match parameter {
            QueryParameter::Start => context.settings.start,
            QueryParameter::End => context.settings.end,
            QueryParameter::Step => context.settings.step,
            QueryParameter::Range => context.settings.end - context.settings.start,
        })),
        Function::Extremum(extremum) => {
            let (left, right) = (number(context, &call.args[0], grid)?, number(context, &call.args[1], grid)?);
            left.zip(right, |left, right| scalar::extremum(extremum, left, right))
        }
        Function::Scalar => {
            let mut operator = vector(context, &call.args[0], grid)?;
            scalar::of_vector(context, operator.as_mut(), grid.count)?
        }
        _ => unreachable!("the parser has checked that this function gives a number"),
    })
}

fn text(node: &Node) -> &str {
    match &node.unmarked().kind {
        NodeKind::String(text) => text,
        _ => unreachable!("the parser has checked that this is a string"),
    }
}

/// The operator of an expression that gives a range vector, and the windows at which it is looked at.
pub(crate) fn range<'q>(context: &'q Context<'q>, node: &Node, grid: Grid) -> Result<(RangeInput<'q>, Windows)> {
    match &node.unmarked().kind {
        NodeKind::RangeSelector(range) => {
            let windows = windows(grid, range.selector.time, range.range);
            Ok((RangeInput::stored(context, range, &windows)?, windows))
        }
        NodeKind::Subquery(subquery) => {
            let windows = windows(grid, subquery.time, subquery.range);
            // The first multiple of the step after the start of the first window, which is open on the left.
            let start = (windows.start(0).div_euclid(subquery.step) + 1) * subquery.step;
            let inner_grid = Grid::range(start, windows.last_end(), subquery.step);
            context.budget.check()?;
            if inner_grid.count > STEPS_MAX {
                let (count, span) = (inner_grid.count, node.span.start);
                let text = format!(
                    "subquery at byte {span} has {count} steps, at most {STEPS_MAX} are possible: widen its step"
                );
                return Err(QueryError::BadQuery(text));
            }
            let inner = match subquery.operand.value_type() {
                ValueType::Scalar => constant(context, number(context, &subquery.operand, inner_grid)?, inner_grid)?,
                _ => vector(context, &subquery.operand, inner_grid)?,
            };
            Ok((RangeInput::computed(context, inner, &inner_grid)?, windows))
        }
        _ => unreachable!("the parser has checked that this is a range vector"),
    }
}

/// One series without labels.
fn constant<'q>(context: &'q Context<'q>, scalar: Scalar, grid: Grid) -> Result<BoxOperator<'q>> {
    if grid.count == 0 {
        return Ok(Box::new(Empty));
    }
    let mut matrix = Matrix::new(context, grid.count);
    let values: Vec<f64> = (0..grid.count).map(|step| scalar.at(step)).collect();
    let mut valid = vec![0; words_for(grid.count)];
    fill(&mut valid, grid.count);
    matrix.push(0, Row::of_floats(&values, &valid))?;
    let info = SeriesInfo { labels: model::Labels::empty(), drops_name: false };
    Ok(Replay::new(vec![info], matrix, true).boxed())
}

fn vector_binary<'q>(context: &'q Context<'q>, binary: &Binary, span: Span, grid: Grid) -> Result<BoxOperator<'q>> {
    let Binary { op, left, right, return_bool, matching } = binary;
    let is_vector = |node: &Node| node.value_type() == ValueType::Vector;
    let operation = Operation { op: *op, return_bool: *return_bool, span };
    if let (true, true) = (is_vector(left), is_vector(right)) {
        let matching = matching.as_ref().expect("the parser gives two vectors a matching");
        let (left, right) = (vector(context, left, grid)?, vector(context, right, grid)?);
        if op.is_set() {
            let set = SetOperation::new(context, *op, left, right, matching, grid.count)?;
            return match op {
                BinaryOp::Or => Ok(Box::new(Merge::new(context, Box::new(set), grid.count, false, SAME_LABELSET)?)),
                _ => Ok(Box::new(set)),
            };
        }
        let join = Join::new(context, left, right, operation, matching, grid.count)?;
        if join.is_unique() {
            return Ok(Box::new(join));
        }
        let (conflict, nameless) = (join.conflict(), operation.drops_name() && !context.options.delayed_name_removal);
        return Ok(Box::new(Merge::new(context, Box::new(join), grid.count, nameless, conflict)?));
    }
    let swapped = is_vector(right);
    let (vector_side, scalar_side) = if swapped { (right, left) } else { (left, right) };
    let scalar = number(context, scalar_side, grid)?;
    let input = vector(context, vector_side, grid)?;
    let of_histogram = {
        let scalar = scalar.clone();
        move |step: usize, histogram: &Arc<FloatHistogram>| {
            let (vector, scalar) = (Cell::Histogram(histogram.clone()), Cell::Float(scalar.at(step)));
            match swapped {
                true => operation.cells(context, &scalar, &vector),
                false => operation.cells(context, &vector, &scalar),
            }
        }
    };
    let of_floats = if arithmetic::is_trim(*op) {
        trim_floats(context, operation)
    } else if op.is_comparison() && !return_bool {
        map::filter(*op, scalar, swapped)
    } else {
        map::with_scalar(*op, scalar, swapped, *return_bool)
    };
    let drops_name = operation.drops_name() && !arithmetic::is_trim(*op);
    changed(context, input, grid, drops_name, map::cells(of_floats, of_histogram))
}

/// Trimming has no meaning for floats: they are dropped, with a remark.
fn trim_floats<'q>(context: &'q Context<'q>, operation: Operation) -> Change<'q> {
    Box::new(move |batch| {
        for row in 0..batch.rows() {
            if any(batch.row(row).valid) {
                operation.cells(context, &Cell::Float(0.0), &Cell::Float(0.0));
            }
            batch.row_mut(row).valid.fill(0);
        }
    })
}

fn aggregate<'q>(context: &'q Context<'q>, aggregate: &Aggregate, span: Span, grid: Grid) -> Result<BoxOperator<'q>> {
    let steps = grid.count;
    let grouping = &aggregate.grouping;
    let parameter = |node: &Option<Node>| -> Result<Scalar> {
        number(context, node.as_ref().expect("the parser has checked that there is a parameter"), grid)
    };
    let parameter_span = aggregate.parameter.as_ref().map_or(span, |parameter| parameter.span);
    Ok(match aggregate.op {
        AggregateOp::TopK | AggregateOp::BottomK => {
            let checked = counts(&parameter(&aggregate.parameter)?);
            let (counts, input) = beside_operand(context, &aggregate.operand, grid, checked)?;
            let direction =
                if aggregate.op == AggregateOp::TopK { Direction::Descending } else { Direction::Ascending };
            Box::new(Top::new(context, input, grouping, &counts, direction, span, steps)?)
        }
        AggregateOp::LimitK => {
            let checked = counts(&parameter(&aggregate.parameter)?);
            let (counts, input) = beside_operand(context, &aggregate.operand, grid, checked)?;
            Box::new(Limited::first(context, input, grouping, counts, steps)?)
        }
        AggregateOp::LimitRatio => {
            let checked = capped_ratio(context, parameter(&aggregate.parameter)?, parameter_span);
            let (ratio, input) = beside_operand(context, &aggregate.operand, grid, checked)?;
            Box::new(Limited::ratio(context, input, ratio, steps))
        }
        AggregateOp::CountValues => {
            let label = text(aggregate.parameter.as_ref().expect("the parser has checked that there is a parameter"));
            count_values(context, vector(context, &aggregate.operand, grid)?, grouping, label, steps)?.boxed()
        }
        AggregateOp::Quantile => {
            let quantile = parameter(&aggregate.parameter)?;
            let input = vector(context, &aggregate.operand, grid)?;
            warn_of_odd_quantiles(context, &quantile, parameter_span);
            Box::new(Aggregation::new(context, input, grouping, steps, |groups| {
                let floats = Box::new(QuantileCells::new(context, quantile, groups, steps));
                Box::new(WithHistograms::new(context, AggregateOp::Quantile, aggregate.operand.span, floats, steps))
            })?)
        }
        op => {
            let input = vector(context, &aggregate.operand, grid)?;
            Box::new(Aggregation::new(context, input, grouping, steps, |groups| {
                let floats = fold::cells(op, groups, steps).expect("all others are matched above");
                Box::new(WithHistograms::new(context, op, aggregate.operand.span, floats, steps))
            })?)
        }
    })
}

/// A parameter and the operand that it is for. If the parameter is not sound, what is wrong in the operand is said first, as the
/// reference implementation looks at the parameter last.
fn beside_operand<'q, T>(
    context: &'q Context<'q>,
    operand: &Node,
    grid: Grid,
    checked: Result<T>,
) -> Result<(T, BoxOperator<'q>)> {
    let mut input = vector(context, operand, grid)?;
    if checked.is_err() {
        each_row(context, input.as_mut(), grid.count, |_, _| Ok(()))?;
    }
    Ok((checked?, input))
}

fn warn_of_odd_quantiles(context: &Context<'_>, quantile: &Scalar, span: Span) {
    for value in quantile.values().iter().filter(|value| quantile::is_odd(**value)) {
        context.warn(span, invalid_quantile(*value));
    }
}

fn capped_ratio(context: &Context<'_>, ratio: Scalar, span: Span) -> Result<Scalar> {
    for value in ratio.values() {
        if value.is_nan() {
            return Err(QueryError::execution("Ratio value is NaN"));
        }
        if value.abs() > 1.0 {
            let (value, capped) = (value_text::general(*value), value_text::general(value.signum()));
            context.warn(span, format!("ratio value should be between -1 and 1, got {value}, capping to {capped}"));
        }
    }
    Ok(ratio.map(|value| value.clamp(-1.0, 1.0)))
}

fn vector_call<'q>(context: &'q Context<'q>, call: &Call, span: Span, grid: Grid) -> Result<BoxOperator<'q>> {
    let arg = |index: usize| vector(context, &call.args[index], grid);
    let scalar_arg = |index: usize| number(context, &call.args[index], grid);
    match call.function {
        Function::Math(function) => {
            let function = math::function(function.0).expect("the planner has looked it up");
            changed(context, arg(0)?, grid, true, map::values(function))
        }
        Function::Round => {
            let nearest = if call.args.len() > 1 { scalar_arg(1)? } else { Scalar::Constant(1.0) };
            changed(context, arg(0)?, grid, true, map::values_with(nearest, math::round))
        }
        Function::Clamp(bound) => clamp(context, call, bound, grid),
        Function::Date(date) => date_part(context, call, date, grid),
        Function::Timestamp => timestamp(context, call, grid),
        Function::Vector => constant(context, scalar_arg(0)?, grid),
        Function::Range(function) => range_function(context, call, function, grid),
        Function::Absent => {
            let labels = absent::labels(&call.args[0]);
            Ok(absent::of_vector(context, arg(0)?.as_mut(), labels, grid.count)?.boxed())
        }
        Function::AbsentOverTime => {
            let labels = absent::labels(&call.args[0]);
            let (input, windows) = range(context, &call.args[0], grid)?;
            Ok(absent::of_range(context, input, &windows, labels)?.boxed())
        }
        Function::Sort(direction) => {
            sorted(context, call, span, grid, |input| sort::by_value(context, input, direction))
        }
        Function::SortByLabel(direction) => {
            let labels: Vec<String> = call.args[1..].iter().map(|arg| text(arg).to_owned()).collect();
            sorted(context, call, span, grid, |input| sort::by_label(context, input, &labels, direction))
        }
        Function::Info => {
            let matchers = match call.args.get(1).map(|arg| &arg.unmarked().kind) {
                Some(NodeKind::Selector(selector)) => selector.matchers.as_slice(),
                _ => &[],
            };
            let time = info::first_shift(&call.args[0]).unwrap_or_default();
            let operator = info::evaluate(context, arg(0)?.as_mut(), matchers, time, grid)?.boxed();
            Ok(operator)
        }
        Function::LabelReplace => {
            let texts = [1, 2, 3, 4].map(|index| text(&call.args[index]));
            relabeled(context, label::replace(arg(0)?, texts)?, grid)
        }
        Function::LabelJoin => {
            let sources: Vec<String> = call.args[3..].iter().map(|arg| text(arg).to_owned()).collect();
            relabeled(context, label::join(arg(0)?, text(&call.args[1]), text(&call.args[2]), &sources)?, grid)
        }
        Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
            classic_histogram(context, call, grid)
        }
        Function::StartTimestamp => start_timestamp(context, call, grid),
        Function::NativeHistogram(measure) => {
            let no_floats: Change<'q> = Box::new(|batch| {
                (0..batch.rows()).for_each(|row| batch.row_mut(row).valid.fill(0));
            });
            let change = map::cells(no_floats, move |_, histogram| Some(Cell::Float(measure.of(histogram))));
            changed(context, arg(0)?, grid, true, change)
        }
        Function::Pi | Function::Time | Function::Query(_) | Function::Extremum(_) | Function::Scalar => {
            unreachable!("the parser has checked that this function gives a vector")
        }
    }
}

fn relabeled<'q>(context: &'q Context<'q>, relabel: label::Relabel<'q>, grid: Grid) -> Result<BoxOperator<'q>> {
    Ok(Box::new(Merge::new(context, Box::new(relabel), grid.count, false, SAME_LABELSET)?))
}

fn sorted<'q>(
    context: &'q Context<'q>,
    call: &Call,
    span: Span,
    grid: Grid,
    sort: impl FnOnce(&mut dyn Operator) -> Result<Replay>,
) -> Result<BoxOperator<'q>> {
    let mut input = vector(context, &call.args[0], grid)?;
    if grid.count > 1 {
        context.warn(span, "sort is ineffective for range queries since results are always ordered by labels");
        return Ok(input);
    }
    Ok(sort(input.as_mut())?.boxed())
}

fn clamp<'q>(context: &'q Context<'q>, call: &Call, bound: Bound, grid: Grid) -> Result<BoxOperator<'q>> {
    let first = number(context, &call.args[1], grid)?;
    let change = match bound {
        Bound::Max => map::values_with(first, math::at_most),
        Bound::Min => map::values_with(first, math::at_least),
        Bound::Both => math::clamp(first, number(context, &call.args[2], grid)?),
    };
    changed(context, vector(context, &call.args[0], grid)?, grid, true, change)
}

fn date_part<'q>(context: &'q Context<'q>, call: &Call, date: DateFunction, grid: Grid) -> Result<BoxOperator<'q>> {
    let Some(argument) = call.args.first() else {
        let times = Scalar::Steps(grid.times().map(|time| time as f64 / 1000.0).collect());
        return constant(context, times.map(|time| date.of(time)), grid);
    };
    let input = vector(context, argument, grid)?;
    changed(context, input, grid, true, map::values(move |value| date.of(value)))
}

fn timestamp<'q>(context: &'q Context<'q>, call: &Call, grid: Grid) -> Result<BoxOperator<'q>> {
    if let NodeKind::Selector(selector) = &call.args[0].unmarked().kind {
        return instant_selector(context, selector, call.args[0].span, grid, true);
    }
    let times = Scalar::Steps(grid.times().map(|time| time as f64 / 1000.0).collect());
    let of_histogram = {
        let times = times.clone();
        move |step, _: &Arc<FloatHistogram>| Some(Cell::Float(times.at(step)))
    };
    let change = map::cells(map::values_with(times, |_, time| time), of_histogram);
    changed(context, vector(context, &call.args[0], grid)?, grid, true, change)
}

/// Of anything but a selector the samples are no longer known.
fn start_timestamp<'q>(context: &'q Context<'q>, call: &Call, grid: Grid) -> Result<BoxOperator<'q>> {
    let node = call.args[0].unmarked();
    let NodeKind::Selector(selector) = &node.kind else { return Ok(Box::new(Empty)) };
    let windows = windows(grid, selector.time, context.options.lookback_ms);
    let operator = SelectorOperator::open(context, selector, windows, Take::StartTimestamp, node.span)?;
    deduplicated(context, Box::new(operator), grid)
}

fn range_function<'q>(
    context: &'q Context<'q>,
    call: &Call,
    function: RangeFunction,
    grid: Grid,
) -> Result<BoxOperator<'q>> {
    let is_range = |node: &&Node| node.value_type() == ValueType::Matrix;
    let argument = call.args.iter().find(is_range).expect("the parser has checked that there is a range vector");
    let numbers: Vec<Scalar> =
        call.args.iter().filter(|arg| !is_range(arg)).map(|arg| number(context, arg, grid)).collect::<Result<_>>()?;
    let (input, windows) = range(context, argument, grid)?;
    check_numbers(function, &numbers)?;
    let extension = match &argument.unmarked().kind {
        NodeKind::RangeSelector(range) => range.selector.extension,
        _ => None,
    };
    let windowed = Windowed {
        windows,
        function,
        numbers,
        extension,
        lookback: context.options.lookback_ms,
        use_starts: context.options.use_start_timestamps && starts::matters_to(function),
    };
    let kernels = match (windowed.kernels(), extension) {
        (Some(kernels), _) => kernels,
        (None, Some(extension)) => return Err(misused(extension, call.name)),
        (None, None) => unreachable!("without a modifier every function has code"),
    };
    let operator = Box::new(RangeOperator::new(context, input, kernels, call.args[0].span));
    if function.keeps_name() { Ok(operator) } else { deduplicated(context, operator, grid) }
}

fn misused(extension: Extension, function: &str) -> QueryError {
    let (word, functions) = match extension {
        Extension::Anchored => ("anchored", "changes, delta, increase, rate, resets"),
        Extension::Smoothed => ("smoothed", "delta, increase, rate"),
    };
    QueryError::execution(format!("{word} modifier can only be used with: {functions} - not with {function}"))
}

fn check_numbers(function: RangeFunction, numbers: &[Scalar]) -> Result<()> {
    if function != RangeFunction::DoubleExponentialSmoothing {
        return Ok(());
    }
    for (factor, name, letter) in [(&numbers[0], "smoothing", "sf"), (&numbers[1], "trend", "tf")] {
        if let Some(value) = factor.values().iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
            let text = format!("invalid {name} factor. Expected: 0 < {letter} < 1, got: {value:.6}");
            return Err(QueryError::execution(text));
        }
    }
    Ok(())
}

fn classic_histogram<'q>(context: &'q Context<'q>, call: &Call, grid: Grid) -> Result<BoxOperator<'q>> {
    let args = &call.args;
    let (vector_at, quantile_at) = match call.function {
        Function::HistogramQuantile => (1, 0),
        Function::HistogramQuantiles => (0, 2),
        _ => (2, 0),
    };
    let measure = match call.function {
        Function::HistogramQuantile => Measure::Quantile(number(context, &args[0], grid)?),
        Function::HistogramQuantiles => Measure::Quantiles {
            label: text(&args[1]).to_owned(),
            quantiles: args[2..].iter().map(|arg| number(context, arg, grid)).collect::<Result<_>>()?,
        },
        _ => Measure::Fraction { lower: number(context, &args[0], grid)?, upper: number(context, &args[1], grid)? },
    };
    let mut input = vector(context, &args[vector_at], grid)?;
    let spans = Spans { quantile: args[quantile_at].span, vector: args[vector_at].span };
    let operator = histogram::evaluate(context, input.as_mut(), &measure, spans, grid.count)?.boxed();
    deduplicated(context, operator, grid)
}
