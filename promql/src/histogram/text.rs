//! A histogram as text: `{count:3, sum:2.5, [-1,-0.5):1, (0.5,1]:2}`.

use std::fmt;

use super::FloatHistogram;
use crate::value_text::general;

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general(self.count), general(self.sum))?;
        // Here, and not where buckets are listed, a zero bucket with less than nothing in it counts.
        let mut buckets: Vec<_> = self.buckets().collect();
        if self.zero_count < 0.0 {
            buckets.insert(self.negative.len(), self.zero_bucket());
        }
        for bucket in buckets {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (general(bucket.lower), general(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", general(bucket.count))?;
        }
        f.write_str("}")
    }
}
