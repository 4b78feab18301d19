//! A producer and a reader made of the generated stubs alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use corduroy_api::v1::{self, produce_request::Payload, produce_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{
    Random,
    ledger::{Ledger, RecordOutcome},
};

pub async fn connect(url: &str) -> Channel {
    Channel::from_shared(url.to_owned()).expect("a URL").connect().await.expect("the broker answers")
}

pub async fn create_topic(channel: Channel, name: &str, partition_count: u32, configs: &[(&str, &str)]) {
    let configs = configs
        .iter()
        .map(|(key, value)| v1::ConfigEntry { key: (*key).to_owned(), value: (*value).to_owned() })
        .collect();
    let topic = v1::NewTopic { name: name.to_owned(), partition_count, configs, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], validate_only: false };
    let created =
        v1::admin_client::AdminClient::new(channel).create_topics(request).await.expect("it answers");
    let created = created.into_inner().topics.remove(0);
    assert_eq!(created.error, None);
}

/// Produces unique values to random partitions, many in flight, until `stop_after` were acknowledged (then it calls
/// `stop` and goes on until the stream breaks) and notes what it learns.
pub async fn produce_until_broken(
    url: &str,
    topic: &str,
    partition_count: u32,
    random: &mut Random,
    ledger: &mut Ledger,
    stop_after: usize,
    stop: impl FnOnce(),
) {
    let mut client = v1::produce_client::ProduceClient::new(connect(url).await);
    let (requests, stream) = mpsc::channel::<v1::ProduceRequest>(64);
    let mut in_flight: BTreeMap<u64, Vec<Bytes>> = BTreeMap::new();
    let mut answers = match client.produce(ReceiverStream::new(stream)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => panic!("the stream does not open: {status}"),
    };
    let target = ledger.acknowledged() + stop_after;
    let mut stop = Some(stop);
    let mut correlation_id = 0;
    loop {
        tokio::select! {
            biased;
            answer = answers.message() => match answer {
                Ok(Some(answer)) => settle(&mut in_flight, ledger, answer),
                Ok(None) | Err(_) => return,
            },
            place = requests.reserve(), if in_flight.len() < 64 => {
                let Ok(place) = place else { return };
                correlation_id += 1;
                let (request, values) = request(topic, partition_count, correlation_id, random);
                values.iter().for_each(|value| ledger.send(value.clone()));
                in_flight.insert(correlation_id, values);
                place.send(request);
            }
        }
        if ledger.acknowledged() >= target
            && let Some(stop) = stop.take()
        {
            stop();
        }
    }
}

/// Produces unique values one request after the other until `count` more are acknowledged.
pub async fn produce_some(
    url: &str,
    topic: &str,
    partition_count: u32,
    random: &mut Random,
    ledger: &mut Ledger,
    count: usize,
) {
    let mut client = v1::produce_client::ProduceClient::new(connect(url).await);
    let (requests, stream) = mpsc::channel::<v1::ProduceRequest>(1);
    let mut answers =
        client.produce(ReceiverStream::new(stream)).await.expect("the stream opens").into_inner();
    let target = ledger.acknowledged() + count;
    let mut in_flight = BTreeMap::new();
    for correlation_id in 1.. {
        let (request, values) = request(topic, partition_count, correlation_id, random);
        values.iter().for_each(|value| ledger.send(value.clone()));
        in_flight.insert(correlation_id, values);
        requests.send(request).await.expect("the stream is open");
        let answer = answers.message().await.expect("the stream goes on").expect("an answer");
        settle(&mut in_flight, ledger, answer);
        if ledger.acknowledged() >= target {
            return;
        }
    }
}

fn request(
    topic: &str,
    partition_count: u32,
    correlation_id: u64,
    random: &mut Random,
) -> (v1::ProduceRequest, Vec<Bytes>) {
    let values: Vec<_> = (0..=random.below(8))
        .map(|_| {
            let mut value = format!("{:016x}-", random.next()).into_bytes();
            value.resize(value.len() + usize::try_from(random.below(2_000)).expect("it is small"), b'x');
            Bytes::from(value)
        })
        .collect();
    let records = values.iter().map(|value| v1::Record { value: Some(value.clone()), ..Default::default() });
    let partition = u32::try_from(random.below(partition_count.into())).expect("it is small");
    let request = v1::ProduceRequest {
        correlation_id,
        topic: topic.to_owned(),
        partition: Some(partition),
        payload: Some(Payload::Records(v1::PlainRecords { records: records.collect() })),
        ..Default::default()
    };
    (request, values)
}

fn settle(in_flight: &mut BTreeMap<u64, Vec<Bytes>>, ledger: &mut Ledger, answer: v1::ProduceResponse) {
    let values = in_flight.remove(&answer.correlation_id).expect("one answer to each request");
    match answer.result.expect("an answer has a result") {
        produce_response::Result::Ok(ack) => {
            let [part] = ack.appended.as_slice() else { panic!("one partition: {ack:?}") };
            for (value, offset) in values.iter().zip(part.base_offset..) {
                ledger.settle(value, RecordOutcome::Acknowledged(part.partition, offset));
            }
        }
        produce_response::Result::Error(error) => {
            let state = match error.outcome() {
                v1::Outcome::NotWritten => RecordOutcome::NotWritten,
                v1::Outcome::Unknown | v1::Outcome::Unspecified => RecordOutcome::Unknown,
            };
            values.iter().for_each(|value| ledger.settle(value, state));
        }
    }
}

/// Everything in a topic, read with the plain form of `Fetch`.
pub async fn read_all(url: &str, topic: &str, partition_count: u32) -> Vec<(u32, u64, Bytes)> {
    let mut client =
        v1::fetch_client::FetchClient::new(connect(url).await).max_decoding_message_size(1 << 30);
    let mut all = Vec::new();
    for partition in 0..partition_count {
        let mut offset = 0;
        loop {
            let wanted =
                v1::FetchPartition { topic: topic.to_owned(), partition, offset, ..Default::default() };
            let request = v1::FetchRequest {
                partitions: vec![wanted],
                form: v1::RecordForm::Plain.into(),
                ..Default::default()
            };
            let answer = client.fetch(request).await.expect("fetch answers").into_inner();
            let fetched = answer.partitions.into_iter().next().expect("one partition");
            assert_eq!(fetched.error, None);
            let records = fetched.records.into_iter();
            all.extend(records.map(|r| (partition, r.offset, r.value.expect("values are not null"))));
            offset = fetched.next_offset;
            if offset >= fetched.high_watermark {
                break;
            }
        }
    }
    all
}
