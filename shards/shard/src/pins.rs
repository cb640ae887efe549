//! What readers still need of chunk files that the head has let go.
//!
//! A selection holds a pin until its reader is done. Files that a truncation makes superfluous go when the last pin from before
//! it is gone.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Weak},
};

pub(crate) type Pin = Arc<()>;

#[derive(Default)]
pub(crate) struct Pins {
    current: RefCell<Pin>,
    /// Of selections that may refer to what truncations have removed since.
    old: RefCell<Vec<Weak<()>>>,
    waiting: Cell<bool>,
}

impl Pins {
    /// Keeps what the head refers to now from being removed.
    pub(crate) fn pin(&self) -> Pin {
        self.current.borrow().clone()
    }

    /// Selections that begin from now on do not refer to what goes.
    pub(crate) fn truncated(&self) {
        let old = self.current.replace(Pin::default());
        self.old.borrow_mut().push(Arc::downgrade(&old));
    }

    /// Whether a reader from before the last truncation is not done.
    pub(crate) fn is_held(&self) -> bool {
        let mut old = self.old.borrow_mut();
        old.retain(|pin| pin.strong_count() > 0);
        !old.is_empty()
    }

    /// Claims the wait for readers to be done; `false` if somebody waits already.
    pub(crate) fn claim_wait(&self) -> bool {
        !self.waiting.replace(true)
    }

    pub(crate) fn end_wait(&self) {
        self.waiting.set(false);
    }
}
