//! What pages say of their metrics: type, help and unit. Targets of a kind say the same, so it is kept once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use model::IdentityKey;
use wire::exposition::{Metadata, MetricKind, unescaped_help};

/// What is kept of a help text.
const HELP_BYTES_MAX: usize = 4096;
/// Texts that nobody holds any more go when this many are there, at least.
const SWEPT_FROM: usize = 1024;

/// One metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) help: String,
    pub(crate) unit: String,
}

/// Sums up the metadata of a page, to see whether it is that of the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataSum(u64);

impl MetadataSum {
    pub(crate) fn add(&mut self, key: &IdentityKey, item: &Metadata<'_>) {
        let (name, text, mark) = match item {
            Metadata::Type { name, kind } => (*name, kind.as_str().as_bytes(), 1),
            Metadata::Help { name, text } => (*name, text.as_bytes(), 2),
            Metadata::Unit { name, text } => (*name, *text, 3),
        };
        let item = key.symbol(name).low().rotate_left(mark) ^ key.symbol(text).low();
        self.0 = self.0.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ item;
    }
}

/// All families that a page tells of.
pub(crate) fn families<'p>(items: impl Iterator<Item = Metadata<'p>>, help_is_escaped: bool) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for item in items {
        let (Metadata::Type { name, .. } | Metadata::Help { name, .. } | Metadata::Unit { name, .. }) = item;
        let Ok(name) = str::from_utf8(name) else { continue };
        // What belongs together mostly stands together.
        let place = families.iter().rposition(|family| family.name == name);
        let place = place.unwrap_or_else(|| {
            let kind = MetricKind::Unknown.as_str();
            families.push(Family { name: name.to_owned(), kind, ..Family::default() });
            families.len() - 1
        });
        let family = &mut families[place];
        match item {
            Metadata::Type { kind, .. } => family.kind = kind.as_str(),
            Metadata::Help { text, .. } => family.help = help(text, help_is_escaped),
            Metadata::Unit { text, .. } => family.unit = String::from_utf8_lossy(text).into_owned(),
        }
    }
    families
}

fn help(text: &str, is_escaped: bool) -> String {
    let text = &text[..text.floor_char_boundary(HELP_BYTES_MAX)];
    if is_escaped { unescaped_help(text).into_owned() } else { text.to_owned() }
}

/// Families that targets have in common.
#[derive(Default)]
pub(crate) struct Families {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    families: HashSet<Arc<Family>>,
    sweep_at: usize,
}

impl Families {
    /// The same families, each the one that others hold too.
    pub(crate) fn share(&self, families: Vec<Family>) -> Vec<Arc<Family>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = families.into_iter().map(|family| {
            if let Some(family) = known.families.get(&family) {
                return family.clone();
            }
            let family = Arc::new(family);
            known.families.insert(family.clone());
            family
        });
        let shared = shared.collect();
        if known.families.len() > known.sweep_at.max(SWEPT_FROM) {
            known.families.retain(|family| Arc::strong_count(family) > 1);
            known.sweep_at = 2 * known.families.len();
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_its_families_are() {
        let items = [
            Metadata::Help { name: b"a", text: "What\\n it is \\\\." },
            Metadata::Type { name: b"a", kind: MetricKind::Counter },
            Metadata::Unit { name: b"b_seconds", text: b"seconds" },
            Metadata::Type { name: b"b_seconds", kind: MetricKind::Gauge },
        ];
        let family = |name: &str, kind, help: &str, unit: &str| Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        };
        let expected =
            vec![family("a", "counter", "What\n it is \\.", ""), family("b_seconds", "gauge", "", "seconds")];
        let found = families(items.clone().into_iter(), true);
        assert_eq!(families(items.into_iter(), false)[0].help, "What\\n it is \\\\.");
        assert_eq!(found, expected);
        let all = Families::default();
        let (first, second) = (all.share(found.clone()), all.share(found));
        assert!(first.iter().zip(&second).all(|(a, b)| Arc::ptr_eq(a, b)));
    }
}
