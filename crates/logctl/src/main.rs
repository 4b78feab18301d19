//! The `logctl` binary; everything is in the library, so that tests can build and start it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    corduroy_logctl::main()
}
