//! Where a producer's id comes from: the broker, at the first record that needs one.

use std::{future::Future, pin::Pin, sync::Arc};

use corduroy_api::{Refusal, v1};
use tokio::time::Instant;
use v1::produce_client::ProduceClient;

use super::numbering::Numbering;
use crate::{
    ClientError,
    backoff::Backoff,
    client::{Repeat, Shared},
};

type Asking = Pin<Box<dyn Future<Output = Result<Numbering, ClientError>> + Send>>;

enum IdState {
    /// No one needs one.
    Idle,
    Asking(Asking),
    /// It is asked for again at this time.
    Waiting(Instant),
    Known(Numbering),
}

/// The producer's present id; asked for until there is one.
pub(crate) struct ProducerIds {
    client: Arc<Shared>,
    state: IdState,
    backoff: Backoff,
}

impl ProducerIds {
    pub(crate) fn new(client: Arc<Shared>) -> Self {
        Self { client, state: IdState::Idle, backoff: Backoff::default() }
    }

    /// The first numbers under the id, once there is one; until then it is asked for.
    pub(crate) fn want(&mut self) -> Option<Numbering> {
        match &self.state {
            IdState::Known(first) => return Some(*first),
            IdState::Idle => self.state = IdState::Asking(self.ask()),
            IdState::Asking(_) | IdState::Waiting(_) => {}
        }
        None
    }

    /// The id is used up, or another producer has it: the next producer gets another.
    pub(crate) fn discard(&mut self, id: i64) {
        if matches!(&self.state, IdState::Known(first) if first.id() == id) {
            self.state = IdState::Idle;
        }
    }

    /// Resolves when there is an id, or when asking for it failed: then it is asked again. Dropping the future loses
    /// nothing.
    pub(crate) async fn event(&mut self) -> Result<(), Refusal> {
        loop {
            match &mut self.state {
                IdState::Idle | IdState::Known(_) => std::future::pending().await,
                IdState::Waiting(at) => {
                    tokio::time::sleep_until(*at).await;
                    self.state = IdState::Asking(self.ask());
                }
                IdState::Asking(asking) => match asking.await {
                    Ok(first) => {
                        self.backoff.reset();
                        self.state = IdState::Known(first);
                        return Ok(());
                    }
                    Err(error) => {
                        self.state = IdState::Waiting(Instant::now() + self.backoff.next());
                        return Err(error.refusal().clone());
                    }
                },
            }
        }
    }

    fn ask(&self) -> Asking {
        let client = Arc::clone(&self.client);
        Box::pin(async move {
            // Each answer is another id, so asking twice wastes one and does no harm.
            let call = |channel| async move {
                ProduceClient::new(channel).init_producer(v1::InitProducerRequest {}).await
            };
            let answer = client.control(Repeat::Reads, call).await?;
            let v1::InitProducerResponse { producer_id, producer_epoch } = answer;
            match i16::try_from(producer_epoch) {
                Ok(epoch) if epoch >= 0 && producer_id >= 0 => Ok(Numbering::new(producer_id, epoch)),
                _ => Err(ClientError::unexpected(format!(
                    "the broker gave producer id {producer_id} with epoch {producer_epoch}"
                ))),
            }
        })
    }
}
