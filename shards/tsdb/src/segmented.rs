//! Append-only arrays in segments: they grow without moving what they hold, and a reader on another thread can keep a view.

use std::{ops::Index, sync::Arc};

/// An append-only array whose full segments are shared with readers and whose last segment is private.
#[derive(Debug)]
pub struct Segmented<T, const SEGMENT: usize> {
    full: Vec<Arc<[T]>>,
    tail: Vec<T>,
}

/// A view of the first elements of a [`Segmented`] as they were when it was taken.
#[derive(Clone, Debug)]
pub struct SegmentedView<T, const SEGMENT: usize> {
    full: Vec<Arc<[T]>>,
    tail: Arc<[T]>,
}

impl<T, const SEGMENT: usize> Default for Segmented<T, SEGMENT> {
    fn default() -> Self {
        Self { full: Vec::new(), tail: Vec::new() }
    }
}

impl<T: Copy, const SEGMENT: usize> Segmented<T, SEGMENT> {
    pub fn len(&self) -> usize {
        self.full.len() * SEGMENT + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that fit before the next segment begins.
    pub fn room(&self) -> usize {
        SEGMENT - self.tail.len()
    }

    #[inline]
    pub fn push(&mut self, element: T) {
        self.tail.push(element);
        if self.tail.len() == SEGMENT {
            self.freeze();
        }
    }

    /// Appends elements that stay side by side in one segment; what was left of the current one is filled up with `filler` if
    /// they don't fit. Returns where they start.
    pub fn push_together(&mut self, elements: &[T], filler: T) -> usize {
        assert!(elements.len() <= SEGMENT, "a run of {} does not fit a segment of {SEGMENT}", elements.len());
        if elements.len() > self.room() {
            self.tail.resize(SEGMENT, filler);
            self.freeze();
        }
        let start = self.len();
        self.tail.extend_from_slice(elements);
        if self.tail.len() == SEGMENT {
            self.freeze();
        }
        start
    }

    /// A run of elements inside one segment.
    #[inline]
    pub fn run(&self, start: usize, length: usize) -> &[T] {
        run(&self.full, &self.tail, SEGMENT, start, length)
    }

    /// Copies at most one segment; the rest is shared.
    pub fn view(&self) -> SegmentedView<T, SEGMENT> {
        SegmentedView { full: self.full.clone(), tail: self.tail.as_slice().into() }
    }

    pub fn heap_bytes(&self) -> usize {
        (self.full.len() * SEGMENT + self.tail.capacity()) * size_of::<T>()
    }

    fn freeze(&mut self) {
        let next = Vec::with_capacity(SEGMENT.min(self.tail.capacity()));
        self.full.push(std::mem::replace(&mut self.tail, next).into());
    }
}

impl<T: Copy, const SEGMENT: usize> SegmentedView<T, SEGMENT> {
    pub fn len(&self) -> usize {
        self.full.len() * SEGMENT + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn run(&self, start: usize, length: usize) -> &[T] {
        run(&self.full, &self.tail, SEGMENT, start, length)
    }
}

#[inline]
fn run<'a, T>(full: &'a [Arc<[T]>], tail: &'a [T], segment_length: usize, start: usize, length: usize) -> &'a [T] {
    let (segment, at) = (start / segment_length, start % segment_length);
    let elements = full.get(segment).map_or(tail, |segment| segment);
    &elements[at..at + length]
}

impl<T: Copy, const SEGMENT: usize> Index<usize> for Segmented<T, SEGMENT> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.run(index, 1)[0]
    }
}

impl<T: Copy, const SEGMENT: usize> Index<usize> for SegmentedView<T, SEGMENT> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.run(index, 1)[0]
    }
}

/// A growing array of fixed pages whose elements can be changed in place and never move.
#[derive(Debug)]
pub struct Pages<T, const PAGE: usize> {
    pages: Vec<Box<[T]>>,
    length: usize,
}

impl<T, const PAGE: usize> Default for Pages<T, PAGE> {
    fn default() -> Self {
        Self { pages: Vec::new(), length: 0 }
    }
}

impl<T: Copy + Default, const PAGE: usize> Pages<T, PAGE> {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn push(&mut self, element: T) {
        if self.length == self.pages.len() * PAGE {
            self.pages.push(vec![T::default(); PAGE].into_boxed_slice());
        }
        self.pages[self.length / PAGE][self.length % PAGE] = element;
        self.length += 1;
    }

    #[inline]
    pub fn get(&self, index: usize) -> &T {
        debug_assert!(index < self.length, "index {index} of {}", self.length);
        &self.pages[index / PAGE][index % PAGE]
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> &mut T {
        debug_assert!(index < self.length, "index {index} of {}", self.length);
        &mut self.pages[index / PAGE][index % PAGE]
    }

    /// The page that holds an element, and where in it; for prefetching.
    #[inline]
    pub fn place(&self, index: usize) -> (&[T], usize) {
        (&self.pages[index / PAGE], index % PAGE)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().take(self.length)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten().take(self.length)
    }

    /// Keeps some elements, in another order, without a second array: `old[new]` is where each was. The first `in_order` of them
    /// stand in rising order; those behind are few.
    pub fn rearrange(&mut self, old: &[u32], in_order: usize) {
        let behind: Vec<T> = old[in_order..].iter().map(|&at| *self.get(at as usize)).collect();
        for (new, &at) in old[..in_order].iter().enumerate() {
            debug_assert!(new <= at as usize, "rising positions only move to the front");
            *self.get_mut(new) = *self.get(at as usize);
        }
        for (new, element) in (in_order..).zip(behind) {
            *self.get_mut(new) = element;
        }
        self.length = old.len();
        self.pages.truncate(self.length.div_ceil(PAGE));
    }

    pub fn heap_bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_in_one_segment_and_views_do_not_change() {
        let mut array: Segmented<u32, 8> = Segmented::default();
        array.push_together(&[1, 2, 3, 4, 5], 0);
        let start = array.push_together(&[6, 7, 8, 9], 0);
        assert_eq!(start, 8, "did not fit behind the first five");
        assert_eq!(array.run(start, 4), [6, 7, 8, 9]);
        let view = array.view();
        for number in 0..20 {
            array.push(number);
        }
        assert_eq!(view.len(), 12);
        assert_eq!(view.run(0, 5), [1, 2, 3, 4, 5]);
        assert_eq!(view.run(8, 4), [6, 7, 8, 9]);
        assert_eq!(array[12], 0);
        assert_eq!(array[31], 19);
    }

    #[test]
    fn pages_grow_and_change_in_place() {
        let mut pages: Pages<u32, 4> = Pages::default();
        (0..10).for_each(|number| pages.push(number));
        *pages.get_mut(5) = 50;
        assert_eq!(pages.iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 50, 6, 7, 8, 9]);
        pages.rearrange(&[1, 4, 5, 9, 0, 2], 4);
        assert_eq!(pages.iter().copied().collect::<Vec<_>>(), [1, 4, 50, 9, 0, 2]);
        pages.push(11);
        assert_eq!((pages.len(), *pages.get(6)), (7, 11));
    }
}
