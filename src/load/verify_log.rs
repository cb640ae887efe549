//! The file in which a load notes what was acknowledged, read back.
//!
//! A load appends its signature (one JSON object on a line) and then a line for each acknowledged request. Several loads may share
//! a file, one after the other; a line belongs to the signature before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::values::Shape;

pub(super) const SIGNATURE_VERSION: u32 = 1;

/// What labels, values and times of a load follow from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    pub(super) version: u32,
    pub(super) series: u32,
    pub(super) labels: u32,
    pub(super) values: Shape,
    pub(super) churn_per_pass: f64,
    pub(super) start_ms: i64,
    pub(super) step_ms: i64,
}

impl Signature {
    /// The line that stands before those of the load's requests.
    pub(super) fn line(&self) -> io::Result<String> {
        Ok(format!("{}\n", serde_json::to_string(self)?))
    }

    pub(super) fn time_ms(&self, pass: u32) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(i64::from(pass)))
    }

    /// The pass whose samples have a time, if there is one.
    pub(super) fn pass_at(&self, time_ms: i64) -> Option<u32> {
        let since = time_ms.checked_sub(self.start_ms)?;
        if since % self.step_ms != 0 {
            return None;
        }
        u32::try_from(since / self.step_ms).ok()
    }
}

/// The requests of one load that were acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledged {
    pub(super) signature: Signature,
    /// By the first series of a request: one past its last, and the passes.
    pub(super) blocks: BTreeMap<u32, (u32, BTreeSet<u32>)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("read the verify log {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {what}; is this a file that --verify-log wrote?")]
    Line { path: PathBuf, line: usize, what: String },
}

/// Reads a whole log.
pub(super) fn read(path: &Path) -> Result<Vec<Acknowledged>, LogError> {
    let failed = |source| LogError::Read { path: path.to_owned(), source };
    let mut loads = Vec::new();
    for (index, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let line = line.map_err(failed)?;
        take_line(&mut loads, &line).map_err(|what| LogError::Line { path: path.to_owned(), line: index + 1, what })?;
    }
    Ok(loads)
}

fn take_line(loads: &mut Vec<Acknowledged>, line: &str) -> Result<(), String> {
    if line.starts_with('{') {
        loads.push(Acknowledged { signature: parse_signature(line)?, blocks: BTreeMap::new() });
        return Ok(());
    }
    let load = loads.last_mut().ok_or("a request without a load's arguments before it")?;
    let fields: Option<Vec<i64>> = line.split('\t').map(|field| field.parse().ok()).collect();
    let &[start, end, first, last] = fields.as_deref().unwrap_or_default() else {
        return Err("expected four numbers with tabs between them".to_owned());
    };
    let series = u32::try_from(start).ok().zip(u32::try_from(end).ok());
    let series = series.filter(|(start, end)| start < end && *end <= load.signature.series);
    let (start, end) = series.ok_or("series that the load does not have")?;
    let passes = load.signature.pass_at(first).zip(load.signature.pass_at(last));
    let (first, last) = passes.ok_or("times that the load does not have")?;
    load.add(start..end, first, last)
}

fn parse_signature(line: &str) -> Result<Signature, String> {
    let signature: Signature = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let Signature { version, step_ms, .. } = signature;
    match (version, step_ms) {
        (SIGNATURE_VERSION, 1..) => Ok(signature),
        (SIGNATURE_VERSION, _) => Err(format!("a step of {step_ms} ms")),
        _ => Err(format!("version {version} is not known here")),
    }
}

impl Acknowledged {
    fn add(&mut self, series: Range<u32>, first: u32, last: u32) -> Result<(), String> {
        let overlaps = |(start, (end, _)): (&u32, &(u32, BTreeSet<u32>))| *end > series.start && *start != series.start;
        let block = self.blocks.range(..series.end).next_back();
        if block.is_some_and(overlaps) {
            return Err("a request that shares only some of its series with another".to_owned());
        }
        let (end, passes) = self.blocks.entry(series.start).or_insert((series.end, BTreeSet::new()));
        if *end != series.end {
            return Err("a request that shares only some of its series with another".to_owned());
        }
        passes.extend(first..=last);
        Ok(())
    }

    pub(super) fn samples(&self) -> u64 {
        self.blocks.iter().map(|(start, (end, passes))| u64::from(end - start) * passes.len() as u64).sum()
    }

    /// First and last pass of which anything was acknowledged.
    pub(super) fn passes(&self) -> Option<(u32, u32)> {
        let first = self.blocks.values().filter_map(|(_, passes)| passes.first()).min()?;
        let last = self.blocks.values().filter_map(|(_, passes)| passes.last()).max()?;
        Some((*first, *last))
    }

    /// The acknowledged passes of one series.
    pub(super) fn passes_of(&self, series: u32) -> Option<&BTreeSet<u32>> {
        let (_, (end, passes)) = self.blocks.range(..=series).next_back()?;
        (series < *end).then_some(passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str =
        r#"{"version":1,"series":20,"labels":10,"values":"mixed","churn_per_pass":0.0,"start_ms":5000,"step_ms":10}"#;

    fn parse(lines: &[&str]) -> Result<Vec<Acknowledged>, String> {
        let mut loads = Vec::new();
        lines.iter().try_for_each(|line| take_line(&mut loads, line))?;
        Ok(loads)
    }

    #[test]
    fn lines_belong_to_the_load_before_them() {
        let loads = parse(&[SIGNATURE, "0\t10\t5000\t5000", "0\t10\t5010\t5020", SIGNATURE, "10\t20\t5050\t5050"]);
        let loads = loads.expect("a sound log");
        assert_eq!(loads.iter().map(Acknowledged::samples).collect::<Vec<_>>(), [30, 10]);
        assert_eq!((loads[0].passes(), loads[1].passes()), (Some((0, 2)), Some((5, 5))));
        assert_eq!(loads[0].passes_of(9), Some(&BTreeSet::from([0, 1, 2])));
        assert!(loads[0].passes_of(10).is_none() && loads[1].passes_of(9).is_none());
    }

    #[test]
    fn what_no_load_writes_is_refused() {
        let error = |line: &str| parse(&[SIGNATURE, "4\t8\t5000\t5000", line]).expect_err(line);
        assert!(parse(&["0\t10\t5000\t5000"]).expect_err("no signature").contains("without a load"));
        assert!(parse(&[&SIGNATURE.replace(":10,", ":-1,")]).is_err());
        assert!(error(&SIGNATURE.replace("\"version\":1", "\"version\":2")).contains("version 2"));
        assert!(error(&SIGNATURE.replace("\"step_ms\":10", "\"step_ms\":0")).contains("step"));
        assert!(error("0\t10\t5000").contains("four numbers"));
        assert!(error("0\t21\t5000\t5000").contains("series"));
        assert!(error("0\t10\t5001\t5001").contains("times"));
        for overlapping in ["0\t5\t5000\t5000", "5\t9\t5000\t5000", "4\t9\t5000\t5000"] {
            assert!(error(overlapping).contains("shares"), "{overlapping}");
        }
    }
}
