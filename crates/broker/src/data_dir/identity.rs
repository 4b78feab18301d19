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
}

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
        };
        // A flat struct of numbers and strings always has a TOML form.
        let text = toml::to_string(&stored).unwrap_or_default();
        Bytes::from(format!("# Written by brokerd: whose data this is. Do not edit.\n{text}"))
    }

    pub(super) fn decode(dir: &Path, bytes: &[u8]) -> Result<Self, DataDirError> {
        let damaged = |text: String| DataDirError::Damaged { dir: dir.to_owned(), text };
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let told = |error: toml::de::Error| damaged(error.message().to_owned());
        let Version { format_version } = toml::from_str(text).map_err(told)?;
        if format_version > DATA_FORMAT_VERSION {
            return Err(DataDirError::Newer { dir: dir.to_owned(), found: format_version });
        }
        let Stored { format_version: _, cluster_id, cluster_name, node_id, directory_id } =
            toml::from_str(text).map_err(told)?;
        let id = |text: &str| Uuid::try_parse(text).map_err(|error| damaged(error.to_string()));
        Ok(Self {
            cluster_id: id(&cluster_id)?,
            cluster_name,
            node_id: BrokerId(node_id),
            directory_id: id(&directory_id)?,
        })
    }
}
