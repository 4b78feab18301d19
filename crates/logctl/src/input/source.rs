//! Where input comes from.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// A pipe this large lets writer and reader take turns less often; Linux allows it to everybody.
const PIPE_BYTES: usize = 1 << 20;

/// A file, or stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// The sources that paths name: `-` is stdin, and no path at all, too.
    pub(crate) fn all(paths: &[PathBuf]) -> Vec<Self> {
        let source =
            |path: &PathBuf| if path == Path::new("-") { Self::Stdin } else { Self::File(path.clone()) };
        if paths.is_empty() { vec![Self::Stdin] } else { paths.iter().map(source).collect() }
    }

    /// How messages name it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Its size in bytes, where that is known before it is read.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => rustix::fs::fstat(io::stdin()).ok().and_then(|stat| {
                let is_file =
                    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
                u64::try_from(stat.st_size).ok().filter(|_| is_file)
            }),
            Self::File(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
            }
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `FILE_FAILED`.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, CliError> {
        match self {
            Self::Stdin => {
                let stdin = io::stdin();
                // Refused for what is no pipe, which is then as fast as it is.
                #[cfg(target_os = "linux")]
                let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
                // The buffer of std would only add a copy: every read here is larger.
                let raw = rustix::io::dup(&stdin).map_err(io::Error::from);
                raw.map(|raw| Box::new(File::from(raw)) as Box<dyn Read + Send>)
                    .map_err(|error| CliError::file(Path::new("stdin"), "read", &error))
            }
            Self::File(path) => match File::open(path) {
                Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_dir()) => {
                    Err(CliError::file(path, "read", &io::Error::from(io::ErrorKind::IsADirectory)))
                }
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(CliError::file(path, "open", &error)),
            },
        }
    }
}
