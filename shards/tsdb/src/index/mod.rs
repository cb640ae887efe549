//! Who is in the head and how to find it: label pairs, postings, label sets, and the table from identity to series.

mod identity_table;
mod pairs;
mod postings;
mod series_labels;

pub use identity_table::IdentityTable;
pub use pairs::{PairError, PairRef, Pairs, PairsView};
pub use postings::PostingsTable;
pub use series_labels::{LabelsView, SeriesLabels};
