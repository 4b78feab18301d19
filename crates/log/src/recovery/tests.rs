//! An index that is built again is the one that was written.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, BatchBuilder, Compression};
use corduroy_types::{LeaderEpoch, TimestampMs};

use super::index_segment;
use crate::disk::{Disk, read_file};
use crate::segment::{INDEX_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::{Known, Log, LogConfig, SimDisk};

fn batch(timestamp: i64, value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let pushed = builder.push(TimestampMs(timestamp), None, Some(value), std::iter::empty());
    assert!(pushed.is_ok());
    Batch::parse(builder.build().unwrap()).unwrap()
}

#[test]
fn a_rebuilt_index_is_the_one_that_was_lost() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let config = LogConfig { segment_bytes: 9_000, index_interval_bytes: 500, ..LogConfig::default() };
    let dir = PathBuf::from("/t/0");
    let (mut log, _) =
        Log::open(Arc::clone(&disk), dir.clone(), config, Known::default(), TimestampMs(0)).unwrap();
    for n in 0_u16..300 {
        let value = vec![b'v'; usize::from(n) * 37 % 400];
        log.append(batch(i64::from(n) * 31 % 97, &value), LeaderEpoch::ZERO, TimestampMs(0)).unwrap();
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(&*disk)).unwrap();
        }
    }
    assert!(log.sealed.len() > 5);
    for sealed in log.sealed.iter() {
        let (base, file) = (sealed.base(), sealed.file.open(&*disk).unwrap());
        let path = sealed.file.path();
        let built = index_segment(config.index_interval_bytes, path, &file, sealed.extent()).unwrap();
        assert_eq!(built.damages, []);
        let index = built.index;
        let read = |suffix| Bytes::from(read_file(&*disk, &file_path(&dir, base, suffix), u64::MAX).unwrap());
        assert_eq!(index.finish(), (read(INDEX_SUFFIX), read(TIME_INDEX_SUFFIX)), "segment {base}");
        assert!(!index.finish().0.is_empty());
    }
}
