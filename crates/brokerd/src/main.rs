//! `brokerd`.

fn main() -> std::process::ExitCode {
    corduroy_brokerd::main()
}
