//! `SetLogLevel`: what a running broker logs.

use std::time::Duration;

use corduroy_api::{Refusal, v1};
use corduroy_types::ErrorCode;

use super::{Shared, audit::Who};
use crate::config::LogFilter;

/// A level that is to revert does so while the reason for it is still remembered.
const FOR_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;

/// Checks that this broker is meant; 0 means the one that is asked.
pub(super) fn check_broker(shared: &Shared, broker: u32) -> Result<(), Refusal> {
    let own = shared.config.node.id;
    if broker != 0 && broker != own.0 {
        let text = format!("broker: there is no broker {broker}; this is broker {own}");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    Ok(())
}

/// Answers `SetLogLevel`. While the broker starts or stops too: then its log is of use.
pub(super) fn set(
    shared: &Shared,
    request: v1::SetLogLevelRequest,
    who: &Who,
) -> Result<v1::SetLogLevelResponse, Refusal> {
    let v1::SetLogLevelRequest { broker, filter, for_ms, validate_only } = request;
    let invalid = |text: String| Refusal::new(ErrorCode::InvalidRequest, text);
    check_broker(shared, broker)?;
    if for_ms > FOR_MS_MAX {
        return Err(invalid(format!("for_ms: {for_ms} is above {FOR_MS_MAX}")));
    }
    let wanted = match filter.as_str() {
        "" => None,
        text => Some(LogFilter::parse(text).ok_or_else(|| {
            let text = text.chars().take(100).collect::<String>();
            invalid(format!("filter: {text:?} is not LEVEL or TARGET=LEVEL, joined by commas")).with_hint(
                "levels are off, error, warn, info, debug and trace; corduroy_log=debug for one target",
            )
        })?),
    };
    let Some(levels) = shared.log_levels() else {
        let text = "this broker runs inside a process that decides by itself what is logged";
        return Err(Refusal::new(ErrorCode::Unsupported, text));
    };
    if !validate_only {
        let keep = (for_ms > 0).then(|| Duration::from_millis(for_ms));
        match &wanted {
            Some(wanted) => levels.set(wanted, keep),
            None => levels.reset(),
        }
        let details =
            keep.map_or_else(|| "until the process ends".to_owned(), |keep| format!("for {keep:?}"));
        who.changed("set log level", &filter, details);
    }
    Ok(v1::SetLogLevelResponse { filter: levels.filter() })
}
