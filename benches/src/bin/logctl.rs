//! `logctl`, built with the programs that measure it.

fn main() -> std::process::ExitCode {
    corduroy_logctl::main()
}
