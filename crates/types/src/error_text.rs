//! The long form of every code: what `logctl explain` prints and `docs/errors.md` holds.

use crate::{ErrorCode, ProduceEnd};

/// One documented code that is not an [`ErrorCode`]: a configuration error or a log event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeText {
    /// The code, like `C0007`.
    pub code: &'static str,
    /// What it means, in one sentence.
    pub summary: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

/// Errors of the broker's configuration. `brokerd` reports all of them at once and starts nothing (exit 78).
pub const CONFIG_CODES: &[CodeText] = &[
    CodeText {
        code: "C0001",
        summary: "The configuration file cannot be read.",
        action: "Check the path and its permissions.",
    },
    CodeText {
        code: "C0002",
        summary: "The file is not valid TOML.",
        action: "Correct the line that is named.",
    },
    CodeText {
        code: "C0003",
        summary: "A value has the wrong type or form.",
        action: "Write it as the message shows; `brokerd config reference` lists every key.",
    },
    CodeText {
        code: "C0004",
        summary: "A value is out of range.",
        action: "Choose one within the range that is named.",
    },
    CodeText {
        code: "C0007",
        summary: "The configuration has no such key, section or environment variable.",
        action: "Use the name that is suggested, or remove it.",
    },
    CodeText { code: "C0012", summary: "Two values contradict each other.", action: "Change one of them." },
    CodeText {
        code: "C0020",
        summary: "A listener would be reachable from other machines without TLS and authentication.",
        action: "Bind 127.0.0.1, or set security.allow_insecure = true.",
    },
];

/// Events in the broker's log. Their codes are stable, so alerts can be built on them.
pub const EVENT_CODES: &[CodeText] = &[
    CodeText { code: "B0001", summary: "The broker started.", action: "Nothing." },
    CodeText { code: "B0002", summary: "The broker stopped cleanly.", action: "Nothing." },
    CodeText { code: "B0003", summary: "The broker is draining before it stops.", action: "Nothing." },
    CodeText {
        code: "B0004",
        summary: "Fewer files may be open than listen.max_connections needs, so fewer connections are taken.",
        action: "Raise the limit of open files (ulimit -Hn, LimitNOFILE=), or lower listen.max_connections.",
    },
    CodeText {
        code: "B0005",
        summary: "SIGHUP: the configuration was loaded again, and log.level taken from it.",
        action: "Nothing, unless keys are named that need a restart.",
    },
    CodeText {
        code: "B0006",
        summary: "SIGHUP: the configuration has errors; the broker goes on with what it had.",
        action: "Correct what the text names (`brokerd config check FILE`) and send SIGHUP again.",
    },
    CodeText {
        code: "B0007",
        summary: "A signal to stop came while the broker was stopping already, and was ignored.",
        action: "Nothing. A second Ctrl-C (SIGINT) stops at once; the next start checks the logs then.",
    },
    CodeText { code: "B0008", summary: "A log level that was set for a while is over.", action: "Nothing." },
    CodeText {
        code: "B0101",
        summary: "A log was recovered after an unclean stop.",
        action: "Nothing: what was cut lay behind all that was synced, or nothing sound followed it.",
    },
    CodeText {
        code: "B0102",
        summary: "A file in the data directory belongs to nothing and was left alone.",
        action: "Remove it by hand once you know what it is.",
    },
    CodeText { code: "B0103", summary: "Retention or delete-records removed segments.", action: "Nothing." },
    CodeText { code: "B0104", summary: "A partition was compacted.", action: "Nothing." },
    CodeText {
        code: "B0105",
        summary: "The broker is starting and recovers its logs: how many are open, of how many.",
        action: "Wait. Recovery reads what was not known to be synced when the broker stopped.",
    },
    CodeText {
        code: "B0201",
        summary: "A write or sync failed; the log takes no appends until it is reopened at its durable end.",
        action: "Check the disk. The broker tries to reopen the log by itself.",
    },
    CodeText {
        code: "B0202",
        summary: "A log that had stopped, or was offline, is open and led again.",
        action: "Check the disk that failed before.",
    },
    CodeText {
        code: "B0203",
        summary: "The data directory is below its free-space reserve: produce requests are refused.",
        action: "Free space; it recovers by itself.",
    },
    CodeText {
        code: "B0204",
        summary: "The data directory has enough free space again.",
        action: "Nothing.",
    },
    CodeText {
        code: "B0205",
        summary: "Free space is below storage.disk_low_watermark.",
        action: "Free space before produce requests are refused.",
    },
    CodeText {
        code: "B0206",
        summary: "Stored bytes are damaged: found at start, by a read or by the scrub. Reads there answer CORRUPT; all else goes on.",
        action: "Suspect the disk. `logctl log verify` on the partition's directory, while the broker is stopped, shows all of it.",
    },
    CodeText {
        code: "B0207",
        summary: "Records that consumers could read are gone: the disk lost what it had confirmed.",
        action: "Distrust the disk; restore what is missing from its producers.",
    },
    CodeText {
        code: "B0208",
        summary: "A commit round takes longer than a second: the disk is slow.",
        action: "Look at the disk's load and health; appends wait for it.",
    },
    CodeText { code: "B0209", summary: "The slow commit round has ended.", action: "Nothing." },
    CodeText {
        code: "B0210",
        summary: "A commit round has not ended within storage.disk_stall_timeout: the disk hangs.",
        action: "Check the disk. Appends end as unknown at their time-out; it goes on by itself when the disk does.",
    },
    CodeText {
        code: "B0212",
        summary: "The commit journal is damaged or cannot be read.",
        action: "Suspect the disk. Marks, epoch histories and cuts are stored twice; of records that were acknowledged just before a loss of power the journal may have the only copy: `logctl log verify` shows what is missing. Nothing if the very first start was cut short.",
    },
    CodeText {
        code: "B0211",
        summary: "No file handle is left for a commit round; it waits for one.",
        action: "Raise the limit of open files (ulimit -Hn, LimitNOFILE=).",
    },
    CodeText {
        code: "B0217",
        summary: "The scrub could not read a file and goes on with the next.",
        action: "Check the disk.",
    },
    CodeText {
        code: "B0213",
        summary: "Damaged records were given up by an operator; reads pass over their offsets.",
        action: "Nothing.",
    },
    CodeText {
        code: "B0214",
        summary: "A partition cannot be compacted, for the reason given; others are.",
        action: "Remove the cause. After a disk error it is tried again each minute, after anything else when the log is next opened.",
    },
    CodeText {
        code: "B0215",
        summary: "The data directory or its LOCK file was removed or replaced while the broker was using it: nothing is written or acknowledged any more.",
        action: "Put the same directory back, and the broker goes on by itself; else stop it and restore the data. What was acknowledged in the second before may be lost with the directory.",
    },
    CodeText {
        code: "B0216",
        summary: "The data directory that was lost is back; its logs are checked and reopened.",
        action: "Find out who moved it.",
    },
    CodeText {
        code: "B0220",
        summary: "A partition's log cannot be opened, for the reason given: it is offline, the others are served.",
        action: "Remove the cause. Opening it is tried again by itself, after 1 s at first and every 30 s at last.",
    },
    CodeText {
        code: "B0222",
        summary: "The broker met a state of a partition that cannot be; its leadership has ended, and it is led again in a new epoch.",
        action: "Report it with the broker's log around that time. What was not acknowledged then is unknown.",
    },
    CodeText {
        code: "B0221",
        summary: "A committed record of the metadata cannot be read or applied; what is served stays as it is, and nothing of the metadata changes.",
        action: "Check the disk. It is tried again every second; a record of a newer version needs a newer brokerd.",
    },
    CodeText {
        code: "B0230",
        summary: "A small file was damaged, missing or older than its copy. What it held was taken from elsewhere; nothing is lost.",
        action: "Suspect the disk.",
    },
    CodeText {
        code: "B0231",
        summary: "The wall clock is more than an hour ahead of the time that the broker has seen pass: records and committed offsets expire slowly, a day in an hour, until it is caught up with.",
        action: "Nothing if the broker was down for so long; else correct the clock, before retention deletes what is young.",
    },
    CodeText {
        code: "B0301",
        summary: "A connection was closed by the broker because it held memory without making progress.",
        action: "Look at the client at that address.",
    },
    CodeText {
        code: "B0401",
        summary: "A member was removed from its group: it sent no heartbeat within its session time-out, or did not release partitions in time.",
        action: "Look at that consumer. What it had not committed is read again by the other members.",
    },
    CodeText {
        code: "B0402",
        summary: "The state of some groups cannot be read; they are refused until it can. It is tried again every 2 s.",
        action: "The text names the reason. After damage, `logctl partition recover` on that partition of __groups gives up what is damaged.",
    },
    CodeText {
        code: "B0403",
        summary: "The broker stood still for seconds and could hear no member of a group: all sessions begin again.",
        action: "Look for what stopped the process: a paused machine, too little memory, too few processors.",
    },
    CodeText {
        code: "B0501",
        summary: "A client's request changed topics, configs, records, groups, offsets or log levels: who, what.",
        action: "Nothing. `peer` is the address it came from, `agent` what the client calls itself.",
    },
];

/// The long form of an error code, as `logctl explain` prints it.
pub fn error_text(code: ErrorCode) -> String {
    let produce = match code.produce_end() {
        ProduceEnd::NotWritten => {
            "After a produce: not written; unknown if the same batch was sent before.\n"
        }
        ProduceEnd::NotNow => {
            "After a produce: unknown; this request wrote nothing, an earlier one may have.\n"
        }
        ProduceEnd::Either => {
            "After a produce: the answer says whether the records are not written or unknown.\n"
        }
        ProduceEnd::Never => "",
    };
    format!(
        "{code} {}\n\n{}\nWhat to do: {}\nRetrying the same request can help: {}.\n{produce}",
        code.name(),
        code.summary(),
        code.action(),
        if code.is_retriable() { "yes" } else { "no" },
    )
}

/// The whole of `docs/errors.md`.
pub fn errors_page() -> String {
    let mut page = String::from(
        "# Errors\n\nGenerated from the registry of codes; `logctl explain CODE` prints the same. *Retry*: the same request \
         may succeed later without\nanybody changing it. *Produce*: what a produce that ends with the code says of its \
         records. *Not written* stands only where\nthe log is known not to hold them: a batch with a producer id that was \
         sent before is *unknown* with every code, unless\nthe partition can exclude that the earlier request wrote it. \
         *As answered*: the answer's `outcome` says it.\n\n## Requests\n\n\
         | code | name | retry | produce | exit | means | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let retry = if code.is_retriable() { "yes" } else { "no" };
        page += &format!(
            "| {code} | {} | {retry} | {} | {} | {} | {} |\n",
            code.name(),
            code.produce_end().as_str(),
            code.exit_class().status(),
            code.summary(),
            code.action()
        );
    }
    page += "\nThe *exit* column is the status with which `logctl` ends.\n";
    for (title, texts) in [("Configuration", CONFIG_CODES), ("Events in the broker's log", EVENT_CODES)] {
        page += &format!("\n## {title}\n\n| code | means | what to do |\n|---|---|---|\n");
        for text in texts {
            page += &format!("| {} | {} | {} |\n", text.code, text.summary, text.action);
        }
    }
    page
}

/// Explains any documented code: `E1203`, `TOPIC_NOT_FOUND`, `C0007`, `B0101`; case is ignored.
///
/// Returns `None` for a code that this build does not know.
pub fn explain(code: &str) -> Option<String> {
    let known = ErrorCode::ALL.iter().find(|known| {
        known.to_string().eq_ignore_ascii_case(code) || known.name().eq_ignore_ascii_case(code)
    });
    if let Some(known) = known {
        return Some(error_text(*known));
    }
    let text = CONFIG_CODES.iter().chain(EVENT_CODES).find(|text| text.code.eq_ignore_ascii_case(code))?;
    Some(format!("{}\n\n{}\nWhat to do: {}\n", text.code, text.summary, text.action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, errors_page()).unwrap();
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(stored == errors_page(), "run: UPDATE_DOCS=1 cargo test -p corduroy-types");
    }

    #[test]
    fn every_code_is_explained_once() {
        for code in ErrorCode::ALL {
            assert_eq!(explain(&code.to_string()), explain(code.name()));
            assert!(explain(&code.to_string()).is_some());
        }
        let mut texts: Vec<_> = CONFIG_CODES.iter().chain(EVENT_CODES).map(|text| text.code).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), CONFIG_CODES.len() + EVENT_CODES.len());
        assert_eq!(explain("E9999"), None);
        assert!(explain("c0007").is_some());
    }
}
