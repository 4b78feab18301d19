//! The names of topics, from the metadata log: for tools, which see only ids on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use corduroy_batch::DecompressLimits;
use corduroy_log::{
    RealDisk,
    offline::{self, SegmentReader},
};
use corduroy_metadata::Record;
use corduroy_types::TopicId;

use super::stored::KEY;

/// What the metadata's own log is called.
const METADATA_NAME: &str = "__metadata";

/// Topics by their ids, deleted ones included, whose files may be left.
#[derive(Debug, Default)]
pub(crate) struct TopicNames {
    names: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
}

impl TopicNames {
    /// Those of the data directory that `path` is, or lies in, as far as its metadata log can be read. A copy of one
    /// partition's directory has none.
    pub(crate) fn near(path: &Path) -> Self {
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let found = absolute.ancestors().map(|dir| KEY.dir(dir)).find(|dir| dir.is_dir());
        let mut names = Self::default();
        names.names.insert(TopicId::METADATA.to_string(), METADATA_NAME.to_owned());
        let Some(Ok(listing)) = found.map(|dir| offline::list(&RealDisk, &dir)) else { return names };
        for segment in listing.segments {
            let Ok(reader) = SegmentReader::open(&RealDisk, &segment.path) else { continue };
            for stored in reader.flatten() {
                names.note(&stored);
            }
        }
        names
    }

    fn note(&mut self, stored: &offline::StoredBatch) {
        let Ok(records) = stored.batch.records(DecompressLimits::default()) else { return };
        for record in records.iter().flatten() {
            let value = records.buffer().slice_ref(record.value.unwrap_or_default());
            match Record::decode(&value) {
                Ok(Record::TopicCreated { name, topic_id, .. }) => {
                    self.names.insert(topic_id.to_string(), name.to_string());
                }
                Ok(Record::TopicDeleted { topic_id }) => drop(self.deleted.insert(topic_id.to_string())),
                _ => {}
            }
        }
    }

    /// The name of a topic, if it is known.
    pub(crate) fn get(&self, topic_id: &str) -> Option<&str> {
        self.names.get(topic_id).map(String::as_str)
    }

    /// Whether a topic was deleted.
    pub(crate) fn is_deleted(&self, topic_id: &str) -> bool {
        self.deleted.contains(topic_id)
    }
}
