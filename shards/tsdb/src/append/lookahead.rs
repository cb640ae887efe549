//! Finds the series of a batch some entries before they are appended to, so that memory is asked for long before it is needed.
//!
//! Who was told a place gives it, and it is right. Else there are two ways. By the identity table: the slot where the search starts is asked for first, then the line that the search finds. Or,
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

/// What a series is looked for by.
pub(super) trait Sought: Copy {
    /// Asks for the memory that [`Self::guess`] reads.
    fn prefetch(self, head: &Head);
    fn guess(self, head: &Head) -> Option<SeriesRef>;
    fn is_at(self, head: &Head, guess: SeriesRef) -> bool;
}

impl Sought for SeriesId {
    #[inline(always)]
    fn prefetch(self, head: &Head) {
        head.table.prefetch(self);
    }

    #[inline(always)]
    fn guess(self, head: &Head) -> Option<SeriesRef> {
        head.table.guess(self)
    }

    #[inline(always)]
    fn is_at(self, head: &Head, guess: SeriesRef) -> bool {
        head.lines.get(guess.index()).id == self
    }
}

/// Of a batch some of whose series have places.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdOrPlace {
    Id(SeriesId),
    Place(SeriesRef),
    /// A place that leads nowhere any more.
    Gone,
}

impl Sought for IdOrPlace {
    #[inline(always)]
    fn prefetch(self, head: &Head) {
        if let Self::Id(id) = self {
            id.prefetch(head);
        }
    }

    #[inline(always)]
    fn guess(self, head: &Head) -> Option<SeriesRef> {
        match self {
            Self::Id(id) => id.guess(head),
            Self::Place(series) => Some(series),
            Self::Gone => None,
        }
    }

    #[inline(always)]
    fn is_at(self, head: &Head, guess: SeriesRef) -> bool {
        match self {
            Self::Id(id) => id.is_at(head, guess),
            Self::Place(series) => series == guess,
            Self::Gone => false,
        }
    }
}

pub(super) struct Lookahead {
    /// Guesses for the entries from the current one on, by entry modulo its length.
    guesses: [Option<SeriesRef>; LINES_AHEAD],
    newest: Option<SeriesRef>,
    /// How many guesses up to the newest lie one behind the other.
    run: u32,
}

impl Lookahead {
    /// `sought_at` gives what the series of an entry is looked for by, `None` behind the last one.
    pub(super) fn start<S: Sought>(head: &Head, sought_at: impl Fn(usize) -> Option<S>) -> Self {
        let mut lookahead = Self { guesses: [None; LINES_AHEAD], newest: None, run: 0 };
        lookahead.look_up(head, 0, sought_at);
        lookahead
    }

    /// The series of an entry, if it is known at the place where it was expected. To be called for each entry in turn.
    #[inline(always)]
    pub(super) fn find<S: Sought>(
        &mut self,
        head: &Head,
        at: usize,
        sought: S,
        sought_at: impl Fn(usize) -> Option<S>,
    ) -> Option<SeriesRef> {
        let is_right = |guess: &SeriesRef| sought.is_at(head, *guess);
        let mut found = self.guesses[at % LINES_AHEAD].filter(is_right);
        if found.is_none() && self.is_in_order() {
            self.look_up(head, at, &sought_at);
            found = self.guesses[at % LINES_AHEAD].filter(is_right);
        }
        self.advance(head, at, sought_at);
        found
    }

    #[inline(always)]
    fn is_in_order(&self) -> bool {
        self.run >= RUN_MIN
    }

    /// Guesses the entry that comes into sight when the current one goes.
    #[inline(always)]
    fn advance<S: Sought>(&mut self, head: &Head, at: usize, sought_at: impl Fn(usize) -> Option<S>) {
        let guess = if self.is_in_order() {
            self.newest.map(SeriesRef::next).filter(|next| next.index() < head.lines.len())
        } else {
            if let Some(sought) = sought_at(at + SLOTS_AHEAD) {
                sought.prefetch(head);
            }
            sought_at(at + LINES_AHEAD).and_then(|sought| sought.guess(head))
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
    fn look_up<S: Sought>(&mut self, head: &Head, at: usize, sought_at: impl Fn(usize) -> Option<S>) {
        for sought in (at..at + SLOTS_AHEAD).map_while(&sought_at) {
            sought.prefetch(head);
        }
        self.run = 0;
        self.newest = None;
        for place in at..at + LINES_AHEAD {
            let guess = sought_at(place).and_then(|sought| sought.guess(head));
            self.put(head, place, guess);
        }
    }
}
