//! `Subscribe`: a member on one stream.
//!
//! | module | what it holds |
//! |---|---|
//! | `assignment` | what the member has and what has to be sent to its program: the pure state machine |
//! | `session` | the stream's task, which performs |
//! | `membership` | the member as the coordinator sees it |
//! | `places` | where reading of a partition begins |
//! | `reader` | reading in turns |
//! | `acknowledgements` | commits |

mod acknowledgements;
mod assignment;
mod membership;
mod reader;
mod session;
mod start_offsets;

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use corduroy_types::ErrorCode;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use self::{membership::Membership, session::Session};
use super::{super::Shared, wire};
use crate::{
    limits::{Connection, Permit},
    metrics::Api,
};

/// Messages ahead of the client: one of records, and one of what else there is to send.
pub(super) const READ_AHEAD: usize = 2;

pub(super) type SubscribeAnswer = Result<v1::SubscribeResponse, Status>;
/// An answer on its way, with the permit for its memory.
pub(super) type Permitted = (SubscribeAnswer, Option<Permit>);
/// Room for one answer.
type AnswerSlot = mpsc::OwnedPermit<Permitted>;

/// Serves one stream to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    caller: Option<Arc<Connection>>,
    mut requests: Streaming<v1::SubscribeRequest>,
    answers: mpsc::Sender<Permitted>,
) {
    let begun = shared.metrics.requests.api(Api::Subscribe).begin();
    let opened = tokio::select! {
        opened = open(&shared, caller, &mut requests) => opened,
        () = answers.closed() => Err(Refusal::new(ErrorCode::InvalidRequest, "the stream broke before it began")),
        () = shared.stopping() => Err(stopping()),
    };
    let ended = match opened {
        Ok(membership) => Session::new(Arc::new(membership), requests, answers.clone()).run().await,
        Err(refusal) => Err(refusal),
    };
    begun.finish(ended.as_ref().err().map(|refusal| refusal.code));
    if let Err(refusal) = ended {
        // It fails when the client is gone, and there is nothing to send it to.
        let _client_gone = answers.send((Err(refusal.into_status()), None)).await;
    }
}

async fn open(
    shared: &Arc<Shared>,
    caller: Option<Arc<Connection>>,
    requests: &mut Streaming<v1::SubscribeRequest>,
) -> Result<Membership, Refusal> {
    let first = requests.message().await.map_err(|status| Refusal::of_request(&status))?;
    match first.and_then(|first| first.request) {
        Some(v1::subscribe_request::Request::Join(join)) => Membership::new(shared, caller, join).await,
        _ => Err(wire::invalid("request: a stream begins with `join`")),
    }
}

fn stopping() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping")
}
