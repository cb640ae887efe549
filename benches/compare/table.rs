//! The table that comes out.

use std::fmt::Write;

use crate::{
    rows::{Figure, Unit},
    server::Kind,
};

/// The best figure of each row and server.
pub(crate) struct Table {
    kinds: Vec<Kind>,
    rows: Vec<Row>,
    failures: Vec<(Kind, String)>,
}

struct Row {
    name: String,
    unit: Unit,
    /// By server; `None` where it wasn't measured or isn't supported.
    values: Vec<Option<f64>>,
}

impl Row {
    fn better(&self, one: f64, other: f64) -> f64 {
        if self.unit.more_is_better() { one.max(other) } else { one.min(other) }
    }

    /// How many times as good as the best peer, above 1 better.
    fn ratio(&self, kinds: &[Kind], value: f64) -> Option<f64> {
        let peers = kinds.iter().zip(&self.values).filter(|(kind, _)| kind.is_peer()).filter_map(|(_, value)| *value);
        let best = peers.reduce(|one, other| self.better(one, other))?;
        Some(if self.unit.more_is_better() { value / best } else { best / value })
    }
}

impl Table {
    pub(crate) fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, rows: Vec::new(), failures: Vec::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, figures: Vec<Figure>) {
        let column = self.kinds.iter().position(|&known| known == kind).expect("one of the table's servers");
        for figure in figures {
            let index = self.rows.iter().position(|row| row.name == figure.row).unwrap_or_else(|| {
                let values = vec![None; self.kinds.len()];
                self.rows.push(Row { name: figure.row.clone(), unit: figure.unit, values });
                self.rows.len() - 1
            });
            let row = &self.rows[index];
            let best = match (row.values[column], figure.value) {
                (Some(one), Some(other)) => Some(row.better(one, other)),
                (one, other) => one.or(other),
            };
            self.rows[index].values[column] = best;
        }
    }

    pub(crate) fn fail(&mut self, kind: Kind, reason: String) {
        self.failures.push((kind, reason));
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("|");
        for name in [""].into_iter().chain(self.kinds.iter().map(|kind| kind.name())) {
            write!(text, " {name} |").expect("a string takes everything");
        }
        write!(text, "\n|{}\n", " --- |".repeat(self.kinds.len() + 1)).expect("a string takes everything");
        for row in &self.rows {
            let cells = self.kinds.iter().zip(&row.values).map(|(kind, value)| self.cell(row, *kind, *value));
            writeln!(text, "| {} | {} |", row.name, cells.collect::<Vec<_>>().join(" | ")).expect("as above");
        }
        for (kind, reason) in &self.failures {
            writeln!(text, "\n{} failed: {reason}", kind.name()).expect("as above");
        }
        text
    }

    fn cell(&self, row: &Row, kind: Kind, value: Option<f64>) -> String {
        let Some(value) = value else { return "-".to_owned() };
        let figure = match row.unit {
            Unit::SamplesPerCpuSecond => format!("{:.3} M", value / 1e6),
            Unit::BytesPerSeries => format!("{value:.0}"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Milliseconds => format!("{value:.1} ms"),
        };
        match row.ratio(&self.kinds, value).filter(|_| !kind.is_peer()) {
            Some(ratio) => format!("{figure} ({ratio:.1}x)"),
            None => figure,
        }
    }
}
