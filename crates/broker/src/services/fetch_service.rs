//! The `Fetch` service: fetch, consume, list offsets.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Shared, consume, fetch, offsets};
use crate::{
    limits::{AnswerPermits, Connection, Permitted},
    metrics::Api,
};

/// Serves `corduroy.v1.Fetch`.
pub(crate) struct FetchService {
    shared: Arc<Shared>,
}

impl FetchService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl v1::fetch_server::Fetch for FetchService {
    type ConsumeStream = Permitted<consume::ConsumeResult>;

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::Fetch).begin();
        let caller = Connection::of(&request);
        let answer = fetch::fetch(&self.shared, caller, request.into_inner()).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        let (answer, permit) = answer.map_err(Refusal::into_status)?;
        let permits = AnswerPermits::default();
        permits.extend(permit);
        let mut answer = Response::new(answer);
        answer.extensions_mut().insert(permits);
        Ok(answer)
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let caller = Connection::of(&request);
        let session = consume::Session::open(&self.shared, caller, request.into_inner()).await;
        let session = session.map_err(Refusal::into_status)?;
        let (answers, stream) = mpsc::channel(consume::READ_AHEAD);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let begun = shared.metrics.requests.api(Api::Consume).begin();
            session.run(answers).await;
            begun.finish(None);
        });
        let permits = AnswerPermits::default();
        let mut answer = Response::new(Permitted::new(stream, permits.clone()));
        answer.extensions_mut().insert(permits);
        Ok(answer)
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::ListOffsets).begin();
        let answer = offsets::list(&self.shared, request.into_inner()).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }
}
