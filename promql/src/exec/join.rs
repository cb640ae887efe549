//! Arithmetic and comparisons between two vectors: series meet by their labels.
//!
//! The "one" side is held in memory by signature (the labels that must agree); the "many" side streams past it.

use model::{Label, Labels, LabelsBuilder};

use crate::{
    ast::{Cardinality, VectorMatching},
    budget::Reservation,
    error::QueryError,
    exec::{
        BoxOperator, Context, Operator, Result,
        arithmetic::{Operation, arithmetic, is_trim},
        batch::{Batch, Cell, Row, RowMut, any, get_bit, ones, words_for},
        each_row,
        grouping::{self, GroupTable},
        matrix::Matrix,
    },
    plan::GroupBy,
};

pub(crate) struct Join<'q> {
    context: &'q Context<'q>,
    many: BoxOperator<'q>,
    /// Until it is read.
    one_input: Option<BoxOperator<'q>>,
    one: OneSide,
    operation: Operation,
    rules: Rules,
    /// By series of the many side.
    many_signatures: Vec<u32>,
    /// Result series of a series of the many side: from here on, one per variant of its signature.
    many_first: Vec<u32>,
    /// The same for a signature that is filled in for a missing many side. Empty without such a fill.
    fill_first: Vec<u32>,
    series_count: usize,
    input: Batch,
    /// By signature: steps at which the many side has a value. Empty when nobody needs to know.
    present: Vec<u64>,
    /// Signature to be filled in next, once the many side is at its end.
    next_fill: Option<usize>,
    steps: usize,
    is_unique: bool,
    _held: Reservation,
}

/// How labels meet, and what is done about those that don't.
struct Rules {
    /// The many side stands on the right.
    swapped: bool,
    one_to_one: bool,
    matching: GroupBy,
    include: Vec<String>,
    one_fill: Option<f64>,
    many_fill: Option<f64>,
}

/// The side whose series are unique by signature, at each step.
struct OneSide {
    signatures: Vec<u32>,
    /// By series: which set of included labels it has among those of its signature.
    variants: Vec<u32>,
    /// By signature, the different sets of included labels. One empty set where none are included.
    variant_labels: Vec<Vec<Labels>>,
    matrix: Matrix,
    /// By signature: rows of the matrix.
    rows: Vec<Vec<usize>>,
    /// Steps at which two series have the same signature, and what to say if that matters.
    conflicts: Vec<(Vec<u64>, String)>,
    /// By signature.
    labels: Vec<Labels>,
}

impl<'q> Join<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        left: BoxOperator<'q>,
        right: BoxOperator<'q>,
        operation: Operation,
        matching: &VectorMatching,
        steps: usize,
    ) -> Result<Self> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        let (mut many, mut one) = if swapped { (right, left) } else { (left, right) };
        let (one_fill, many_fill) = match swapped {
            true => (matching.fill_left, matching.fill_right),
            false => (matching.fill_right, matching.fill_left),
        };
        let grouping = GroupBy::new(matching.labels.clone(), !matching.on);
        let include = matching.include.clone();
        let rules = Rules { swapped, one_to_one, matching: grouping, include, one_fill, many_fill };

        let mut table = GroupTable::default();
        let many_signatures = signatures(context, many.as_mut(), &rules.matching, &mut table)?;
        let signatures_of_one = signatures(context, one.as_mut(), &rules.matching, &mut table)?;
        let one_side = OneSide::new(context, one.as_ref(), signatures_of_one, table.labels, &rules, steps);

        let mut series_count = 0_u32;
        let mut take = |signature: usize| {
            let first = series_count;
            series_count += one_side.variant_labels[signature].len() as u32;
            first
        };
        let many_first: Vec<u32> = many_signatures.iter().map(|signature| take(*signature as usize)).collect();
        let fills = if rules.many_fill.is_some() { one_side.labels.len() } else { 0 };
        let fill_first = (0..fills).map(take).collect();
        let is_unique = fills == 0
            && if rules.one_to_one {
                all_different(&many_signatures, one_side.labels.len())
            } else {
                // Each keeps its labels, but for the name.
                rules.include.is_empty() && (!operation.drops_name() || many.is_unique_without_name())
            };
        let needs_present = rules.one_to_one || rules.many_fill.is_some();
        let mut held = context.budget.reservation();
        let present_bytes = if needs_present { one_side.labels.len() * words_for(steps) * 8 } else { 0 };
        held.grow(0, present_bytes + (many_signatures.len() * 2 + one_side.signatures.len() * 2) * 4)?;
        let present = if needs_present { vec![0; one_side.labels.len() * words_for(steps)] } else { Vec::new() };
        Ok(Self {
            context,
            many,
            one_input: Some(one),
            one: one_side,
            operation,
            rules,
            many_signatures,
            many_first,
            fill_first,
            series_count: series_count as usize,
            input: Batch::new(steps),
            present,
            next_fill: None,
            steps,
            is_unique,
            _held: held,
        })
    }

    /// Whether no two result series can carry the same labels.
    pub(crate) fn is_unique(&self) -> bool {
        self.is_unique
    }

    /// What two result series with the same labels mean.
    pub(crate) fn conflict(&self) -> &'static str {
        if self.rules.one_to_one {
            MANY_TO_ONE_NOT_EXPLICIT
        } else {
            "multiple matches for labels: grouping labels must ensure unique matches"
        }
    }

    fn check(&mut self, signature: usize, row: Row<'_>) -> Result<()> {
        let row_presence = row.presence();
        for (steps, text) in &self.one.conflicts {
            if steps.iter().zip(row_presence.iter()).any(|(conflict, valid)| conflict & valid != 0) {
                return Err(QueryError::execution(text.clone()));
            }
        }
        if self.present.is_empty() {
            return Ok(());
        }
        let words = row.valid.len();
        let mut matched = vec![0; words];
        self.one.steps_with_value(signature, &mut matched);
        let present = &mut self.present[signature * words..(signature + 1) * words];
        for ((present, valid), matched) in present.iter_mut().zip(row_presence.iter()).zip(matched) {
            let counts = if self.rules.one_fill.is_some() { !0 } else { matched };
            if self.rules.one_to_one && *present & valid & counts != 0 {
                return Err(QueryError::execution(MANY_TO_ONE_NOT_EXPLICIT));
            }
            *present |= valid;
        }
        Ok(())
    }

    fn join_row(&self, series: usize, row: Row<'_>, out: &mut Batch) {
        let signature = self.many_signatures[series] as usize;
        let first = self.many_first[series];
        for variant in 0..self.one.variant_labels[signature].len() {
            let mut target = out.push(first + variant as u32);
            for one_row in &self.one.rows[signature] {
                if self.one.variants[self.one.matrix.rows.series(*one_row) as usize] as usize == variant {
                    self.combine(row, self.one.matrix.rows.row(*one_row), &mut target);
                }
            }
            if let Some(fill) = self.rules.one_fill.filter(|_| variant == self.one.fill_variant(signature)) {
                let mut matched = vec![0; row.valid.len()];
                self.one.steps_with_value(signature, &mut matched);
                for (step, cell) in row.cells().filter(|(step, _)| !get_bit(&matched, *step)) {
                    target.replace(step, self.pair(&cell, &Cell::Float(fill)));
                }
            }
            out.drop_last_if_empty();
        }
    }

    fn pair(&self, many: &Cell, one: &Cell) -> Option<Cell> {
        let (left, right) = if self.rules.swapped { (one, many) } else { (many, one) };
        self.operation.cells(self.context, left, right)
    }

    /// Puts the values of matched steps in a row.
    fn combine(&self, many: Row<'_>, one: Row<'_>, target: &mut RowMut<'_>) {
        let (left, right) = if self.rules.swapped { (one, many) } else { (many, one) };
        if is_trim(self.operation.op) || left.has_histograms() || right.has_histograms() {
            for (step, left) in left.cells() {
                let Some(right) = right.cell(step) else { continue };
                target.replace(step, self.operation.cells(self.context, &left, &right));
            }
            return;
        }
        let is_arithmetic = !self.operation.op.is_comparison();
        if is_arithmetic && left.is_full() && right.is_full() {
            let function = arithmetic(self.operation.op);
            for ((value, left), right) in target.values.iter_mut().zip(left.values).zip(right.values) {
                *value = function(*left, *right);
            }
            target.valid.copy_from_slice(left.valid);
            return;
        }
        for (word, (left_word, right_word)) in left.valid.iter().zip(right.valid).enumerate() {
            for bit in ones(&[left_word & right_word]) {
                let step = word * 64 + bit;
                if let Some(value) = self.operation.floats(left.values[step], right.values[step]) {
                    target.set(step, value);
                }
            }
        }
    }

    /// The row of a signature at the steps where the many side has no value.
    fn fill_row(&self, signature: usize, fill: f64, out: &mut Batch) {
        let words = words_for(self.steps);
        let present = &self.present[signature * words..(signature + 1) * words];
        for one_row in &self.one.rows[signature] {
            let one = self.one.matrix.rows.row(*one_row);
            let variant = self.one.variants[self.one.matrix.rows.series(*one_row) as usize];
            let mut target = out.push(self.fill_first[signature] + variant);
            for (step, cell) in one.cells().filter(|(step, _)| !get_bit(present, *step)) {
                target.replace(step, self.pair(&Cell::Float(fill), &cell));
            }
            out.drop_last_if_empty();
        }
    }

    /// The series of the many side, or the signature, that a result series comes from, and the variant.
    fn origin(&self, series: usize) -> (Origin, usize) {
        let series = series as u32;
        let last_below = |firsts: &[u32]| firsts.partition_point(|first| *first <= series) - 1;
        match self.fill_first.first() {
            Some(first) if series >= *first => {
                let signature = last_below(&self.fill_first);
                (Origin::Filled(signature), (series - self.fill_first[signature]) as usize)
            }
            _ => {
                let many = last_below(&self.many_first);
                (Origin::Many(many), (series - self.many_first[many]) as usize)
            }
        }
    }
}

enum Origin {
    Many(usize),
    Filled(usize),
}

const MANY_TO_ONE_NOT_EXPLICIT: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";

/// Codes of the labels that have to agree, by series.
pub(crate) fn signatures(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    matching: &GroupBy,
    table: &mut GroupTable,
) -> Result<Vec<u32>> {
    let groups = grouping::group(context, operator, matching)?;
    let codes: Vec<u32> = groups.labels.iter().map(|labels| table.id(|| labels.iter())).collect();
    Ok(groups.ids.into_iter().map(|id| codes[id as usize]).collect())
}

fn all_different(codes: &[u32], count: usize) -> bool {
    let mut seen = vec![false; count];
    codes.iter().all(|code| !std::mem::replace(&mut seen[*code as usize], true))
}

impl OneSide {
    fn new(
        context: &Context<'_>,
        operator: &dyn Operator,
        signatures: Vec<u32>,
        labels: Vec<Labels>,
        rules: &Rules,
        steps: usize,
    ) -> Self {
        let mut variant_labels: Vec<Vec<Labels>> = vec![Vec::new(); labels.len()];
        let mut variants = Vec::with_capacity(signatures.len());
        for (series, signature) in signatures.iter().enumerate() {
            let known = &mut variant_labels[*signature as usize];
            let included =
                if rules.include.is_empty() { Labels::empty() } else { rules.included(&operator.labels(series)) };
            let variant = known.iter().position(|have| *have == included).unwrap_or_else(|| {
                known.push(included);
                known.len() - 1
            });
            variants.push(variant as u32);
        }
        if rules.one_fill.is_some() {
            for (known, labels) in variant_labels.iter_mut().zip(&labels) {
                // What is filled in carries the labels of the signature, and none of a real series.
                if known.is_empty() || !rules.include.is_empty() {
                    known.push(rules.included(labels));
                }
            }
        }
        let rows = vec![Vec::new(); labels.len()];
        let matrix = Matrix::new(context, steps);
        Self { signatures, variants, variant_labels, matrix, rows, conflicts: Vec::new(), labels }
    }

    /// The variant under which a filled-in value appears.
    fn fill_variant(&self, signature: usize) -> usize {
        self.variant_labels[signature].len() - 1
    }

    fn read(&mut self, context: &Context<'_>, operator: &mut dyn Operator, steps: usize, side: &str) -> Result<()> {
        let mut conflicts = Vec::new();
        each_row(context, operator, steps, |series, row| {
            let signature = self.signatures[series as usize] as usize;
            for other in &self.rows[signature] {
                let other_row = self.matrix.rows.row(*other);
                let (row, other_row) = (row.presence(), other_row.presence());
                let both: Vec<u64> = row.iter().zip(other_row.iter()).map(|(left, right)| left & right).collect();
                if any(&both) {
                    conflicts.push((both, signature, self.matrix.rows.series(*other), series));
                }
            }
            self.rows[signature].push(self.matrix.rows.rows());
            self.matrix.push(series, row)
        })?;
        for (steps, signature, first, second) in conflicts {
            let mut pair = [operator.labels(first as usize), operator.labels(second as usize)];
            pair.sort();
            let group = &self.labels[signature];
            let [first, second] = pair;
            let text = format!(
                "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
                 [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
            );
            self.conflicts.push((steps, text));
        }
        Ok(())
    }

    fn steps_with_value(&self, signature: usize, bits: &mut [u64]) {
        for row in &self.rows[signature] {
            let present = self.matrix.rows.row(*row).presence();
            bits.iter_mut().zip(present.iter()).for_each(|(bits, present)| *bits |= present);
        }
    }
}

impl Rules {
    /// Those of the labels that the "one" side gives to the result.
    fn included(&self, labels: &Labels) -> Labels {
        Labels::from_sorted(labels.iter().filter(|label| self.include.iter().any(|name| name == label.name)))
    }

    fn result_labels(&self, many: &Labels, included: &Labels) -> Labels {
        if self.one_to_one {
            // Unlike in a signature, the name stays unless it is asked for to go.
            let listed = |name: &str| self.matching.labels.binary_search_by(|have| have.as_str().cmp(name)).is_ok();
            let keeps = |label: &Label<'_>| listed(label.name) != self.matching.without;
            return Labels::from_sorted(many.iter().filter(keeps));
        }
        if self.include.is_empty() {
            return many.clone();
        }
        let mut labels = LabelsBuilder::from_labels(many);
        for name in &self.include {
            labels.set(name, included.get(name).unwrap_or_default());
        }
        labels.build()
    }
}

impl Operator for Join<'_> {
    fn series_count(&self) -> usize {
        self.series_count
    }

    fn labels(&self, series: usize) -> Labels {
        let (origin, variant) = self.origin(series);
        let (base, signature) = match origin {
            Origin::Many(many) => (self.many.labels(many), self.many_signatures[many] as usize),
            Origin::Filled(signature) => (self.one.labels[signature].clone(), signature),
        };
        let named = self.context.options.delayed_name_removal || !self.operation.drops_name();
        let base = if named { base } else { self.context.without_metadata(&base) };
        self.rules.result_labels(&base, &self.one.variant_labels[signature][variant])
    }

    fn drops_name(&self, series: usize) -> bool {
        if !self.context.options.delayed_name_removal {
            return false;
        }
        match self.origin(series).0 {
            Origin::Many(many) => self.operation.drops_name() || self.many.drops_name(many),
            Origin::Filled(_) => self.operation.drops_name(),
        }
    }

    fn is_unique_without_name(&self) -> bool {
        // Then the name is gone already.
        self.is_unique && self.operation.drops_name() && !self.context.options.delayed_name_removal
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        if let Some(mut one) = self.one_input.take() {
            let side = if self.rules.swapped { "left" } else { "right" };
            self.one.read(self.context, one.as_mut(), self.steps, side)?;
        }
        while self.next_fill.is_none() {
            let mut input = std::mem::replace(&mut self.input, Batch::new(self.steps));
            let more = self.many.next(&mut input)?;
            self.context.budget.check()?;
            for (series, row) in input.iter() {
                self.check(self.many_signatures[series as usize] as usize, row)?;
                self.join_row(series as usize, row, batch);
            }
            self.input = input;
            if !more {
                self.next_fill = Some(0);
            } else if !batch.is_empty() {
                return Ok(true);
            }
        }
        if let Some(fill) = self.rules.many_fill {
            let from = self.next_fill.unwrap_or_default();
            let mut signature = from;
            while signature < self.one.rows.len() && !batch.is_full() {
                self.fill_row(signature, fill, batch);
                signature += 1;
            }
            self.next_fill = Some(signature);
        }
        Ok(!batch.is_empty())
    }
}
