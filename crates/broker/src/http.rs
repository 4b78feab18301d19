//! `listen.http`: metrics and health, for scrapers, load balancers and people with curl.

use std::{fmt::Write as _, future::Future, io, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    health::{Check, Health},
    limits::BoundedListener,
    metrics::{Exposition, Metrics},
};

#[derive(Clone, Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Serves `/metrics`, `/livez`, `/readyz` and `/healthz` until `stop` is ready, then ends open requests.
///
/// # Errors
/// The listener's own failure.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(Shared { metrics, health });
    axum::serve(BoundedListener::new(listener), router).with_graceful_shutdown(stop).await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(scrape))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/healthz", get(cluster))
        .with_state(shared)
}

async fn index() -> &'static str {
    concat!("brokerd ", env!("CARGO_PKG_VERSION"), "\n/metrics\n/livez\n/readyz\n/healthz\n")
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let format = Exposition::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    // Sampling asks every partition and the file system: not for a network thread.
    match tokio::task::spawn_blocking(move || shared.metrics.encode_as(format)).await {
        Ok(text) => ([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be read\n").into_response(),
    }
}

/// That this answer was made shows that the process makes progress; nothing else is asked.
async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let findings = Check::ALL.map(|check| Finding {
        name: check.name(),
        failure: shared.health.failure(check),
        passed: "ok".to_owned(),
    });
    answer(&findings, is_verbose(query.as_deref()))
}

/// The cluster as this broker sees it: all of it, as long as it is the only one.
async fn cluster(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let down = shared.health.partitions_down();
    let findings = [Finding {
        name: "leaderless",
        failure: (down > 0)
            .then(|| format!("{down} partitions take no appends since a write or sync failed")),
        passed: "0".to_owned(),
    }];
    answer(&findings, is_verbose(query.as_deref()))
}

struct Finding {
    name: &'static str,
    failure: Option<String>,
    passed: String,
}

fn is_verbose(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|word| word == "verbose" || word.starts_with("verbose="))
}

/// 200 when nothing fails, else 503; the text lists what fails, the verbose form every check as JSON.
fn answer(findings: &[Finding], verbose: bool) -> Response {
    let failing = findings.iter().any(|finding| finding.failure.is_some());
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    if verbose {
        return (status, [(CONTENT_TYPE, "application/json")], as_json(findings, failing)).into_response();
    }
    let mut text = String::new();
    for finding in findings {
        if let Some(failure) = &finding.failure {
            let _ = writeln!(text, "{}: {failure}", finding.name);
        }
    }
    if !failing {
        text.push_str("ok\n");
    }
    (status, text).into_response()
}

fn as_json(findings: &[Finding], failing: bool) -> String {
    let checks: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "name": finding.name,
                "ok": finding.failure.is_none(),
                "text": finding.failure.as_ref().unwrap_or(&finding.passed),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::json!({ "ok": !failing, "checks": checks }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    fn shared() -> Shared {
        Shared { metrics: Arc::new(Metrics::new()), health: Arc::new(Health::new()) }
    }

    async fn ask(shared: &Shared, path: &str) -> (StatusCode, String) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let answer = router(shared.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_the_broker_and_names_what_fails() {
        let shared = shared();
        shared.health.set_recovery_progress(812, 4000);
        assert_eq!(ask(&shared, "/livez").await, (StatusCode::OK, "ok\n".into()));
        assert_eq!(
            ask(&shared, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, "recovery: recovering 812/4000 partitions\n".into())
        );
        shared.health.set_recovered();
        assert_eq!(ask(&shared, "/readyz").await, (StatusCode::OK, "ok\n".into()));
        shared.health.set_disk_blocked(true);
        shared.health.set_draining();
        let (status, text) = ask(&shared, "/readyz?verbose").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["ok"], false);
        let failing: Vec<_> =
            json["checks"].as_array().unwrap().iter().filter(|c| c["ok"] == false).collect();
        assert_eq!(
            failing.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["draining", "disk"]
        );
    }

    #[tokio::test]
    async fn the_cluster_view_counts_partitions_that_take_no_appends() {
        let shared = shared();
        assert_eq!(ask(&shared, "/healthz").await.0, StatusCode::OK);
        shared.health.set_partitions_down(2, 3);
        let (status, text) = ask(&shared, "/healthz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.starts_with("leaderless: 2 partitions"), "{text}");
    }

    #[tokio::test]
    async fn a_broker_that_can_write_no_log_is_not_ready_and_says_why() {
        let shared = shared();
        shared.health.set_recovered();
        shared.health.set_partitions_down(3, 3);
        let (status, text) = ask(&shared, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.starts_with("disk: no log can be written"), "{text}");
        shared.health.set_partitions_down(0, 3);
        shared.health.set_data_dir_lost(Some("/data was removed".to_owned()));
        let (status, text) = ask(&shared, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "disk: /data was removed; nothing can be written\n");
        shared.health.set_data_dir_lost(None);
        assert_eq!(ask(&shared, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_served_in_the_format_that_is_asked_for() {
        let (status, text) = ask(&shared(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE brokerd_build_info gauge\n") && !text.contains("# EOF"), "{text}");
        let request = axum::http::Request::get("/metrics").header(ACCEPT, "application/openmetrics-text");
        let answer = router(shared()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()[CONTENT_TYPE], Exposition::OpenMetrics.content_type());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"# EOF\n"));
        assert_eq!(ask(&shared(), "/nothing").await.0, StatusCode::NOT_FOUND);
    }
}
