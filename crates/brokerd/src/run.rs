//! Running the broker, from the configuration to the last signal.

use std::{process::ExitCode, sync::Arc, time::Instant};

use corduroy_broker::{
    Broker, HostProcess, RunningBroker, StartError,
    config::BrokerConfig,
    data_dir::DirLock,
    health::Health,
    log_levels::LogLevels,
    open_files::{self, OpenFiles},
};
use corduroy_log::{Disk, RealDisk, disk::HandleCache};
use tokio::{runtime::Runtime, time::Instant as TokioInstant};

use crate::{
    banner::Report,
    cli::Flags,
    complain, exit,
    logging::{self, Reader},
    notify::{notify, notify_reload, report},
    print,
    reload::reload,
    signals::{Signals, Wanted},
    sources::{load_configuration, log_ignored_variables},
};

/// Threads that may block at one time: file work that tasks wait for. The disk's own threads are apart.
const BLOCKING_THREADS_MAX: usize = 64;

pub(crate) fn run(flags: &Flags, since: Instant) -> ExitCode {
    let config = match load_configuration(flags) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            complain(errors);
            return exit::wrong_config();
        }
    };
    let (reader, levels) = logging::install(&config.log);
    log_ignored_variables();
    // First of all: until they are caught, signals end the process.
    let (runtime, signals) = match runtime_with_signals() {
        Ok(both) => both,
        Err(error) => return failed(&format!("no threads, or signals cannot be received: {error}")),
    };
    let lock = match DirLock::take(&config.node.data_dir) {
        Ok(lock) => Arc::new(lock),
        Err(error) => return failed(&error),
    };
    let process = Process { flags, levels, lock: Arc::clone(&lock), reader, since };
    let status = runtime.block_on(process.serve(config, signals));
    // Everything that had to be written is; tasks of clients that went away need not be waited for.
    runtime.shutdown_background();
    drop(lock);
    status
}

fn runtime_with_signals() -> std::io::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    let signals = {
        let _within = runtime.enter();
        Signals::listen()?
    };
    Ok((runtime, signals))
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    complain(format!("error: {error}"));
    exit::FAILED
}

/// What a broker of this process needs apart from its configuration.
struct Process<'a> {
    flags: &'a Flags,
    levels: Arc<LogLevels>,
    lock: Arc<DirLock>,
    reader: Reader,
    since: Instant,
}

/// The real disk, with as many files open as sockets leave; and as many connections as files can be open.
fn open_disk(config: &mut BrokerConfig, lock: &DirLock) -> Arc<dyn Disk> {
    let wanted = config.listen.max_connections;
    let OpenFiles { limit, log_files, connections } = OpenFiles::divide(open_files::raise_limit(), wanted);
    if connections < wanted {
        tracing::warn!(event = "B0004", limit, wanted, connections, "few files may be open");
        config.listen.max_connections = connections;
    }
    Arc::new(HandleCache::new(lock.guard(RealDisk::shared()), log_files))
}

impl Process<'_> {
    async fn serve(&self, mut config: BrokerConfig, mut signals: Signals) -> ExitCode {
        let loaded = config.clone();
        let disk = open_disk(&mut config, &self.lock);
        let host = HostProcess {
            lock: Arc::clone(&self.lock),
            log_levels: Arc::clone(&self.levels),
            health: Arc::new(Health::new()),
        };
        tokio::spawn(report(Arc::clone(&host.health)));
        let running = tokio::select! {
            running = Broker::start_locked(config.clone(), disk, host) => running,
            name = signals.stop() => {
                // Nothing was acknowledged yet; what recovery did so far, the next start does again.
                complain(format!("brokerd: stopped by {name} while starting"));
                return exit::FAILED;
            }
        };
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                let status = failed(&error);
                if let Some(hint) = hint(&error) {
                    complain(hint);
                }
                return status;
            }
        };
        self.announce(&config, &running);
        loop {
            match signals.next().await {
                Wanted::Stop(name) => return stop(running, name, &mut signals, self.reader).await,
                Wanted::Reload => notify_reload(|| {
                    running.count_config_reload(reload(self.flags, &loaded, &self.levels));
                }),
            }
        }
    }

    fn announce(&self, config: &BrokerConfig, running: &RunningBroker) {
        let took = self.since.elapsed();
        let report = Report {
            config,
            development: self.flags.is_development(),
            grpc: running.grpc_addr(),
            http: running.http_addr(),
            recovery: running.recovery(),
            took,
        };
        print(&report.text());
        // A terminal that shows the log shows the report, too.
        if self.reader == Reader::Collector {
            tracing::info!(
                event = "B0001",
                version = env!("CARGO_PKG_VERSION"),
                node = config.node.id.0,
                data_dir = %config.node.data_dir.display(),
                grpc = %running.grpc_addr(),
                http = %running.http_addr(),
                durability = %config.topic_defaults.config.durability,
                partitions = running.recovery().partitions,
                recovery_ms = u64::try_from(running.recovery().took.as_millis()).unwrap_or(u64::MAX),
                start_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "started"
            );
        }
        notify("READY=1");
    }
}

/// What to do about a start that failed, where the message alone does not say.
fn hint(error: &StartError) -> Option<String> {
    match error {
        StartError::Listen { key, source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let flag = if *key == "listen.grpc" { "--listen".to_owned() } else { format!("--set {key}=") };
            let flag = if flag.ends_with('=') { flag } else { flag + " " };
            Some(format!(
                "hint: another process listens there; stop it, or choose another address: {flag}127.0.0.1:0"
            ))
        }
        _ => None,
    }
}

async fn stop(running: RunningBroker, name: &str, signals: &mut Signals, reader: Reader) -> ExitCode {
    let since = TokioInstant::now();
    notify("STOPPING=1");
    if reader == Reader::Collector {
        tracing::info!(event = "B0003", signal = name, "draining");
    }
    let clients = running.connection_count();
    print("brokerd: draining.. ");
    let flushed = tokio::select! {
        flushed = running.shutdown() => flushed,
        () = signals.stop_at_once(since) => {
            print("\n");
            complain("brokerd: second SIGINT: stopped at once; the next start checks the logs");
            return exit::FAILED;
        }
    };
    if flushed {
        if reader == Reader::Collector {
            tracing::info!(event = "B0002", "stopped");
        }
        let plural = if clients == 1 { "" } else { "s" };
        print(&format!(
            "flushed, closed {clients} client{plural}, bye ({} ms)\n",
            since.elapsed().as_millis()
        ))
    } else {
        print("\n");
        failed(&"not everything could be written (see the log above); the next start checks the logs")
    }
}
