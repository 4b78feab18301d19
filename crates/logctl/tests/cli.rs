//! The command line without a broker: usage, contexts, errors, exit statuses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use common::{Home, Ran};

#[test]
fn help_and_version_are_data() {
    let home = Home::new();
    assert_eq!(home.ok(&["version"]).stdout, format!("logctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.ok(&["--version"]).stdout, format!("logctl {}\n", env!("CARGO_PKG_VERSION")));
    assert!(home.ok(&["version", "-o", "json"]).stdout.starts_with("{\"name\":\"logctl\""));
    assert!(home.ok(&["produce", "--help"]).stdout.starts_with("Examples:\n"));
    let help = home.ok(&["help", "topic", "create"]).stdout;
    assert_eq!(help, home.ok(&["topic", "create", "--help"]).stdout);
    assert!(home.ok(&["help"]).stdout.starts_with("Examples:\n"));
    for args in [&[][..], &["topic"]] {
        let ran = home.fails(2, args);
        assert!(ran.stderr.contains("Usage: logctl"), "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_typed_is_corrected() {
    let home = Home::new();
    let cases: [(&[&str], &str); 9] = [
        (&["tpic", "ls"], "did you mean \"topic\"?"),
        (&["topic", "ls", "--intrnal"], "did you mean \"--internal\"?"),
        (&["status", "-o", "jsn"], "did you mean \"json\"?"),
        (&["consume", "t", "--from", "beginning"], "write start, end, an offset"),
        (&["consume", "t", "--from", "earliest"], "did you mean \"start\"?"), // Kafka
        (&["group", "reset", "g", "--topics", "t", "--to", "newest"], "did you mean \"end\"?"),
        (&["help", "topic", "craete"], "did you mean \"create\"?"),
        (&["status", "--timeout", "10"], "10 has no unit; write 10s or 10ms"),
        (&["produce", "t", "--acks", "leader"], "use one of: one, quorum, all"),
    ];
    for (args, expected) in cases {
        let ran = home.fails(2, args);
        assert!(ran.stderr.starts_with("error[E1901]: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.ends_with("  more: logctl explain E1901\n"), "{}", ran.stderr);
    }
}

#[test]
fn a_consume_that_cannot_mean_anything_is_refused_at_once() {
    let home = Home::new();
    for form in ["yaml", "name"] {
        let ran = home.fails(2, &["consume", "t", "-o", form]);
        assert!(ran.stderr.contains(&format!("consume prints no records as {form}")), "{}", ran.stderr);
    }
    for (from, to) in [("50", "10"), ("-1", "-5"), ("end", "start"), ("@2026-11-20", "@2026-11-19")] {
        let ran = home.fails(2, &["consume", "t", "--from", from, "--to", to]);
        assert!(ran.stderr.contains("--to lies before --from"), "{}", ran.stderr);
    }
}

#[test]
fn an_unknown_variable_is_an_error() {
    let home = Home::new();
    let output = home.command(&["version"]).env("LOGCTL_CONTXT", "prod").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr.contains("LOGCTL_CONTXT") && stderr.contains("did you mean \"LOGCTL_CONTEXT\"?"),
        "{stderr}"
    );
}

#[test]
fn a_user_without_a_home_needs_no_file_of_contexts() {
    let home = Home::new();
    let no_one = |args: &[&str], value: Option<&str>| {
        let mut command = home.command(args);
        command.env_remove("HOME");
        if let Some(value) = value {
            command.env("HOME", value);
        }
        Ran::from(command.output().unwrap())
    };
    for value in [None, Some(""), Some("/dev/null"), Some("/nonexistent")] {
        // Nothing listens there: it is the connection that fails, and not the search for contexts.
        let ran = no_one(&["--server", "http://127.0.0.1:1", "topic", "ls"], value);
        assert!(ran.stderr.starts_with("error[E1501]: "), "{value:?}: {}", ran.stderr);
        let ran = no_one(&["context", "ls"], value);
        assert_eq!(ran.code, 0, "{value:?}: {}", ran.stderr);
    }
    let ran = no_one(&["context", "add", "a", "--server", "http://a:1"], None);
    assert!(ran.stderr.contains("HOME is not set") && ran.stderr.contains("LOGCTL_CONFIG"), "{}", ran.stderr);
    // Brokers that are given do not need the file, whatever is wrong with it.
    let mut command = home.command(&["--server", "http://127.0.0.1:1", "topic", "ls"]);
    std::fs::write(home.path().join("bad"), "nonsense").unwrap();
    let ran = Ran::from(command.env("LOGCTL_CONFIG", home.path().join("bad")).output().unwrap());
    assert!(ran.stderr.starts_with("error[E1501]: "), "{}", ran.stderr);
}

#[test]
fn errors_for_scripts_are_one_object_and_nothing_else() {
    let home = Home::new();
    for args in [
        &["-o", "json", "explain", "E9999"][..],
        &["explain", "E9999", "-ojsonl"],
        &["nonsense", "-o", "json"],
    ] {
        let error = home.fails(2, args).error();
        assert_eq!(
            (error["code"].as_str(), error["kind"].as_str()),
            (Some("E1901"), Some("USAGE")),
            "{args:?}"
        );
        for key in ["message", "hint"] {
            assert!(error[key].is_string(), "{args:?}: {error}");
        }
        assert!(error["retriable"].is_boolean() && error["details"].is_object());
    }
}

#[test]
fn codes_and_configs_are_explained() {
    let home = Home::new();
    assert!(home.ok(&["explain", "E1203"]).stdout.starts_with("E1203 TOPIC_NOT_FOUND\n"));
    assert!(home.ok(&["explain", "topic_not_found"]).stdout.starts_with("E1203 "));
    assert!(home.ok(&["explain", "retention.ms"]).stdout.starts_with("retention.ms\n"));
    assert!(home.ok(&["explain", "storage.disk_block_watermark"]).stdout.contains("Default: \"5%\"\n"));
    assert!(home.ok(&["explain", "brokerd_fsync_seconds"]).stdout.contains("Time of sync calls."));
    let ran = home.fails(2, &["explain", "brokerd_fsync_second"]);
    assert!(ran.stderr.contains("did you mean \"brokerd_fsync_seconds\"?"), "{}", ran.stderr);
    let ran = home.fails(2, &["explain", "retention.mss"]);
    assert!(ran.stderr.contains("did you mean \"retention.ms\"?"), "{}", ran.stderr);
}

#[test]
fn contexts_are_remembered() {
    let home = Home::new();
    let ran = home.ok(&["context", "ls"]);
    assert_eq!(ran.stdout, "SELECTED  NAME  SERVERS  ACCESS\n");
    home.ok(&["context", "add", "prod", "--server", "http://b1:9480,http://b2:9480", "--read-only"]);
    home.ok(&["context", "add", "dev", "--server", "http://127.0.0.1:9480"]);
    assert_eq!(
        home.ok(&["context", "ls"]).stdout,
        "SELECTED  NAME  SERVERS                        ACCESS\n\
         \u{20}         dev   http://127.0.0.1:9480          full\n\
         *         prod  http://b1:9480,http://b2:9480  read-only\n"
    );
    home.ok(&["context", "use", "dev"]);
    assert_eq!(home.ok(&["context", "show", "-o", "name"]).stdout, "dev\n");
    home.ok(&["context", "use", "-"]);
    assert_eq!(home.ok(&["context", "show", "-o", "name"]).stdout, "prod\n");
    let yaml = home.ok(&["context", "show", "dev", "-o", "yaml"]).stdout;
    assert!(yaml.contains("name: dev\n") && yaml.contains("selected: false\n"), "{yaml}");
    home.ok(&["context", "validate"]);
    home.ok(&["context", "rm", "prod", "--dry-run"]);
    home.ok(&["context", "rm", "prod"]);
    let ran = home.fails(2, &["status"]);
    assert!(
        ran.stderr.contains("no context is selected") && ran.stderr.contains("logctl context use dev"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_context_that_does_not_exist_is_never_replaced_by_this_machine() {
    let home = Home::new();
    home.ok(&["context", "add", "prod", "--server", "http://127.0.0.1:1"]);
    let ran = home.fails(2, &["-c", "prdo", "status"]);
    assert!(ran.stderr.contains("did you mean \"prod\"?"), "{}", ran.stderr);
    let ran = home.fails(6, &["status", "--timeout", "2s"]);
    assert!(
        ran.stderr.contains("context: prod (http://127.0.0.1:1, the selected context)"),
        "{}",
        ran.stderr
    );
    let ran = home.fails(2, &["status", "-c", "prod", "--server", "http://127.0.0.1:1"]);
    assert!(ran.stderr.contains("--context and --server are both given"), "{}", ran.stderr);
}

#[test]
fn a_broker_that_is_not_there_is_unavailable() {
    let home = Home::at("http://127.0.0.1:1");
    let ran = home.fails(6, &["topic", "ls"]);
    assert!(ran.stderr.contains("http://127.0.0.1:1 (chosen by LOGCTL_SERVER)"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("caused by"), "{}", ran.stderr);
    assert!(home.fails(6, &["-v", "topic", "ls"]).stderr.contains("caused by: "));
    let error = home.fails(6, &["-o", "json", "topic", "ls"]).error();
    assert_eq!((error["kind"].as_str(), error["retriable"].as_bool()), (Some("UNAVAILABLE"), Some(true)));
    for args in [&["consume", "t"][..], &["produce", "t"], &["topic", "create", "t"]] {
        home.fails(6, args);
    }
    let ran = home.fails(2, &["status", "--server", "localhost:9480"]);
    assert!(ran.stderr.contains("has no scheme"), "{}", ran.stderr);
}

#[test]
fn a_read_only_context_refuses_changes() {
    let home = Home::new();
    home.ok(&["context", "add", "prod", "--server", "http://127.0.0.1:1", "--read-only"]);
    for args in [
        &["topic", "create", "t"][..],
        &["topic", "delete", "t", "--yes"],
        &["topic", "set", "t", "retention.ms=1d"],
        &["produce", "t"],
    ] {
        let ran = home.fails(4, args);
        assert!(ran.stderr.starts_with("error[E1906]: context \"prod\" is read-only\n"), "{}", ran.stderr);
    }
}

#[test]
fn a_broken_file_of_contexts_names_its_line() {
    let home = Home::new();
    std::fs::write(home.path().join("contexts.toml"), "current = \"a\"\n[contexts.a]\nserver = \"x\"\n")
        .unwrap();
    let output = home.command(&["context", "ls"]).env("LOGCTL_CONFIG", "contexts.toml").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("contexts.toml:3: unknown field `server`"), "{stderr}");
}

#[test]
fn formats_are_checked_before_anything_is_contacted() {
    let home = Home::at("http://127.0.0.1:1");
    let ran = home.fails(2, &["produce", "t", "-f", "%k%v\\n"]);
    assert!(ran.stderr.contains("nothing says where %k ends"), "{}", ran.stderr);
    let ran = home.fails(2, &["consume", "t", "-f", "%q"]);
    assert!(ran.stderr.contains("position 1: %q does not exist"), "{}", ran.stderr);
    let ran = home.fails(2, &["consume", "t", "--to", "@2999-01-01"]);
    assert!(ran.stderr.contains("--to lies in the future"), "{}", ran.stderr);
}

#[test]
fn shells_get_their_script_and_their_words() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.ok(&["completions", shell]).stdout.contains("LOGCTL_COMPLETE"), "{shell}");
    }
    home.ok(&["context", "add", "prod", "--server", "http://127.0.0.1:1"]);
    let complete = |words: &[&str]| {
        let index = words.len().to_string();
        let output = home
            .command(&[])
            .args(["--", "logctl"])
            .args(words)
            .envs([
                ("LOGCTL_COMPLETE", "bash"),
                ("_CLAP_COMPLETE_INDEX", &index),
                ("_CLAP_COMPLETE_COMP_TYPE", "9"),
            ])
            .env("_CLAP_COMPLETE_SPACE", "true")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(complete(&["topic", "cre"]).contains("create"));
    assert!(complete(&["context", "use", "p"]).contains("prod"));
    assert!(complete(&["topic", "unset", "t", "retention.m"]).contains("retention.ms"));
    // No broker answers: nothing is offered, and no one waits.
    assert_eq!(complete(&["consume", "x"]).trim(), "");
}

#[test]
fn data_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    let dir = home.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("directory.toml"), "format_version = 3\nshape = \"unknown\"\n").unwrap();
    for command in
        [&["ls"][..], &["verify"], &["stats"], &["dump"], &["index", "check"], &["index", "rebuild"]]
    {
        let ran = home.fails(2, &[&["log"], command, &["data"]].concat());
        let text =
            "/data has format version 3, this version reads 2 at most\n  hint: use the version that wrote it";
        assert!(ran.stderr.contains(text), "{}", ran.stderr);
    }
    std::fs::write(dir.join("directory.toml"), "format").unwrap();
    let ran = home.fails(1, &["log", "ls", "data"]);
    assert!(
        ran.stderr.contains("directory.toml is damaged, so the format of the data is unknown: "),
        "{}",
        ran.stderr
    );
    let ran = home.fails(1, &["log", "verify", "nowhere"]);
    assert!(ran.stderr.starts_with("error[E1904]: cannot open nowhere: No such file"), "{}", ran.stderr);
}
