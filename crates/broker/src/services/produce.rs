//! The `Produce` stream: ordered, pipelined, one answer to each request.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Instant};

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, Outcome};
use futures_util::{
    FutureExt, StreamExt,
    future::{Fuse, FusedFuture},
    stream::FuturesUnordered,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Shared,
    accept::{Accepted, accept},
};
use crate::{
    limits::{Received, Skipped},
    metrics::{Api, Phase},
};

/// Requests of one stream that wait for their acknowledgement; more are not read until one is answered.
const IN_FLIGHT_MAX: usize = 1_000;
/// Answers that wait for the client to read them; when full, nothing more of the stream is read.
const ANSWERS_MAX: usize = 64;

/// Serves `corduroy.v1.Produce`.
pub(crate) struct ProduceService {
    shared: Arc<Shared>,
}

impl ProduceService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

type Answer = Result<v1::ProduceResponse, Status>;

#[tonic::async_trait]
impl v1::produce_server::Produce for ProduceService {
    type ProduceStream = ReceiverStream<Answer>;

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let shared = Arc::clone(&self.shared);
        // A request from elsewhere than our listener has nothing left out and nothing charged.
        let received = request.extensions().get::<Received>().cloned().unwrap_or_default();
        tokio::spawn(async move {
            // A send fails only when the client is gone; then nobody is left to tell.
            let _client_gone = serve(shared, request.into_inner(), received, answers).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn init_producer(
        &self,
        _request: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let begun = self.shared.metrics.requests.api(Api::InitProducer).begin();
        let answer = init_producer(&self.shared).await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }
}

async fn init_producer(shared: &Shared) -> Result<v1::InitProducerResponse, Refusal> {
    let id = shared.engine()?.new_producer_id().await?;
    let producer_id = i64::try_from(id)
        .map_err(|_| Refusal::new(ErrorCode::Internal, format!("producer id {id} is out of range")))?;
    Ok(v1::InitProducerResponse { producer_id, producer_epoch: 0 })
}

/// The receiving half of the answers is gone: the client left or its connection broke.
struct ClientGone;

/// Three things go on at once, so that none can hold up another: one request is being accepted (it may wait for memory
/// that those before it give back), accepted ones wait for their acknowledgement, and answers wait for the client.
async fn serve(
    shared: Arc<Shared>,
    mut requests: Streaming<v1::ProduceRequest>,
    received: Received,
    answers: mpsc::Sender<Answer>,
) -> Result<(), ClientGone> {
    let mut accepting = pin!(Fuse::terminated());
    let mut waiting = FuturesUnordered::new();
    // Answers hold no records: a client that does not read them costs little.
    let mut ready = VecDeque::new();
    let mut stopping = pin!(shared.stopping());
    let mut open = true;
    let mut end = Ok(());
    while open || !accepting.is_terminated() || !waiting.is_empty() || !ready.is_empty() {
        let has_room = waiting.len() + ready.len() < IN_FLIGHT_MAX;
        tokio::select! {
            biased;
            place = answers.reserve(), if !ready.is_empty() => {
                let place = place.map_err(|_| ClientGone)?;
                if let Some(answer) = ready.pop_front() {
                    place.send(Ok(answer));
                }
            }
            Some(answer) = waiting.next(), if !waiting.is_empty() => ready.push_back(answer),
            Begun { since, correlation_id, result } = &mut accepting, if !accepting.is_terminated() => match result {
                Ok(accepted) => waiting.push(acknowledge(&shared, since, correlation_id, accepted)),
                Err(refusal) => ready.push_back(refused(&shared, correlation_id, refusal)),
            },
            // What was accepted is still answered; what was not read yet never entered the log.
            () = &mut stopping, if open => open = false,
            request = requests.message(), if open && has_room && accepting.is_terminated() => match request {
                Ok(Some(request)) => match received.take() {
                    None => accepting.set(begin(&shared, &received, request).fuse()),
                    Some(Skipped { correlation_id, refusal }) => {
                        ready.push_back(refused(&shared, correlation_id, refusal));
                    }
                },
                Ok(None) => open = false,
                Err(status) => (open, end) = (false, Err(status)),
            },
        }
    }
    match end {
        Ok(()) => Ok(()),
        // What was accepted before has its answer; then the stream ends with the reason.
        Err(status) => answers.send(Err(status)).await.map_err(|_| ClientGone),
    }
}

/// A request that was accepted or refused.
struct Begun {
    since: Instant,
    correlation_id: u64,
    result: Result<Accepted, Refusal>,
}

async fn begin(shared: &Arc<Shared>, received: &Received, request: v1::ProduceRequest) -> Begun {
    let (since, correlation_id) = (Instant::now(), request.correlation_id);
    let result = accept(shared, request).await;
    // It is refused and gone, or charged to the memory for appends.
    received.release();
    Begun { since, correlation_id, result }
}

/// Waits for a request's acknowledgement, and counts how it ended.
async fn acknowledge(
    shared: &Shared,
    began: Instant,
    correlation_id: u64,
    accepted: Accepted,
) -> v1::ProduceResponse {
    let appended = Instant::now();
    let result = accepted.acknowledged().await;
    let api = shared.metrics.requests.api(Api::Produce);
    api.observe(Phase::Fsync, appended.elapsed().as_secs_f64());
    api.observe(Phase::Total, began.elapsed().as_secs_f64());
    api.count(result.as_ref().err().map(|refusal| refusal.code));
    let result = match result {
        Ok(ack) => {
            shared.metrics.data.produce_ok.inc();
            v1::produce_response::Result::Ok(ack)
        }
        Err(refusal) => {
            shared.metrics.data.produce_failed(Outcome::Unknown);
            v1::produce_response::Result::Error(refusal.into())
        }
    };
    v1::ProduceResponse { correlation_id, result: Some(result) }
}

/// A refusal before anything entered a commit round is certainly not written.
fn refused(shared: &Shared, correlation_id: u64, refusal: Refusal) -> v1::ProduceResponse {
    let outcome = refusal.outcome.unwrap_or(Outcome::NotWritten);
    shared.metrics.data.produce_failed(outcome);
    shared.metrics.requests.api(Api::Produce).count(Some(refusal.code));
    let error = refusal.with_outcome(outcome).into();
    v1::ProduceResponse { correlation_id, result: Some(v1::produce_response::Result::Error(error)) }
}
