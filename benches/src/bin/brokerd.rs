//! `brokerd`, built with the programs that measure it.

fn main() -> std::process::ExitCode {
    corduroy_brokerd::main()
}
