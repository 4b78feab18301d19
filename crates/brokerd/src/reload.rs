//! SIGHUP: the configuration is loaded again, and what a running broker can take of it is taken.

use corduroy_broker::{
    config::{BrokerConfig, changed_keys},
    log_levels::LogLevels,
    metrics::ReloadResult,
};

use crate::{cli::Flags, sources::load_configuration};

/// Loads the configuration again. Whatever is wrong with it, the broker goes on with what it had.
pub(crate) fn reload(flags: &Flags, started_with: &BrokerConfig, levels: &LogLevels) -> ReloadResult {
    let config = match load_configuration(flags) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            tracing::error!(event = "B0006", %errors, "the configuration was not loaded again");
            return ReloadResult::Failed;
        }
    };
    let changed = changed_keys(started_with, &config);
    let needs_restart: Vec<_> =
        changed.iter().filter(|(_, taken)| !taken).map(|(key, _)| key.path()).collect();
    levels.configure(config.log.level.clone());
    if needs_restart.is_empty() {
        tracing::info!(event = "B0005", log_level = %config.log.level, "the configuration was loaded again");
    } else {
        let needs_restart = needs_restart.join(", ");
        tracing::warn!(
            event = "B0005",
            log_level = %config.log.level,
            %needs_restart,
            "the configuration was loaded again; some keys changed that need a restart"
        );
    }
    ReloadResult::Ok
}
