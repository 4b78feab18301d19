//! Files in the repository that are generated, and compared here.

use std::path::PathBuf;

/// Fails unless the file at `path`, from the root of the repository, holds `text`; with `UPDATE_DOCS` set it
/// is written instead.
pub(crate) fn assert_is_generated(path: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == text, "{path} is out of date; run: UPDATE_DOCS=1 cargo test -p corduroy-broker");
}
