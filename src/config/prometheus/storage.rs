//! `storage`: how much is kept.

use shard::shared::EXEMPLARS_MAX;

use crate::config::{
    retention::RetentionSettings,
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    pub(crate) tsdb: Tsdb,
    /// `exemplars.max_exemplars`; 0 keeps none.
    pub(crate) exemplars_max: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tsdb {
    pub(crate) out_of_order_time_window: Option<PromDuration>,
    pub(crate) retention: RetentionSettings,
    /// What is there and has no effect in this release.
    pub(crate) without_effect: Vec<&'static str>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { tsdb: Tsdb::default(), exemplars_max: EXEMPLARS_MAX }
    }
}

impl Section for Storage {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let tsdb = keys.or_default("tsdb")?;
        let exemplars: Exemplars = keys.section_or_defaults("exemplars")?;
        Ok(Self { tsdb, exemplars_max: exemplars.max })
    }
}

struct Exemplars {
    max: u64,
}

impl Section for Exemplars {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let max: i64 = keys.or("max_exemplars", &EXEMPLARS_MAX.to_string())?;
        // As in Prometheus, none is kept where the number is not positive.
        Ok(Self { max: u64::try_from(max).unwrap_or(0) })
    }
}

impl Section for Tsdb {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let out_of_order_time_window = keys.get("out_of_order_time_window")?;
        let threshold: Option<f64> = keys.get("stale_series_compaction_threshold")?;
        if threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            return Err(keys.fault("stale_series_compaction_threshold", "is a share between 0 and 1"));
        }
        let encoding: Option<ChunkEncoding> = keys.get("chunk_encoding")?;
        let effects = [
            ("storage.tsdb.chunk_encoding", encoding.is_some()),
            ("storage.tsdb.stale_series_compaction_threshold", threshold.is_some()),
        ];
        let without_effect = effects.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect();
        Ok(Self { out_of_order_time_window, retention: keys.or_default("retention")?, without_effect })
    }
}

struct ChunkEncoding;

impl Section for ChunkEncoding {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let floats: String = keys.or("floats", "xor")?;
        if ["", "xor", "xor2"].contains(&floats.as_str()) {
            return Ok(Self);
        }
        Err(keys.fault("floats", format!("{floats:?} is none of xor, xor2")))
    }
}

impl Section for RetentionSettings {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let percentage: Option<f64> = keys.get("percentage")?;
        if let Some(percentage) = percentage.filter(|percentage| !(0.0..=100.0).contains(percentage)) {
            return Err(keys.fault("percentage", format!("{percentage} is not a percentage between 0 and 100")));
        }
        Ok(Self { time: keys.get("time")?, size: keys.get("size")?, percentage })
    }
}
