//! Real processes under test: see `tests/`. The binaries here are `brokerd` and `logctl` themselves.
