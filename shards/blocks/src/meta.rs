//! `meta.json`: what a block says of itself, as Prometheus writes it (version 1).
//!
//! Keys of others (Thanos has one) are kept as they are. We add one, `millrace`, which others ignore: it has a checksum of the file's
//! own keys, as Prometheus' format has none here.

use codec::crc::crc32c;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The only version that there is.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub ulid: String,
    /// In milliseconds, inclusive.
    pub min_time: i64,
    /// One past the last time.
    pub max_time: i64,
    #[serde(default)]
    pub stats: Stats,
    pub compaction: Compaction,
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millrace: Option<Own>,
    /// Whatever else stands there.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a block of ours says beyond Prometheus' keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Own {
    /// If the samples were cut from the head: the shards may forget what is before this time, it is in this block and its elders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_before: Option<i64>,
    /// CRC-32C of Prometheus' keys and the one above, as compact JSON with this one zero.
    pub checksum: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    pub level: u32,
    /// Blocks of level 1 that went into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Nothing is left in it: it goes at the next look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletable: bool,
    /// Blocks that this one replaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    pub ulid: String,
    pub min_time: i64,
    pub max_time: i64,
}

impl Meta {
    /// What a block that is being made says; counts are filled in while it is written.
    pub fn new(ulid: String, min_time: i64, max_time: i64, compaction: Compaction, cut_before: Option<i64>) -> Self {
        let (stats, other) = (Stats::default(), Map::new());
        let millrace = Some(Own { cut_before, checksum: 0 });
        Self { ulid, min_time, max_time, stats, compaction, version: VERSION, millrace, other }
    }

    /// Before which time the shards may forget what they have.
    pub fn cut_before(&self) -> Option<i64> {
        self.millrace?.cut_before
    }

    fn checksum(&self) -> u32 {
        let own = self.millrace.map(|own| Own { checksum: 0, ..own });
        let plain = Self { millrace: own, other: Map::new(), ..self.clone() };
        crc32c(&plain.encode_compact())
    }

    /// The file's content; a block of ours gets its checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut sealed = self.clone();
        if let Some(own) = &mut sealed.millrace {
            own.checksum = self.checksum();
        }
        sealed.encode_as_is()
    }

    fn encode_as_is(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
        self.serialize(&mut serializer).expect("numbers and texts become JSON");
        text
    }

    /// On one line.
    pub fn encode_compact(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts become JSON")
    }

    pub fn decode(text: &[u8]) -> Result<Self, String> {
        let meta: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if meta.version != VERSION {
            return Err(format!("version {} is not one that this program reads", meta.version));
        }
        if meta.millrace.is_some_and(|own| own.checksum != meta.checksum()) {
            return Err("its checksum does not match".to_owned());
        }
        if meta.min_time >= meta.max_time {
            return Err(format!("its time range from {} to {} is empty", meta.min_time, meta.max_time));
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_kept() {
        let text = r#"{"ulid":"01ARZ3NDEKTSV4RRFFQ69G5FAV","minTime":1,"maxTime":9,"stats":{"numSamples":3,"numSeries":1},
            "compaction":{"level":2,"sources":["a","b"],"parents":[{"ulid":"a","minTime":1,"maxTime":5}]},"version":1,
            "thanos":{"labels":{"replica":"a"}}}"#;
        let meta = Meta::decode(text.as_bytes()).expect("a good file");
        assert_eq!((meta.min_time, meta.stats.num_samples, meta.compaction.parents.len()), (1, 3, 1));
        let again = Meta::decode(&meta.encode()).expect("what was just written");
        assert_eq!(again, meta);
        assert_eq!(again.other["thanos"]["labels"]["replica"], "a");
    }

    #[test]
    fn a_changed_digit_of_ours_is_noticed() {
        let compaction = Compaction { level: 1, sources: vec!["a".to_owned()], ..Compaction::default() };
        let mut meta = Meta::new("a".to_owned(), 7_200_000, 14_400_000, compaction, Some(14_400_000));
        meta.stats.num_samples = 77;
        let text = String::from_utf8(meta.encode()).expect("JSON");
        let read = Meta::decode(text.as_bytes()).expect("a good file");
        assert_eq!((read.cut_before(), read.stats.num_samples), (Some(14_400_000), 77));
        for (digits, others) in
            [("7200000", "7200001"), ("14400000", "14400008"), (" 77", " 78"), ("\"level\": 1", "\"level\": 3")]
        {
            let changed = text.replacen(digits, others, 1);
            assert_ne!(changed, text, "{digits} is not in {text}");
            assert!(Meta::decode(changed.as_bytes()).is_err(), "{others}");
        }
        let with_another = text.replacen('{', "{\"thanos\": {},", 1);
        assert!(Meta::decode(with_another.as_bytes()).is_ok(), "keys of others are theirs");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, part: &str| {
            let error = Meta::decode(text.as_bytes()).expect_err(text);
            assert!(error.contains(part), "{error}");
        };
        check("{", "EOF");
        let rest = r#""minTime":5,"maxTime":9,"compaction":{"level":1},"version":2"#;
        check(&format!("{{\"ulid\":\"x\",{rest}}}"), "version 2");
        check(r#"{"ulid":"x","minTime":9,"maxTime":9,"compaction":{"level":1},"version":1}"#, "empty");
    }
}
