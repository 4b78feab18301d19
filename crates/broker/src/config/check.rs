//! Rules that span several keys.

use std::net::SocketAddr;

use corduroy_types::{GIB, KIB, format_byte_size};

use super::{error::ConfigError, key::code, model::BrokerConfig, values::Watermark};

/// What the largest record batch of a produce request has around it: field tags, the topic's name, an id.
pub const REQUEST_OVERHEAD_BYTES: u64 = 64 * KIB;

/// Everything in `config` that contradicts something else in it.
pub(super) fn contradictions(config: &BrokerConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    exposed("listen.grpc", config.listen.grpc, config, &mut errors);
    exposed("listen.http", config.listen.http, config, &mut errors);
    let mut contradiction =
        |text: String| errors.push(ConfigError { code: code("C0012"), origin: None, text });
    let listen = &config.listen;
    if listen.grpc.port() != 0 && listen.grpc == listen.http {
        contradiction(format!("listen.grpc and listen.http are both {}: give them two ports", listen.grpc));
    }
    let storage = &config.storage;
    if let Some((low, block)) = comparable(storage.disk_low_watermark, storage.disk_block_watermark)
        && block > low
    {
        contradiction(format!(
            "storage.disk_block_watermark {} > storage.disk_low_watermark {}: produce would stop before the warning",
            storage.disk_block_watermark, storage.disk_low_watermark
        ));
    }
    let limits = &config.limits;
    if limits.request_max_bytes > limits.inflight_produce_bytes {
        contradiction(format!(
            "limits.request_max_bytes {} > limits.inflight_produce_bytes {}: the largest request would never fit",
            format_byte_size(limits.request_max_bytes),
            format_byte_size(limits.inflight_produce_bytes),
        ));
    }
    if limits.fetch_max_bytes > limits.inflight_fetch_bytes {
        contradiction(format!(
            "limits.fetch_max_bytes {} > limits.inflight_fetch_bytes {}: the largest answer would never fit",
            format_byte_size(limits.fetch_max_bytes),
            format_byte_size(limits.inflight_fetch_bytes),
        ));
    }
    let topic = &config.topic_defaults.config;
    let largest = u64::from(topic.max_message_bytes);
    if largest + REQUEST_OVERHEAD_BYTES > limits.request_max_bytes {
        contradiction(format!(
            "topic_defaults.max.message.bytes {} + {} for the rest of a request > limits.request_max_bytes {}: \
             such batches could not be sent",
            format_byte_size(largest),
            format_byte_size(REQUEST_OVERHEAD_BYTES),
            format_byte_size(limits.request_max_bytes),
        ));
    }
    if let Err(error) = topic.check() {
        contradiction(format!("topic_defaults: {error}"));
    }
    errors
}

fn exposed(key: &str, address: SocketAddr, config: &BrokerConfig, errors: &mut Vec<ConfigError>) {
    if address.ip().is_loopback() || config.security.allow_insecure {
        return;
    }
    errors.push(ConfigError {
        code: code("C0020"),
        origin: None,
        text: format!(
            "{key} {address} without TLS and authentication; bind 127.0.0.1, or set security.allow_insecure = true"
        ),
    });
}

/// Both watermarks in one unit, where the size of the disk does not matter.
fn comparable(low: Watermark, block: Watermark) -> Option<(u64, u64)> {
    let same_kind = matches!(
        (low, block),
        (Watermark::Percent(_), Watermark::Percent(_)) | (Watermark::Bytes(_), Watermark::Bytes(_))
    );
    same_kind.then(|| (low.bytes(100 * GIB), block.bytes(100 * GIB)))
}
