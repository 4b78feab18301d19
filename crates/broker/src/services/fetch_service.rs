//! The `Fetch` service: fetch, consume, list offsets.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Shared, consume, fetch, offsets};
use crate::metrics::Api;

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
    type ConsumeStream = ReceiverStream<Result<v1::ConsumeResponse, Status>>;

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::Fetch).begin();
        let answer = fetch::fetch(&self.shared, request.into_inner()).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let session = consume::Session::open(&self.shared, request.into_inner()).await;
        let session = session.map_err(Refusal::into_status)?;
        let (answers, stream) = mpsc::channel(consume::READ_AHEAD);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let begun = shared.metrics.requests.api(Api::Consume).begin();
            session.run(answers).await;
            begun.finish(None);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
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
