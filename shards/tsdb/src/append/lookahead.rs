//! Finds the series of a batch some entries before they are appended to, so that memory is asked for long before it is needed.
//!
//! Two ways. By the identity table: the slot where the search starts is asked for first, then the line that the search finds. Or,
//! while a sender keeps to the order in which its series were made, by position: the next series is the one behind the last one,
//! which spares the table, and lines that lie side by side are the cheapest to read. Either is a guess until the identity in the
//! line confirms it.

use codec::prefetch::prefetch_read;
use model::SeriesId;

use crate::{SeriesRef, head::Head};

/// Entries by which each prefetch runs ahead: enough to hide the memory's latency, few enough for the lines to stay in L1.
const SLOTS_AHEAD: usize = 32;
const LINES_AHEAD: usize = 16;
/// What a line points to can be asked for once the line is there.
const BLOCKS_AHEAD: usize = 4;

/// Series one behind the other before the table is left alone. A wrong guess costs about as much as looking up half as many.
const RUN_MIN: u32 = 64;

pub(super) struct Lookahead {
    /// Guesses for the entries from the current one on, by entry modulo its length.
    guesses: [Option<SeriesRef>; LINES_AHEAD],
    newest: Option<SeriesRef>,
    /// How many guesses up to the newest lie one behind the other.
    run: u32,
}

impl Lookahead {
    /// `id_at` gives the identity of an entry, `None` behind the last one.
    pub(super) fn start(head: &Head, id_at: impl Fn(usize) -> Option<SeriesId>) -> Self {
        let mut lookahead = Self { guesses: [None; LINES_AHEAD], newest: None, run: 0 };
        lookahead.fill_from_table(head, 0, id_at);
        lookahead
    }

    /// The series of an entry, if it is known at the place where it was expected. To be called for each entry in turn.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        head: &Head,
        at: usize,
        id: SeriesId,
        id_at: impl Fn(usize) -> Option<SeriesId>,
    ) -> Option<SeriesRef> {
        let is_right = |guess: &SeriesRef| head.lines.get(guess.index()).id == id;
        let mut found = self.guesses[at % LINES_AHEAD].filter(is_right);
        if found.is_none() && self.is_in_order() {
            self.fill_from_table(head, at, &id_at);
            found = self.guesses[at % LINES_AHEAD].filter(is_right);
        }
        self.advance(head, at, id_at);
        found
    }

    #[inline(always)]
    fn is_in_order(&self) -> bool {
        self.run >= RUN_MIN
    }

    /// Guesses the entry that comes into sight when the current one goes.
    #[inline(always)]
    fn advance(&mut self, head: &Head, at: usize, id_at: impl Fn(usize) -> Option<SeriesId>) {
        let guess = if self.is_in_order() {
            self.newest.map(SeriesRef::next).filter(|next| next.index() < head.lines.len())
        } else {
            if let Some(id) = id_at(at + SLOTS_AHEAD) {
                head.table.prefetch(id);
            }
            id_at(at + LINES_AHEAD).and_then(|id| head.table.guess(id))
        };
        self.put(head, at + LINES_AHEAD, guess);
        if let Some(series) = self.guesses[(at + BLOCKS_AHEAD) % LINES_AHEAD] {
            head.bits.prefetch(head.lines.get(series.index()));
        }
    }

    #[inline(always)]
    fn put(&mut self, head: &Head, at: usize, guess: Option<SeriesRef>) {
        if let Some(series) = guess {
            let (page, place) = head.lines.place(series.index());
            prefetch_read(page, place);
        }
        let follows = guess.is_some() && guess == self.newest.map(SeriesRef::next);
        self.run = if follows { self.run.saturating_add(1) } else { 0 };
        self.newest = guess;
        self.guesses[at % LINES_AHEAD] = guess;
    }

    /// Looks all entries in sight up in the table.
    #[cold]
    fn fill_from_table(&mut self, head: &Head, at: usize, id_at: impl Fn(usize) -> Option<SeriesId>) {
        for id in (at..at + SLOTS_AHEAD).map_while(&id_at) {
            head.table.prefetch(id);
        }
        self.run = 0;
        self.newest = None;
        for place in at..at + LINES_AHEAD {
            let guess = id_at(place).and_then(|id| head.table.guess(id));
            self.put(head, place, guess);
        }
    }
}
