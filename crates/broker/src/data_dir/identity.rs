//! `directory.toml`: whose data this is, and in which format.

use std::path::Path;

use bytes::Bytes;
use corduroy_types::{BrokerId, DATA_FORMAT_VERSION};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DataDirError;

/// Whose data a directory holds. Written once, when the directory is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's identity.
    pub cluster_id: Uuid,
    /// The cluster's name for people.
    pub cluster_name: String,
    /// The broker's number in it.
    pub node_id: BrokerId,
    /// This directory's identity: a disk that was wiped or exchanged has another one.
    pub directory_id: Uuid,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format_version: u64,
    cluster_id: String,
    cluster_name: String,
    node_id: u32,
    directory_id: String,
    /// CRC-32 over all before it; from version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
}

/// The first version with a checksum.
const CHECKED_VERSION: u64 = 2;
/// How the line of the checksum begins: the last one.
const CRC_KEY: &str = "crc32 = ";

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    format_version: u64,
}

impl Identity {
    pub(super) fn encode(&self) -> Bytes {
        let stored = Stored {
            format_version: DATA_FORMAT_VERSION,
            cluster_id: self.cluster_id.to_string(),
            cluster_name: self.cluster_name.clone(),
            node_id: self.node_id.0,
            directory_id: self.directory_id.to_string(),
            crc32: None,
        };
        // A flat struct of numbers and strings always has a TOML form.
        let text = toml::to_string(&stored).unwrap_or_default();
        let text = format!("# Written by brokerd: whose data this is. Do not edit.\n{text}");
        let crc32 = checksum(&text);
        Bytes::from(format!("{text}{CRC_KEY}\"{crc32}\"\n"))
    }

    /// The identity, and whether it is in the format that this version writes.
    pub(super) fn decode(dir: &Path, bytes: &[u8]) -> Result<(Self, bool), DataDirError> {
        let damaged = |text: String| DataDirError::Damaged { dir: dir.to_owned(), text };
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let unreadable = |error: toml::de::Error| damaged(error.message().to_owned());
        let Version { format_version } = toml::from_str(text).map_err(unreadable)?;
        if format_version > DATA_FORMAT_VERSION {
            return Err(DataDirError::Newer { dir: dir.to_owned(), found: format_version });
        }
        let Stored { format_version: _, cluster_id, cluster_name, node_id, directory_id, crc32 } =
            toml::from_str(text).map_err(unreadable)?;
        let is_checked = format_version >= CHECKED_VERSION;
        let computed = text.rsplit_once(CRC_KEY).map(|(checked, _)| checksum(checked));
        if format_version == 0 || is_checked != crc32.is_some() || (is_checked && crc32 != computed) {
            return Err(damaged("its checksum does not agree with what it says".to_owned()));
        }
        let id = |text: &str| Uuid::try_parse(text).map_err(|error| damaged(error.to_string()));
        let identity = Self {
            cluster_id: id(&cluster_id)?,
            cluster_name,
            node_id: BrokerId(node_id),
            directory_id: id(&directory_id)?,
        };
        Ok((identity, format_version == DATA_FORMAT_VERSION))
    }
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}
