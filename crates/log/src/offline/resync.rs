//! Where sound batches go on behind damage.

use std::io;
use std::sync::Arc;

use corduroy_batch::HEADER_BYTES;

use crate::disk::DiskFile;
use crate::index::{Expect, ScanStart};
use crate::scan::{Damage, check_crc, parse_header};

/// Bytes looked through at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The first sound batch behind `damage` in a file of `bytes` bytes: one with a right checksum and a later offset.
///
/// # Errors
/// What the disk reports.
pub(super) fn next_sound(
    file: &Arc<dyn DiskFile>,
    damage: &Damage,
    bytes: u64,
) -> io::Result<Option<ScanStart>> {
    let mut chunk_at = damage.position + 1;
    let mut chunk = Vec::new();
    let mut batch = Vec::new();
    while chunk_at.saturating_add(HEADER_BYTES as u64) <= bytes {
        chunk.clear();
        file.read_at(&mut chunk, chunk_at, CHUNK_BYTES)?;
        for (position, window) in (chunk_at..).zip(chunk.windows(HEADER_BYTES)) {
            // What stands behind the end of a sealed segment is not looked at, though it is read.
            let Some(left) = bytes.checked_sub(position) else { return Ok(None) };
            let Ok(header) = parse_header(window, left) else { continue };
            let distance = header.base_offset.get().checked_sub(damage.offset.get());
            // One batch never spans more offsets than fit its 32 bits; what lies further ahead is no neighbour.
            if distance.is_none_or(|distance| distance == 0 || distance > u64::from(u32::MAX)) {
                continue;
            }
            batch.clear();
            file.read_at(&mut batch, position, header.total_bytes() as usize)?;
            if check_crc(&header, &batch).is_ok() {
                return Ok(Some(ScanStart { position, expect: Expect::Base(header.base_offset) }));
            }
        }
        if chunk.len() < HEADER_BYTES {
            break;
        }
        // A header may lie across the edge.
        chunk_at += (chunk.len() - HEADER_BYTES + 1) as u64;
    }
    Ok(None)
}
