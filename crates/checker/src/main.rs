//! `corduroy-checker`: reads a history and prints what is wrong with it.

use std::{
    env,
    fs::File,
    io::{self, BufReader, Write},
    process::ExitCode,
};

use corduroy_checker::{Options, Verdict, check, read};

const USAGE: &str = "\
Checks a history of a cluster run (docs/checker.md).

Usage: corduroy-checker [OPTIONS] FILE      FILE is - for standard input

  --lease-ms N         how old an end may be that is shown, in milliseconds [10000]
  --linearizable       a listed end must reach everything that was acknowledged before
  --serve-within-ms N  how soon after the heal each partition has to serve, in milliseconds [10000]
  --findings N         how many findings of each check are printed; all are counted [10]
  --help               this text

Exit status: 0 nothing was found, 1 a promise was broken or the history does not show enough, 2 bad input
";

const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let (text, code) = match arguments(env::args().skip(1)) {
        Ok(None) => (USAGE.to_owned(), 0),
        Ok(Some((options, file))) => match run(&options, &file) {
            Ok((text, code)) => (text, code),
            Err(message) => return bad(&message),
        },
        Err(message) => return bad(&message),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(error) => bad(&format!("the report cannot be written: {error}")),
    }
}

fn bad(message: &str) -> ExitCode {
    // Standard error may be closed; the exit status says it too.
    let _ = writeln!(io::stderr(), "corduroy-checker: {message}");
    ExitCode::from(BAD_INPUT)
}

/// The options and the file; `None` where the usage is asked for.
fn arguments(given: impl Iterator<Item = String>) -> Result<Option<(Options, String)>, String> {
    let (mut options, mut file) = (Options::default(), None);
    let mut given = given;
    while let Some(word) = given.next() {
        let mut number = || {
            let value = given.next().unwrap_or_default();
            value.parse::<u64>().map_err(|_| format!("{word} needs a number, and not {value:?}"))
        };
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--linearizable" => options.linearizable = true,
            "--lease-ms" => options.lease_ns = number()?.saturating_mul(1_000_000),
            "--serve-within-ms" => options.serve_within_ns = number()?.saturating_mul(1_000_000),
            "--findings" => options.findings_max = usize::try_from(number()?).unwrap_or(usize::MAX),
            "-" => file = Some(word),
            flag if flag.starts_with('-') => return Err(format!("{flag} is no option; see --help")),
            _ if file.is_some() => return Err(format!("one file is checked, and {word:?} is a second one")),
            _ => file = Some(word),
        }
    }
    let file = file.ok_or("which file? See --help")?;
    Ok(Some((options, file)))
}

/// The report, and the exit status.
fn run(options: &Options, file: &str) -> Result<(String, u8), String> {
    let history = if file == "-" {
        read(io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| format!("{file}: {error}"))?;
        read(BufReader::with_capacity(1 << 20, opened))
    };
    let report = check(&history.map_err(|error| format!("{file}: {error}"))?, options);
    Ok((report.to_string(), u8::from(report.verdict() != Verdict::Valid)))
}
