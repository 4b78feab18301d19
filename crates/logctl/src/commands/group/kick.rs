//! `logctl group kick`

use corduroy_client::ClientError;
use corduroy_types::ErrorCode;
use serde::Serialize;

use super::{note_dry_run, partition_list, partition_names};
use crate::{
    cli::{KickArgs, OutputForm},
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    output::{is_structured, write_value},
    ui::Ui,
};

#[derive(Serialize)]
struct Kicked<'a> {
    group: &'a str,
    member: &'a str,
    assigned: Vec<String>,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

pub(crate) async fn run(args: &KickArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let removing = session.change(|admin| async move {
        let request = admin.remove_member(&args.name, &args.member);
        if dry_run { request.validate_only().await } else { request.await }
    });
    let removed = match removing.await {
        Ok(removed) => removed,
        Err(error) => return Err(explained(&session, args, &error).await.into()),
    };
    if is_structured(ui.settings.output) {
        let assigned = partition_names(&removed.assigned);
        write_value(ui, &Kicked { group: &args.name, member: &removed.id, assigned, dry_run })?;
    } else if ui.settings.output == OutputForm::Name {
        ui.line(&removed.id)?;
    } else {
        let verb = if dry_run { "would remove" } else { "removed" };
        let had = partition_list(&removed.assigned);
        ui.line(format!("{verb} {} of {}  had {had}", removed.id, args.name))?;
    }
    if dry_run {
        note_dry_run(ui);
    } else {
        let name = shell_word(&args.name);
        ui.note(format!(
            "it joins again unless it is stopped; see with logctl group describe {name} --members"
        ));
    }
    Ok(Exit::Ok)
}

/// Names the member that was probably meant.
async fn explained(session: &Session, args: &KickArgs, error: &ClientError) -> CliError {
    let ours = session.group_error(&args.name, error);
    if ours.code != ErrorCode::UnknownMember {
        return ours;
    }
    // It has failed already; without the members it fails with a plainer hint.
    let Ok(group) = session.client.admin().describe_group(&args.name).await else { return ours };
    let ids = group.members.iter().map(|member| member.id.as_str());
    let names = ids.chain(group.members.iter().filter_map(|member| member.instance.as_deref()));
    ours.with_nearest(&args.member, names)
}
