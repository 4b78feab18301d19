//! Hostile input costs no memory: what a kilobyte of it makes the crate reserve is bounded by the caps, not by the
//! lengths that it declares.

#![expect(unsafe_code, reason = "a counting global allocator, for this test alone")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of the test functions")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::Bytes;
use corduroy_batch::{AppendRules, Batch, Compression, DecompressLimits, validate_for_append};
use corduroy_types::TimestampMs;
use support::{
    exercise::{DECOMPRESSED_MAX_BYTES, exercise},
    owned::{OwnedRecord, build},
};

/// Remembers the greatest sum of live bytes of the thread that measures.
struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn grow(bytes: usize) {
    // Allocations of a thread that is going away are not counted.
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get().saturating_add(bytes));
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn shrink(bytes: usize) {
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the system allocator unchanged; counting touches only constant-initialised
// thread-local cells, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: `pointer` came from the system allocator with this layout, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        // SAFETY: as for `dealloc`; `size` is the caller's to promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The greatest number of bytes that `run` held at once, beyond those before it.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    run();
    PEAK_BYTES.get() - before
}

/// In addition to the cap: the walk's window, and the tables of a decoder (gzip's take 40 KiB).
const SLACK_BYTES: usize = 64 * 1024;

fn budget() -> usize {
    // One buffer for what comes out and the decoder's own piece of it, each within the cap.
    2 * usize::try_from(DECOMPRESSED_MAX_BYTES).unwrap() + SLACK_BYTES
}

fn kilobyte_batch(codec: Compression) -> Bytes {
    let noise: Vec<u8> =
        (0_u32..600).map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    let record = OwnedRecord {
        timestamp: 0,
        key: None,
        value: Some([noise, vec![0; 300_000]].concat()),
        headers: vec![],
    };
    build(codec, &[record]).unwrap()
}

/// Every byte behind the header, set to what lengths are likely to fear.
#[test]
fn no_declared_length_is_believed() {
    let mut worst = (0, String::new());
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let bytes = kilobyte_batch(codec).slice(..1024.min(kilobyte_batch(codec).len()));
        for at in 0..bytes.len().min(200) {
            for planted in [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0, 0, 0, 0x80], [0xff, 0xff, 0xff, 0x0f]] {
                let mut input = bytes.to_vec();
                for (target, byte) in input.iter_mut().skip(at).zip(planted) {
                    *target = byte;
                }
                let peak = peak_of(|| exercise(&input));
                if peak > worst.0 {
                    worst = (peak, format!("{codec}, {planted:02x?} at byte {at}"));
                }
            }
        }
    }
    assert!(worst.0 <= budget(), "{} bytes at once for {}", worst.0, worst.1);
}

/// Without compression nothing is reserved at all: not by parsing, and not by iterating.
#[test]
fn reading_an_uncompressed_batch_allocates_nothing() {
    let bytes = kilobyte_batch(Compression::None);
    let peak = peak_of(|| {
        let batch = Batch::parse(bytes.clone()).unwrap();
        let records = batch.records(DecompressLimits::default()).unwrap();
        assert_eq!(records.iter().filter(Result::is_ok).count(), 1);
    });
    // Sharing a buffer for the first time may allocate its reference count.
    assert!(peak <= 64, "{peak} bytes");
}

/// A small batch under a large cap pays for what it holds, not for the cap.
#[test]
fn a_large_cap_costs_nothing_by_itself() {
    let record =
        OwnedRecord { timestamp: 0, key: None, value: Some(b"small".repeat(20)), headers: Vec::new() };
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let batch = Batch::parse(build(codec, std::slice::from_ref(&record)).unwrap()).unwrap();
        let peak = peak_of(|| drop(batch.records(DecompressLimits::new(u64::MAX)).unwrap()));
        assert!(peak <= SLACK_BYTES, "{codec}: {peak} bytes");
    }
}

/// What one record decompresses to is never held for a check, and what is held is what is said.
#[test]
fn a_check_holds_what_it_says_however_large_the_record_is() {
    let now = TimestampMs(1_700_000_000_000);
    let record = OwnedRecord {
        timestamp: now.0,
        key: None,
        value: Some(vec![0; 24 << 20]),
        headers: vec![("h".to_owned(), Some(vec![0; 8 << 20]))],
    };
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let batch = Batch::parse(build(codec, std::slice::from_ref(&record)).unwrap()).unwrap();
        let rules = AppendRules { max_batch_bytes: u32::MAX, ..AppendRules::default() };
        let peak = peak_of(|| drop(validate_for_append(&batch, &rules, now).unwrap()));
        let said = usize::try_from(batch.check_bytes(rules.decompress)).unwrap();
        assert!(peak <= said + 1_024, "{codec}: {peak} bytes, said {said}");
        assert!(said <= 9 << 20 || codec == Compression::Snappy, "{codec}: {said} bytes");
    }
}
