//! [`AlignedBuffer`]: bytes that a direct write or read can take as they are.
//!
//! Promised: the address and the capacity are multiples of [`SECTOR_BYTES`], every byte below `len` is initialised, and no
//! method but those that grow (`extend_from_slice`, `resize`, `reserve`, `pad_to_sector`) allocates.

use std::{
    alloc::{self, Layout},
    fmt,
    io::{self, Write},
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    slice,
};

use crate::SECTOR_BYTES;

/// An owned, growable byte buffer at a sector-aligned address.
pub struct AlignedBuffer {
    /// Points at `capacity` bytes from the allocator, or dangles (aligned) when `capacity` is 0.
    start: NonNull<u8>,
    /// Initialised bytes; never above `capacity`.
    len: usize,
    /// A multiple of `SECTOR_BYTES`.
    capacity: usize,
}

// SAFETY: the buffer owns its bytes alone, like a Vec<u8>; the pointer never leaves it.
unsafe impl Send for AlignedBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// An empty buffer; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { start: NonNull::<Sector>::dangling().cast(), len: 0, capacity: 0 }
    }

    /// An empty buffer with room for at least `bytes` bytes, rounded up to whole sectors.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Self::new();
        buffer.reserve(bytes);
        buffer
    }

    /// A buffer of `bytes` zeros, as a read wants it.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let mut buffer = Self::with_capacity(bytes);
        buffer.resize(bytes);
        buffer
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the content, keeps the memory.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens to `len`; no effect if the buffer is already as short.
    pub const fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
        }
    }

    /// Makes room for `additional` bytes beyond `len`.
    pub fn reserve(&mut self, additional: usize) {
        let wanted = self.len.checked_add(additional).expect("a buffer's length fits in usize");
        if wanted > self.capacity {
            self.grow_to(wanted);
        }
    }

    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: `reserve` left room for `bytes.len()` bytes behind `len`, and `bytes` cannot overlap memory that `&mut self` owns.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Sets the length; new bytes are zero.
    pub fn resize(&mut self, len: usize) {
        if let Some(additional) = len.checked_sub(self.len) {
            self.reserve(additional);
            // SAFETY: `reserve` left room for `additional` bytes behind `len`.
            unsafe { ptr::write_bytes(self.start.as_ptr().add(self.len), 0, additional) };
        }
        self.len = len;
    }

    /// Fills up to the next multiple of [`SECTOR_BYTES`] with zeros and returns how many that took.
    pub fn pad_to_sector(&mut self) -> usize {
        let padding = self.len.next_multiple_of(SECTOR_BYTES) - self.len;
        self.resize(self.len + padding);
        padding
    }

    #[must_use]
    pub const fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are initialised and ours; for an empty buffer the pointer is aligned and not null.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[must_use]
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the borrow unique.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Moves to at least `wanted` bytes, doubling so that appending stays linear.
    #[cold]
    fn grow_to(&mut self, wanted: usize) {
        let capacity = wanted.max(self.capacity.saturating_mul(2)).next_multiple_of(SECTOR_BYTES);
        let layout = layout_of(capacity);
        // SAFETY: the layout's size is not zero, as `wanted` is above the old capacity.
        let memory = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(memory) else { alloc::handle_alloc_error(layout) };
        // SAFETY: both are valid for `len` bytes, and the new memory is disjoint from the old.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr(), start.as_ptr(), self.len) };
        self.release();
        self.start = start;
        self.capacity = capacity;
    }

    /// Gives the memory back; the caller sets new fields or is being dropped.
    fn release(&mut self) {
        if self.capacity > 0 {
            // SAFETY: `start` came from the allocator with this very layout.
            unsafe { alloc::dealloc(self.start.as_ptr(), layout_of(self.capacity)) };
        }
    }
}

/// Carries the alignment into `NonNull::dangling`.
#[repr(align(4096))]
struct Sector;

const _: () = assert!(align_of::<Sector>() == SECTOR_BYTES);

fn layout_of(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, SECTOR_BYTES).expect("a buffer's capacity fits in isize")
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for AlignedBuffer {
    fn clone(&self) -> Self {
        Self::from(self.as_slice())
    }
}

impl From<&[u8]> for AlignedBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Extend<u8> for AlignedBuffer {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            self.push(byte);
        }
    }
}

impl Write for AlignedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartialEq for AlignedBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AlignedBuffer {}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_aligned(buffer: &AlignedBuffer) {
        assert_eq!(buffer.as_slice().as_ptr().addr() % SECTOR_BYTES, 0);
        assert_eq!(buffer.capacity() % SECTOR_BYTES, 0);
    }

    #[test]
    fn an_empty_buffer_is_aligned_and_reads_as_empty() {
        let buffer = AlignedBuffer::new();
        assert_aligned(&buffer);
        assert_eq!(buffer.as_slice(), b"");
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn growing_keeps_content_and_alignment() {
        let mut buffer = AlignedBuffer::with_capacity(1);
        let mut expected = Vec::new();
        for step in 0_usize..300 {
            let piece = vec![u8::try_from(step % 251).unwrap(); step];
            buffer.extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
            assert_aligned(&buffer);
        }
        assert_eq!(buffer.as_slice(), expected);
    }

    #[test]
    fn resize_fills_with_zeros_even_over_old_content() {
        let mut buffer = AlignedBuffer::from(&[7_u8; 100][..]);
        buffer.resize(10);
        buffer.resize(5000);
        assert_eq!(&buffer[..10], &[7; 10]);
        assert!(buffer[10..].iter().all(|&byte| byte == 0));
        assert_aligned(&buffer);
    }

    #[test]
    fn padding_reaches_the_next_sector_and_no_further() {
        for (len, padding) in [(0, 0), (1, 4095), (4095, 1), (4096, 0), (4097, 4095)] {
            let mut buffer = AlignedBuffer::zeroed(len);
            assert_eq!(buffer.pad_to_sector(), padding, "for {len} bytes");
            assert_eq!(buffer.len() % SECTOR_BYTES, 0);
        }
    }

    #[test]
    fn clearing_keeps_the_memory() {
        let mut buffer = AlignedBuffer::zeroed(10_000);
        let (capacity, address) = (buffer.capacity(), buffer.as_ptr());
        buffer.clear();
        buffer.resize(capacity);
        assert_eq!((buffer.capacity(), buffer.as_ptr()), (capacity, address));
    }

    #[test]
    fn a_clone_shares_nothing() {
        let mut buffer = AlignedBuffer::from(&b"abc"[..]);
        let copy = buffer.clone();
        buffer.as_mut_slice()[0] = b'x';
        assert_eq!((buffer.as_slice(), copy.as_slice()), (&b"xbc"[..], &b"abc"[..]));
        assert_ne!(buffer, copy);
    }

    #[test]
    fn it_moves_between_threads() {
        let buffer = AlignedBuffer::from(&[9_u8; 8192][..]);
        let back = std::thread::spawn(move || buffer).join().unwrap();
        assert_eq!(back.as_slice(), &[9; 8192]);
    }
}
