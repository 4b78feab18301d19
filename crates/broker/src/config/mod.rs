//! The broker's configuration: one table of keys, four sources (defaults, file, environment, flags), and every
//! error at once.

mod check;
mod defaults;
mod error;
mod file;
mod key;
mod keys;
mod kinds;
mod load;
mod memory;
mod model;
mod render;
mod topic_defaults;
mod values;

pub use check::REQUEST_OVERHEAD_BYTES;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use key::{BadValue, Form, Key};
pub use keys::{SECTIONS, Section, find, keys};
pub use load::{FlagValue, Loaded, Sources, VARIABLE_PREFIX, changed_keys, ignored_variables, load};
pub use memory::MemoryBudgets;
pub use model::{
    BrokerConfig, ClusterConfig, GroupsConfig, LimitsConfig, ListenConfig, LogConfig, MetricsConfig,
    NodeConfig, ProducersConfig, SecurityConfig, StorageConfig,
};
pub use render::{documentation, reference, show};
pub use topic_defaults::TopicDefaults;
pub use values::{Advertise, Auto, LogFilter, LogFormat, PartitionLevel, Watermark};

#[cfg(test)]
mod tests;
