//! The names of files on their way in.

use std::path::{Path, PathBuf};

use corduroy_types::Offset;

/// What a file of a swap is called, behind its base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Batches that are still being written.
    Cleaned,
    /// Their offset index, whole when `Swap` is there.
    CleanedIndex,
    /// Their time index, whole when `Swap` is there.
    CleanedTimeIndex,
    /// Batches that are whole, and count once the catalogue says so.
    Swap,
}

impl Name {
    const ALL: [Self; 4] = [Self::Cleaned, Self::CleanedIndex, Self::CleanedTimeIndex, Self::Swap];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Cleaned => "log.cleaned",
            Self::CleanedIndex => "index.cleaned",
            Self::CleanedTimeIndex => "timeindex.cleaned",
            Self::Swap => "log.swap",
        }
    }

    pub(crate) fn path(self, dir: &Path, base: Offset) -> PathBuf {
        crate::segment::file_path(dir, base, self.suffix())
    }

    /// The base offset and name that a file name stands for, if it is one of these.
    pub(crate) fn parse(name: &str) -> Option<(Offset, Self)> {
        let (digits, suffix) = name.split_once('.')?;
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let name = Self::ALL.into_iter().find(|name| name.suffix() == suffix)?;
        Some((Offset::new(digits.parse().ok()?)?, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let base = Offset::new(42).unwrap();
        for name in Name::ALL {
            let path = name.path(Path::new("/d"), base);
            assert_eq!(Name::parse(path.file_name().unwrap().to_str().unwrap()), Some((base, name)));
        }
        for other in ["42.log.swap", "00000000000000000042.log", "00000000000000000042.index.swap"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
