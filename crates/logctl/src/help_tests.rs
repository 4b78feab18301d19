//! The command tree against its own words: every command that help or an error mentions exists.
