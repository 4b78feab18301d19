//! Commands over several items: what became of all of them together.

use corduroy_types::ErrorCode;
use serde_json::json;

use crate::{
    error::{CliError, Stop},
    exit::Exit,
    ui::Ui,
};

/// Ends a command over `total` items of which some failed, each named.
///
/// # Errors
/// One item: its own error. All: the first one's. Some: `PARTLY_FAILED`. Where there are several, each is listed,
/// on stderr for people and in the details for scripts.
pub(crate) fn finish(
    ui: &mut Ui<'_>,
    total: usize,
    mut failures: Vec<(String, CliError)>,
) -> Result<Exit, Stop> {
    if failures.is_empty() {
        return Ok(Exit::Ok);
    }
    if total == 1 {
        return Err(failures.remove(0).1.into());
    }
    ui.flush()?;
    if !ui.settings.json_errors() {
        for (_, error) in &failures {
            ui.warn(format!("error[{}]: {}", error.code, error.message));
        }
    }
    let items: Vec<_> = failures
        .iter()
        .map(|(name, error)| json!({"name": name, "code": error.code.to_string(), "message": error.message}))
        .collect();
    let failed = failures.len();
    let error = if failed == total {
        let first = failures.remove(0).1;
        CliError { message: format!("none of {total} succeeded; the first: {}", first.message), ..first }
    } else {
        CliError::new(ErrorCode::PartlyFailed, format!("{failed} of {total} failed"))
    };
    Err(error.with_detail("items", items).into())
}
