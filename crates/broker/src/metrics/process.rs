//! The process itself: build, start, memory, files.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, family::Family, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::{Counter, Gauge, labels::ReloadResult};

pub(super) fn register_own(registry: &mut Registry) {
    let labels = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "Which build this is", Info::new(labels));
    let started = Gauge::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    started.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    registry.register("start_time_seconds", "When the broker started, in seconds since 1970", started);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: ReloadResult,
}

/// How often the configuration was loaded again.
#[derive(Clone, Debug)]
pub struct ConfigReloads(Family<OfResult, Counter>);

impl ConfigReloads {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reloads = Self(Family::default());
        for &result in ReloadResult::ALL {
            let _at_zero = reloads.of(result);
        }
        let help = "How often the configuration was loaded again (SIGHUP), by result";
        registry.register("config_reloads", help, reloads.0.clone());
        reloads
    }

    /// Those that ended like this.
    pub fn of(&self, result: ReloadResult) -> Counter {
        self.0.get_or_create_owned(&OfResult { result })
    }
}

pub(super) fn register_standard(registry: &mut Registry) {
    registry.register_collector(Box::new(Standard));
}

/// The `process_*` metrics that Prometheus' own clients export, read from `/proc` at each scrape.
#[derive(Debug)]
struct Standard;

impl Collector for Standard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(figures) = Figures::read() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge("process_resident_memory_bytes", "Resident memory.", figures.resident_bytes)?;
        gauge("process_virtual_memory_bytes", "Virtual memory.", figures.virtual_bytes)?;
        gauge("process_threads", "Threads.", figures.threads)?;
        if let Some(open) = figures.open_files {
            gauge("process_open_fds", "Open file descriptors.", open)?;
        }
        if let Some(max) = figures.max_files {
            gauge("process_max_fds", "Most file descriptors that may be open.", max)?;
        }
        let help = "User and system processor time.";
        let cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(figures.cpu_seconds).encode(cpu)
    }
}

/// Resident memory of this process; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    Figures::read().map_or(0, |figures| figures.resident_bytes)
}

struct Figures {
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    cpu_seconds: f64,
    open_files: Option<u64>,
    max_files: Option<u64>,
}

impl Figures {
    /// Where there is no `/proc`, there are no figures.
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let usage = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Some(Self {
            resident_bytes: field("VmRSS:")?.saturating_mul(1024),
            virtual_bytes: field("VmSize:")?.saturating_mul(1024),
            threads: field("Threads:")?,
            cpu_seconds: cpu_seconds()?,
            open_files: std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_files: usage,
        })
    }
}

/// User and system time from `/proc/self/stat`: fields 14 and 15, in clock ticks.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(ticks))
}
