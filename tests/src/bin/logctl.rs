//! `logctl`, built with the tests that start it.

fn main() -> std::process::ExitCode {
    corduroy_logctl::main()
}
