//! Whether the files of a data directory are ones that we know how to read.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use corduroy_types::{BrokerId, DATA_FORMAT_VERSION, ErrorCode};

use crate::error::CliError;

const IDENTITY_FILE: &str = "directory.toml";
/// Far more than the identity takes; a larger file is none of a broker's.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;
/// From a segment file: partition, topic, data directory.
const LEVELS_UP: usize = 4;

/// The one field that every version has.
#[derive(serde::Deserialize)]
struct Version {
    format_version: u64,
}

/// The node that a data directory is of.
#[derive(serde::Deserialize)]
struct Owner {
    node_id: u32,
}

/// Whose data directory `dir` is.
///
/// # Errors
/// `FILE_FAILED` where there is no identity file, `CORRUPT` when it does not say.
pub(crate) fn node_id(dir: &Path) -> Result<BrokerId, CliError> {
    let path = dir.join(IDENTITY_FILE);
    let text = fs::read_to_string(&path).map_err(|error| CliError::file(&path, "read", &error))?;
    let owner = toml::from_str::<Owner>(&text).map_err(|error| {
        CliError::new(ErrorCode::Corrupt, format!("{} is damaged: {}", path.display(), error.message()))
            .with_hint("restore it from a backup")
    })?;
    Ok(BrokerId(owner.node_id))
}

/// Checks that `path` can be read, and that the data directory that it is, or lies in, has no newer format than ours.
/// Files that lie in no data directory, as a copy of some, are taken as they are.
///
/// # Errors
/// `FILE_FAILED` when it cannot be read, `UNSUPPORTED` for a newer format, `CORRUPT` when the file names no format.
pub(crate) fn check(path: &Path) -> Result<(), CliError> {
    let unreadable = |error: io::Error| CliError::file(path, "open", &error);
    let absolute = path.canonicalize().map_err(unreadable)?;
    if absolute.is_dir() {
        fs::read_dir(&absolute).map(drop).map_err(unreadable)?;
    } else {
        File::open(&absolute).map(drop).map_err(unreadable)?;
    }
    for dir in absolute.ancestors().take(LEVELS_UP) {
        let file = dir.join(IDENTITY_FILE);
        match File::open(&file) {
            Ok(identity) => return check_format(dir, &file, identity),
            // A segment has nothing below it.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(CliError::file(&file, "open", &error)),
        }
    }
    Ok(())
}

fn check_format(dir: &Path, path: &Path, file: File) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    file.take(IDENTITY_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::file(path, "read", &error))?;
    let damaged = |text: &str| {
        let message = format!("{} is damaged, so the format of the data is unknown: {text}", path.display());
        CliError::new(ErrorCode::Corrupt, message)
            .with_hint("restore it from a backup, or look at a copy of one partition's directory")
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let Version { format_version } = toml::from_str(text).map_err(|error| damaged(error.message()))?;
    if format_version <= DATA_FORMAT_VERSION {
        return Ok(());
    }
    let message = format!(
        "data directory {} has format version {format_version}, this version reads {DATA_FORMAT_VERSION} at most",
        dir.display()
    );
    Err(CliError::new(ErrorCode::Unsupported, message)
        .with_hint("use the version that wrote it, or a newer one")
        .with_detail("format_version", format_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_or_unreadable_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("topic").join("0");
        fs::create_dir_all(&inner).unwrap();
        let segment = inner.join("00000000000000000000.log");
        fs::write(&segment, "").unwrap();
        let places = [dir.path(), &inner, &segment];
        let code = |place: &Path| check(place).err().map(|error| error.code);
        let expect = |text: &[u8], expected: Option<ErrorCode>| {
            fs::write(dir.path().join(IDENTITY_FILE), text).unwrap();
            places.iter().for_each(|place| assert_eq!(code(place), expected, "{text:?} {}", place.display()));
        };
        expect(b"format_version = 1\nnode_id = 1\n", None);
        expect(b"format_version = 2\nnode_id = 1\n", None);
        expect(b"format_version = 3\nshape = \"unknown\"\n", Some(ErrorCode::Unsupported));
        for text in [&b""[..], b"\xff", b"format_version = -1\n", b"\0"] {
            expect(text, Some(ErrorCode::Corrupt));
        }
        fs::remove_file(dir.path().join(IDENTITY_FILE)).unwrap();
        assert_eq!(code(&segment), None, "a copy");
        fs::create_dir(dir.path().join(IDENTITY_FILE)).unwrap();
        assert_eq!(code(&inner), Some(ErrorCode::FileFailed));
        assert_eq!(code(&inner.join("none")), Some(ErrorCode::FileFailed));
        assert_eq!(code(&segment.join("none")), Some(ErrorCode::FileFailed));
    }

    #[test]
    fn a_user_who_may_not_read_learns_who_may() {
        let error = |kind| CliError::file(Path::new("/data"), "open", &io::Error::from(kind));
        let hints = |kind| error(kind).hints.join(" ");
        assert!(error(io::ErrorKind::PermissionDenied).message.starts_with("cannot open /data: "));
        assert!(hints(io::ErrorKind::PermissionDenied).contains("ls -ld /data"));
        assert!(hints(io::ErrorKind::ReadOnlyFilesystem).contains("work on a copy"));
        assert_eq!(hints(io::ErrorKind::NotFound), "");
    }
}
