//! What senders say of their metrics: type, help and unit, for people who look for one.
//!
//! It is sent again and again (protocol 1.0: each minute, 2.0: with every series), so it is kept in memory alone, and of protocol 2.0
//! only a few messages of a request are looked at: after a start it is complete again within minutes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wire::remote_write::{Batch, MetricMetadata};

/// Texts of names, helps and units that are kept; what is new beyond it is not.
const BYTES_MAX: usize = 32 << 20;
/// Different things that are kept of one metric: targets of several versions may each say another.
const VARIANTS_MAX: usize = 4;
const NAME_BYTES_MAX: usize = 1024;
const HELP_BYTES_MAX: usize = 4096;
const UNIT_BYTES_MAX: usize = 256;

/// Messages looked at of a request of protocol 2.0, of one that made new series, and of any other.
const LOOKED_AT_WITH_NEW_SERIES: usize = 64;
const LOOKED_AT: usize = 16;

/// Type, help and unit of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `counter`, `gauge`, ...
    pub kind: &'static str,
    pub help: String,
    pub unit: String,
}

/// What is known of all metrics.
#[derive(Debug, Default)]
pub struct MetadataStore {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The variant that was seen last comes first.
    metrics: BTreeMap<String, Vec<Metadata>>,
    bytes: usize,
    /// Turns which messages are looked at.
    turn: usize,
}

impl MetadataStore {
    /// Takes what a target says of a metric family.
    pub fn take(&self, name: &str, kind: &'static str, help: &str, unit: &str) {
        let (name, help, unit) = (name.as_bytes(), help.as_bytes(), unit.as_bytes());
        self.lock().take(MetricMetadata { name, kind, help, unit });
    }

    /// Takes all metadata of a request.
    pub(crate) fn take_all(&self, batch: &Batch) {
        let mut known = self.lock();
        batch.visit_metadata(0, 1, &mut |metadata| known.take(metadata));
    }

    /// Takes some of a request's metadata; none while somebody else is at it, as the next request will say the same.
    pub(crate) fn take_some(&self, batch: &Batch, has_new_series: bool) {
        let Ok(mut known) = self.known.try_lock() else { return };
        let looked_at = if has_new_series { LOOKED_AT_WITH_NEW_SERIES } else { LOOKED_AT };
        let stride = batch.metadata_count().div_ceil(looked_at).max(1);
        known.turn = known.turn.wrapping_add(1);
        let first = known.turn % stride;
        batch.visit_metadata(first, stride, &mut |metadata| known.take(metadata));
    }

    /// What is known of one metric, or of all, in order of names.
    pub fn list(&self, metric: Option<&str>) -> Vec<(String, Vec<Metadata>)> {
        let known = self.lock();
        let all = known.metrics.iter().filter(|(name, _)| metric.is_none_or(|metric| metric == *name));
        all.map(|(name, variants)| (name.clone(), variants.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, metadata: MetricMetadata<'_>) {
        let texts = [metadata.name, metadata.help, metadata.unit].map(std::str::from_utf8);
        let [Ok(name), Ok(help), Ok(unit)] = texts else { return };
        let name = family(name, metadata.kind);
        let is_nothing = metadata.kind == "unknown" && help.is_empty() && unit.is_empty();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || is_nothing {
            return;
        }
        let (help, unit) = (clipped(help, HELP_BYTES_MAX), clipped(unit, UNIT_BYTES_MAX));
        match self.metrics.get_mut(name) {
            Some(variants) => {
                let is_known =
                    |known: &Metadata| known.kind == metadata.kind && known.help == help && known.unit == unit;
                if let Some(place) = variants.iter().position(is_known) {
                    variants[..=place].rotate_right(1);
                    return;
                }
                if variants.len() == VARIANTS_MAX {
                    self.bytes -= variants.pop().map_or(0, |gone| gone.bytes());
                }
                let new = Metadata { kind: metadata.kind, help: help.to_owned(), unit: unit.to_owned() };
                self.bytes += new.bytes();
                variants.insert(0, new);
            }
            None if self.bytes < BYTES_MAX => {
                let new = Metadata { kind: metadata.kind, help: help.to_owned(), unit: unit.to_owned() };
                self.bytes += name.len() + new.bytes();
                self.metrics.insert(name.to_owned(), vec![new]);
            }
            None => {}
        }
    }
}

impl Metadata {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.help.len() + self.unit.len()
    }
}

/// The family that a series' name belongs to: protocol 2.0 speaks of series, and people look for the metric.
fn family<'a>(name: &'a str, kind: &str) -> &'a str {
    let suffixes: &[&str] = match kind {
        "histogram" | "gaugehistogram" => &["_bucket", "_count", "_sum", "_gcount", "_gsum"],
        "summary" => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn clipped(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(name: &'a str, kind: &'static str, help: &'a str) -> MetricMetadata<'a> {
        MetricMetadata { name: name.as_bytes(), kind, help: help.as_bytes(), unit: b"" }
    }

    /// Goal: what was said last comes first, the metric has its family's name, and a sender can't fill the memory.
    #[test]
    fn what_is_said_of_a_metric_is_kept_within_bounds() {
        let mut known = Known::default();
        known.take(said("latency_bucket", "histogram", "How long."));
        known.take(said("latency_count", "histogram", "How long."));
        known.take(said("requests_total", "counter", "How many."));
        known.take(said("requests_total", "counter", "How many there were."));
        known.take(said("nothing", "unknown", ""));
        assert_eq!(known.metrics.keys().collect::<Vec<_>>(), ["latency", "requests_total"]);
        assert_eq!(known.metrics["latency"].len(), 1);
        let helps = |known: &Known| {
            known.metrics["requests_total"].iter().map(|variant| variant.help.clone()).collect::<Vec<_>>()
        };
        assert_eq!(helps(&known), ["How many there were.", "How many."]);
        known.take(said("requests_total", "counter", "How many."));
        assert_eq!(helps(&known), ["How many.", "How many there were."]);
        for number in 0..10 {
            known.take(said("requests_total", "counter", &"é".repeat(5000 + number)));
            known.take(said("requests_total", "counter", &number.to_string()));
        }
        assert_eq!(known.metrics["requests_total"].len(), VARIANTS_MAX);
        assert!(helps(&known).iter().all(|help| help.len() <= HELP_BYTES_MAX));
        let help = "x".repeat(HELP_BYTES_MAX);
        for number in 0..20_000 {
            known.take(said(&format!("metric_{number}"), "gauge", &help));
        }
        assert!(known.bytes < BYTES_MAX + 2 * HELP_BYTES_MAX, "{}", known.bytes);
        let counted: usize = known
            .metrics
            .iter()
            .map(|(name, variants)| name.len() + variants.iter().map(Metadata::bytes).sum::<usize>())
            .sum();
        assert_eq!(known.bytes, counted);
    }
}
