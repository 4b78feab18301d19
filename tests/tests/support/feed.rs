//! A steady load: one record for each partition, again and again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use corduroy_client::{Client, Record};
use tokio::task::JoinHandle;

/// A producer that goes on, whatever happens to the broker, until it is stopped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    feeding: JoinHandle<Vec<u64>>,
}

impl Feed {
    pub fn start(url: &str, topic: &'static str, partitions: u32) -> Self {
        let client = Client::builder(url).connect_lazy().expect("a client");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let feeding = tokio::spawn(async move {
            let producer = client.producer().build().await.expect("a producer needs no broker");
            let mut ends = vec![0; usize::try_from(partitions).expect("it is small")];
            while !stopped.load(Ordering::Relaxed) {
                let mut round = Vec::new();
                for partition in 0..partitions {
                    let record = Record::to(topic).partition(partition).value("fed");
                    round.push(producer.enqueue(record).await.expect("the record is accepted"));
                }
                for (delivery, end) in round.into_iter().zip(&mut ends) {
                    *end = delivery.await.expect("the record is acknowledged").offset.get() + 1;
                }
            }
            ends
        });
        Self { stop, feeding }
    }

    /// Stops, and returns where each partition ends.
    pub async fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.feeding.await.expect("feeding went well")
    }
}
