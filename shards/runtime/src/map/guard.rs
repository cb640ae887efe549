//! The handler of SIGBUS, and the table of mappings that it looks into.
//!
//! A signal handler may do next to nothing: no lock, no allocation. The table is an array of atomics, and the one call is mmap(2).

use std::{
    io, mem,
    ops::Range,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Mappings at a time: a block has one for its index and one for each 512 MiB of chunks.
const PLACES: usize = 4096;

/// The bytes of a mapping; both are zero where there is none.
struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
}

static TABLE: [Entry; PLACES] = [const { Entry { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; PLACES];
static LOST_PAGES: AtomicU64 = AtomicU64::new(0);
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// What was in charge of the signal before; for faults that are none of ours.
static BEFORE: OnceLock<Before> = OnceLock::new();

struct Before(libc::sigaction);

// SAFETY: plain numbers and the address of a function.
unsafe impl Send for Before {}
// SAFETY: as above, and never changed.
unsafe impl Sync for Before {}

/// Pages of mapped files that could not be read since the process began. Each reads as zeros.
pub fn lost_pages() -> u64 {
    LOST_PAGES.load(Ordering::Relaxed)
}

/// A place in the table.
pub(super) struct Place(usize);

impl Place {
    /// Makes the handler responsible for a mapping.
    ///
    /// # Errors
    /// If the table is full, or the kernel refuses the handler.
    pub(super) fn take(bytes: Range<*const u8>) -> io::Result<Self> {
        install()?;
        let (start, end) = (bytes.start.addr(), bytes.end.addr());
        let free = |entry: &Entry| entry.end.compare_exchange(0, end, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let full = || io::Error::other(format!("{PLACES} files are mapped already"));
        let place = TABLE.iter().position(free).ok_or_else(full)?;
        TABLE[place].start.store(start, Ordering::Release);
        Ok(Self(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TABLE[self.0].start.store(0, Ordering::Release);
        TABLE[self.0].end.store(0, Ordering::Release);
    }
}

fn install() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
    // SAFETY: all zeros is a valid `sigaction`; the calls get pointers to it that are valid for their time. The handler does only what
    // a signal handler may. On an alternate stack, as the runtime's own handler has one for overflows.
    unsafe {
        let mut before: libc::sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Whoever comes second has nothing to do: the first has read what was there before.
        if BEFORE.set(Before(before)).is_err() {
            return Ok(());
        }
        let mut ours: libc::sigaction = mem::zeroed();
        ours.sa_sigaction = handle as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handle(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler that asks for one.
    let address = unsafe { (*info).si_addr() }.addr();
    let is_in = |entry: &Entry| {
        let start = entry.start.load(Ordering::Acquire);
        start != 0 && (start..entry.end.load(Ordering::Acquire)).contains(&address)
    };
    if TABLE.iter().any(is_in) && replace_page(address) {
        LOST_PAGES.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if let Some(Before(before)) = BEFORE.get() {
        // SAFETY: puts back what was there; the fault comes again and is its to handle.
        unsafe { libc::sigaction(libc::SIGBUS, ptr::from_ref(before), ptr::null_mut()) };
    }
}

fn replace_page(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let page = ptr::with_exposed_provenance_mut(address - address % page_bytes);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page lies in a mapping of ours that is read only and alive, as somebody has just read from it. A page of zeros in its
    // place changes what is read there, which is what the readers' checksums are for; unmapping the whole takes it away too.
    let placed = unsafe { libc::mmap(page, page_bytes, libc::PROT_READ, flags, -1, 0) };
    placed != libc::MAP_FAILED
}
