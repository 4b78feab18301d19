//! The broker's configuration: one table of keys, four sources (defaults, file, environment, flags), and every
//! error at once.

mod defaults;
mod key;
mod keys;
mod kinds;
mod memory;
mod model;
mod topic_defaults;
mod values;

pub use key::{BadValue, Form, Key};
pub use keys::{SECTIONS, Section, find, keys};
pub use memory::MemoryBudgets;
pub use model::{
    BrokerConfig, ClusterConfig, LimitsConfig, ListenConfig, LogConfig, MetricsConfig, NodeConfig,
    SecurityConfig, StorageConfig,
};
pub use topic_defaults::TopicDefaults;
pub use values::{Advertise, Auto, LogFilter, LogFormat, PartitionLevel, Watermark};
