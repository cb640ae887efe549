//! Deleting what series have in a range: from the head's answers at once, from the disk when their window is cut.

use model::{Labels, Matcher};
use runtime::Runtime;
use tsdb::select::{Selecting, TimeRange, Wanted};

use crate::{handle::Refusal, shard::Core};

/// Series that one slice deletes from.
const SERIES_PER_SLICE: usize = 4096;

impl<R: Runtime> Core<R> {
    /// Deletes, durably when this returns; returns how many series had something.
    pub(crate) async fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<u64, Refusal> {
        self.commits.check(self.number)?;
        let mut deleted = 0;
        // Series get other numbers while this waits only if a window was cut: what is deleted already then counts for nothing.
        while !self.delete_selected(matchers, range, &mut deleted).await? {}
        deleted += self.delete_out_of_order(matchers, range);
        self.commits.committed(self.number).await?;
        Ok(deleted)
    }

    fn delete_out_of_order(&self, matchers: &[Matcher], range: TimeRange) -> u64 {
        let (mut head, mut batch) = (self.head.borrow_mut(), self.batch.borrow_mut());
        if head.out_of_order_samples() == 0 {
            return 0;
        }
        let value =
            |labels: &Labels, matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
        let is_meant = |labels: &Labels| matchers.iter().all(|matcher| value(labels, matcher));
        let deleted = head.delete_out_of_order(is_meant, range, &mut batch);
        self.tell_out_of_order(&head);
        self.commits.open_batch_grew(batch.approximate_bytes());
        deleted
    }

    /// `false`: the series have been numbered anew meanwhile.
    async fn delete_selected(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        deleted: &mut u64,
    ) -> Result<bool, Refusal> {
        let selecting = Selecting::new(matchers, range, Wanted::Series);
        let found = self.select_in_slices(selecting, usize::MAX).await?;
        for series in found.series.chunks(SERIES_PER_SLICE) {
            {
                let (mut head, mut batch) = (self.head.borrow_mut(), self.batch.borrow_mut());
                if head.generation() != found.generation {
                    return Ok(false);
                }
                let took = series.iter().filter(|&&series| head.delete(series, range, &mut batch));
                *deleted += took.count() as u64;
                self.commits.open_batch_grew(batch.approximate_bytes());
            }
            self.runtime.yield_now().await;
        }
        Ok(true)
    }
}
