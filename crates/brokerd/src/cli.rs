//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "brokerd",
    version,
    about = "The Corduroy broker: a durable, ordered log over gRPC",
    after_help = "Without --config or --data-dir it is a development node: loopback only, data in ./brokerd-data.\n\
                  With a file the data is in /var/lib/brokerd, unless node.data_dir says where.\n\
                  A value comes from the default, else the file, else BROKERD_<SECTION>__<KEY>, else a flag.\n\n\
                  Examples:\n  \
                  brokerd\n  \
                  brokerd --data-dir /data --listen 127.0.0.1:9480\n  \
                  brokerd --config /etc/brokerd/brokerd.toml --set topic_defaults.retention.ms=24h\n  \
                  brokerd config reference > brokerd.toml"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What sets configuration keys.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Directory of everything that must survive a restart (node.data_dir)
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<String>,
    /// Address for clients (listen.grpc); port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", global = true)]
    pub(crate) listen: Option<String>,
    /// This broker's number in its cluster (node.id)
    #[arg(long, value_name = "N", global = true)]
    pub(crate) node_id: Option<String>,
    /// Development node: data in ./brokerd-data unless something else says where
    #[arg(long, global = true)]
    pub(crate) dev: bool,
    /// Any configuration key, as SECTION.KEY=VALUE; may be repeated
    #[arg(long, value_name = "K=V", global = true, value_parser = key_and_value)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running broker whether it is ready (for a container's health check); exit status 0 or 1
    Health,
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report everything that is wrong with a file, with line numbers; starts nothing
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration that brokerd would start with
    Show {
        /// Print next to each value where it came from
        #[arg(long)]
        origin: bool,
    },
    /// Print a commented file with every key and its default
    Reference,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write SECTION.KEY=VALUE, like topic_defaults.retention.ms=24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
