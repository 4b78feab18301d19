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
    numbered::{self, Numbered, Target},
    order::{About, AnswerOrder},
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

type ProduceResult = Result<v1::ProduceResponse, Status>;

#[tonic::async_trait]
impl v1::produce_server::Produce for ProduceService {
    type ProduceStream = ReceiverStream<ProduceResult>;

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let shared = Arc::clone(&self.shared);
        // A request from elsewhere than our listener has nothing left out and nothing charged.
        let received = request.extensions().get::<Received>().cloned().unwrap_or_default();
        tokio::spawn(async move {
            // A send fails only when the client is gone; then nothing is left to send it to.
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
    let id = shared.engine()?.metadata().new_producer_id().await?;
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
    answers: mpsc::Sender<ProduceResult>,
) -> Result<(), ClientGone> {
    let mut accepting = pin!(Fuse::terminated());
    let mut waiting = FuturesUnordered::new();
    let mut order = AnswerOrder::default();
    // Answers hold no records: a client that does not read them costs little.
    let mut ready = VecDeque::new();
    let mut stopping = pin!(shared.stopping());
    let mut open = true;
    let mut end = Ok(());
    while open || !accepting.is_terminated() || !waiting.is_empty() || !ready.is_empty() {
        let has_room = order.len() + ready.len() < IN_FLIGHT_MAX;
        tokio::select! {
            biased;
            place = answers.reserve(), if !ready.is_empty() => {
                let place = place.map_err(|_| ClientGone)?;
                if let Some(answer) = ready.pop_front() {
                    place.send(Ok(answer));
                }
            }
            Some((ticket, answer)) = waiting.next(), if !waiting.is_empty() => {
                order.answer(ticket, answer, &mut ready);
            }
            begun = &mut accepting, if !accepting.is_terminated() => {
                let Begun { since, correlation_id, about, result } = begun;
                let ticket = order.place(about);
                match result {
                    Ok(accepted) => {
                        let acknowledged = acknowledge(&shared, since, correlation_id, accepted);
                        waiting.push(acknowledged.map(move |answer| (ticket, answer)));
                    }
                    Err(refusal) => {
                        order.answer(ticket, refused(&shared, correlation_id, refusal), &mut ready);
                    }
                }
            }
            // What was accepted is still answered; what was not read yet never entered the log.
            () = &mut stopping, if open => (open, end) = (false, Err(stopping_status())),
            request = requests.message(), if open && has_room && accepting.is_terminated() => match request {
                Ok(Some(request)) => match received.take() {
                    None => accepting.set(begin(&shared, &received, request).fuse()),
                    Some(skipped) => {
                        let (about, answer) = left_out(&shared, skipped);
                        let ticket = order.place(about);
                        order.answer(ticket, answer, &mut ready);
                    }
                },
                Ok(None) => open = false,
                Err(status) => (open, end) = (false, Err(Refusal::of_request(&status).into_status())),
            },
        }
    }
    match end {
        Ok(()) => Ok(()),
        // What was accepted before has its answer; then the stream ends with the reason.
        Err(status) => answers.send(Err(status)).await.map_err(|_| ClientGone),
    }
}

/// How a stream ends when the broker stops: what has no answer by then, its client may not take for refused.
fn stopping_status() -> Status {
    let text = "the broker is stopping; what has no answer may or may not be written";
    Refusal::new(ErrorCode::ShuttingDown, text).into_status()
}

/// A request that was accepted or refused.
struct Begun {
    since: Instant,
    correlation_id: u64,
    about: About,
    result: Result<Accepted, Refusal>,
}

async fn begin(shared: &Arc<Shared>, received: &Received, mut request: v1::ProduceRequest) -> Begun {
    let (since, correlation_id) = (Instant::now(), request.correlation_id);
    let result = accept(shared, &mut request).await;
    // It is refused and gone, or charged to the memory for appends.
    received.release();
    let about = About { topic: request.topic, partition: request.partition };
    Begun { since, correlation_id, about, result }
}

/// The answer to a message that was above the limit and never came into memory.
fn left_out(shared: &Shared, Skipped { head, refusal }: Skipped) -> (About, v1::ProduceResponse) {
    let target = Target { topic: &head.topic, topic_id: &head.topic_id, partition: head.partition };
    let outcome = numbered::outcome(shared, &target, Numbered::of(&head.batch).as_ref(), refusal.code);
    let answer = refused(shared, head.correlation_id, refusal.with_outcome(outcome));
    (About { topic: head.topic, partition: head.partition }, answer)
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
            debug_assert!(refusal.code.produce_end().allows(Outcome::Unknown), "{refusal}");
            shared.metrics.data.produce_failed(Outcome::Unknown);
            v1::produce_response::Result::Error(refusal.into())
        }
    };
    v1::ProduceResponse { correlation_id, result: Some(result) }
}

/// Answers a refusal, and counts it.
fn refused(shared: &Shared, correlation_id: u64, refusal: Refusal) -> v1::ProduceResponse {
    let outcome = refusal.outcome.unwrap_or(Outcome::Unknown);
    debug_assert!(refusal.code.produce_end().allows(outcome), "{refusal} with outcome {outcome}");
    shared.metrics.data.produce_failed(outcome);
    shared.metrics.requests.api(Api::Produce).count(Some(refusal.code));
    let error = refusal.with_outcome(outcome).into();
    v1::ProduceResponse { correlation_id, result: Some(v1::produce_response::Result::Error(error)) }
}
