//! A client's producer under trouble, and a comparison that forgives nothing: every record once, in its order.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use corduroy_client::{Client, Delivery, Record, RecordMeta};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::{Random, stub};

/// What was sent, and how the producer ended it.
type Sent = (u32, Bytes, RecordMeta);

/// Sends without a pause until it is stopped; every record has to be acknowledged.
pub struct Load {
    acknowledged: Arc<AtomicUsize>,
    progress: Arc<Notify>,
    stop: Arc<AtomicBool>,
    sending: JoinHandle<()>,
    collecting: JoinHandle<Vec<Sent>>,
}

impl Load {
    /// Sends numbered records to random partitions through `url`.
    pub async fn start(url: &str, topic: &'static str, partitions: u32, seed: u64) -> Self {
        let client = Client::builder(url).connect_lazy().expect("a client");
        let producer = client
            .producer()
            .batch_bytes(1024)
            .buffer_bytes(1 << 20)
            .build()
            .await
            .expect("a producer needs no broker");
        let (acknowledged, progress) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (delivery_tx, mut deliveries) = mpsc::channel::<(u32, Bytes, Delivery)>(256);
        let sending = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let mut random = Random(seed);
                for n in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let partition = u32::try_from(random.below(partitions.into())).expect("it is small");
                    let padding = "x".repeat(usize::try_from(random.below(300)).expect("it is small"));
                    let value = Bytes::from(format!("{n}-{padding}"));
                    let record = Record::to(topic).partition(partition).value(value.clone());
                    let delivery = producer.enqueue(record).await.expect("the record is accepted");
                    delivery_tx.send((partition, value, delivery)).await.expect("someone waits for it");
                }
                producer.flush().await.expect("nothing failed");
            }
        });
        let collecting = tokio::spawn({
            let (acknowledged, progress) = (Arc::clone(&acknowledged), Arc::clone(&progress));
            async move {
                let mut all = Vec::new();
                while let Some((partition, value, delivery)) = deliveries.recv().await {
                    let meta = delivery.await.unwrap_or_else(|error| panic!("seed {seed:#x}: {error}"));
                    all.push((partition, value, meta));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    progress.notify_one();
                }
                all
            }
        });
        Self { acknowledged, progress, stop, sending, collecting }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more are acknowledged.
    pub async fn acknowledges(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        while self.acknowledged() < wanted {
            assert!(!self.collecting.is_finished(), "the load has ended");
            self.progress.notified().await;
        }
    }

    /// Ends it, and holds the log against it: every record is there once, in the order in which it was accepted, at the
    /// offset that was acknowledged. Returns how many were acknowledged as duplicates.
    pub async fn check(self, url: &str, topic: &str, partitions: u32, context: &str) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.await.expect("sending went well");
        let results = self.collecting.await.expect("every record was acknowledged");
        let log = stub::read_all(url, topic, partitions).await;
        for partition in 0..partitions {
            let of_partition = |of: u32| of == partition;
            let sent: Vec<_> = results
                .iter()
                .filter(|result| of_partition(result.0))
                .map(|(_, value, meta)| (meta.offset.get(), value))
                .collect();
            let stored: Vec<_> = log
                .iter()
                .filter(|stored| of_partition(stored.0))
                .map(|(_, offset, value)| (*offset, value))
                .collect();
            let differs = sent.iter().zip(&stored).position(|(sent, stored)| sent != stored);
            if let Some(at) = differs {
                let short = |(offset, value): &(u64, &Bytes)| {
                    let number = value.split(|byte| *byte == b'-').next().unwrap_or_default();
                    format!("{}@{offset}", String::from_utf8_lossy(number))
                };
                panic!(
                    "{context}, partition {partition}: sent {}, stored {}",
                    short(&sent[at]),
                    short(&stored[at])
                );
            }
            assert_eq!(
                sent.len(),
                stored.len(),
                "{context}, partition {partition}: something is missing or too much"
            );
        }
        results.iter().filter(|(_, _, meta)| meta.duplicate).count()
    }
}
