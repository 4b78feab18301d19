//! The tower layer that puts both guards around every request.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use corduroy_api::{ERROR_DETAIL_KEY, Refusal};
use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    Limits, Rpc,
    answer::{AnswerBody, AnswerPermits},
    received::Received,
    registry::Connection,
    request::{Guards, RequestBody},
};

/// The paths of our services. Health and reflection have their own limits.
const OUR_PATHS: &str = "/corduroy.";

/// The status with which the gRPC library ended a request before any service saw it.
fn without_detail(answer: &Response<Body>) -> Option<Status> {
    let status = Status::from_header_map(answer.headers())?;
    let has_detail = status.metadata().get_bin(ERROR_DETAIL_KEY).is_some();
    (status.code() != Code::Ok && !has_detail).then_some(status)
}

/// Makes [`Guarded`] services.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer(Arc<Limits>);

impl GuardLayer {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self(limits)
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, limits: Arc::clone(&self.0) }
    }
}

/// A service whose requests and answers are charged to their connection.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let rpc = Rpc::of_path(path);
        let is_ours = path.starts_with(OUR_PATHS);
        let (received, sent) = self.limits.byte_counters(path).unzip();
        // Every connection of our listener is in the extensions. A request from elsewhere has no connection to
        // charge.
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let request = match connection {
            Some(connection) => {
                let guards = Guards { rpc, connection, limits: Arc::clone(&self.limits), bytes: received };
                let received = Received::default();
                let mut request = request;
                request.extensions_mut().insert(received.clone());
                request.map(|body| Body::new(RequestBody::new(body, guards, received)))
            }
            None => request,
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if is_ours && let Some(status) = without_detail(&answer) {
                return Ok(Refusal::of_request(&status).into_status().into_http());
            }
            let permits = answer.extensions_mut().remove::<AnswerPermits>();
            Ok(answer.map(|body| Body::new(AnswerBody::new(body, permits, sent))))
        })
    }
}
