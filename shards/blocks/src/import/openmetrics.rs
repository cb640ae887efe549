//! OpenMetrics text made into blocks.

use std::path::Path;

use model::LabelsBuilder;
use runtime::Runtime;
use wire::openmetrics::{ParseError, parse};

use super::{
    gather::Gathered,
    write::{self, MadeBlocks},
};
use crate::{block::map, error::BlocksError};

/// Makes blocks of a file of OpenMetrics text whose samples all have timestamps, in any order, durably. `labels` are added to each series. No
/// server may run on `data`.
///
/// # Errors
/// If the text has an error, which is named with its line: nothing is written then. If the file can't be read, or a block can't be written.
pub async fn import_openmetrics<R: Runtime>(
    runtime: &R,
    file: &Path,
    labels: &[(String, String)],
    data: &Path,
) -> Result<MadeBlocks, BlocksError> {
    let text = map(runtime, file).await?;
    let mut gathered = Gathered::default();
    let parsed = parse(&text, |_, sample| {
        let time = sample.time.ok_or("the sample has no timestamp")?;
        let mut of_series = sample.labels;
        if !labels.is_empty() {
            let mut builder = LabelsBuilder::from_labels(&of_series);
            for (name, value) in labels {
                builder.set(name, value);
            }
            of_series = builder.build();
        }
        gathered.add_float(of_series, time, sample.bits)
    });
    parsed.map_err(|error: ParseError| BlocksError::Text { path: file.to_owned(), error })?;
    text.release_pages();
    gathered.finish();
    write::write(runtime, data, &gathered).await
}
