//! Samples out of order, as blocks and queries ask for them.

use runtime::Runtime;
use tsdb::{
    Head,
    out_of_order::{SelectedOutOfOrder, SelectingOutOfOrder},
};

use crate::{handle::Refusal, shard::Core};

impl<R: Runtime> Core<R> {
    /// Tells the process how many there are, so that nobody asks in vain.
    pub(crate) fn tell_out_of_order(&self, head: &Head) {
        let now = head.out_of_order_samples();
        self.shared.change_out_of_order_samples(self.out_of_order_told.replace(now), now);
    }

    /// Selects, and answers when everything that the selection may show is durable.
    pub(crate) async fn select_out_of_order(
        &self,
        mut selecting: SelectingOutOfOrder,
        bytes_max: usize,
    ) -> Result<Vec<SelectedOutOfOrder>, Refusal> {
        loop {
            let turn = self.turns.take().await;
            let more = selecting.advance(&self.head.borrow());
            drop(turn);
            if selecting.heap_bytes() > bytes_max {
                return Err(Refusal::SelectionTooLarge { bytes_max });
            }
            if !more {
                break;
            }
            self.runtime.yield_now().await;
        }
        self.everything_durable().await?;
        Ok(selecting.finish())
    }

    /// Forgets what blocks have; durable when this returns.
    pub(crate) async fn drop_out_of_order(&self) -> Result<(), Refusal> {
        self.commits.check(self.number)?;
        {
            let (mut head, mut batch) = (self.head.borrow_mut(), self.batch.borrow_mut());
            let places = head.drop_frozen_out_of_order(&mut batch);
            self.shared.remove_series(places);
            self.tell_out_of_order(&head);
            self.commits.open_batch_grew(batch.approximate_bytes());
        }
        self.commits.committed(self.number).await
    }
}
