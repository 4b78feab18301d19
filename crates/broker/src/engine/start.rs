//! Start: replay the metadata, register this broker, open every log it leads.

use std::{sync::Arc, time::Instant};

use corduroy_metadata::{NameCluster, RegisterBroker, RegistrationId};

use super::{
    Clock, Context, Engine, EngineOptions, Maintenance, MetadataPlane, OpenError, Replicas,
    maintenance::Expiry,
    metadata::{ImageListener, MetadataContext, OpenedMetadata},
    replica::{Opening, blocking},
    replicas::{LocalTopics, Recovered, Storage, note},
};
use crate::config::{Advertise, BrokerConfig};

impl Engine {
    /// Opens everything. Blocks on the disk only on threads of its own.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was served.
    pub(crate) async fn open(options: EngineOptions) -> Result<(Arc<Self>, Recovered), OpenError> {
        let began = Instant::now();
        let context = Context::new(&options);
        let storage = Storage::open(&context, options.clean).await?;
        let default_max_message_bytes = context.config.topic_defaults.config.max_message_bytes;
        let local = LocalTopics::new(default_max_message_bytes, Arc::clone(&context.metrics));
        let opened = MetadataPlane::open(MetadataContext {
            opening: storage.opening.clone(),
            commits: storage.commits.clone(),
            listener: Arc::clone(&local) as Arc<dyn ImageListener>,
        });
        let OpenedMetadata { plane: metadata, report } = opened.await?;
        let mut recovered = Recovered::default();
        note(&mut recovered, &context.metrics, metadata.replica(), &report);
        // Before it is registered again: when it was certainly alive.
        let alive_at = metadata.image().broker(context.config.node.id).map(|broker| broker.registered_at);
        let of = Arc::clone(&context);
        let (expiry, fault) =
            blocking(move || Expiry::begin(&*of.disk, &of.data_dir, alive_at, of.clock)).await;
        recovered.faults.extend(fault);
        register(&metadata, &context.config, options.cluster_id.to_string().into(), context.clock).await?;
        let opening = storage.opening.clone();
        let replicas = Replicas::new(Arc::clone(&context), Arc::clone(&metadata), local, storage);
        let partitions = metadata.image().partition_count();
        let opening = Opening { tail_bytes: replicas.tail_bytes(partitions + 1), ..opening };
        replicas.reconcile_all(opening, &mut recovered).await;
        recovered.took = began.elapsed();
        replicas.spawn_checkpoints().map_err(OpenError::Thread)?;
        context.check_space().await;
        replicas.spawn_tasks();
        let maintenance = Maintenance::new(Arc::clone(&context), Arc::clone(&replicas), expiry);
        maintenance.spawn_tasks();
        Ok((Arc::new(Self { context, metadata, replicas, maintenance }), recovered))
    }
}

async fn register(
    metadata: &MetadataPlane,
    config: &BrokerConfig,
    cluster_id: Arc<str>,
    clock: Clock,
) -> Result<(), OpenError> {
    let name = NameCluster { cluster_id, name: config.cluster.name.as_str().into() };
    metadata.propose(name).await.map_err(OpenError::Register)?;
    let registration = RegisterBroker {
        broker: config.node.id,
        registration: RegistrationId(uuid::Uuid::new_v4().into_bytes()),
        address: match &config.listen.advertise {
            Advertise::Auto => None,
            Advertise::Address(address) => Some(address.as_str().into()),
        },
        version: env!("CARGO_PKG_VERSION").into(),
        now: clock.now(),
    };
    metadata.propose(registration).await.map_err(OpenError::Register)?;
    Ok(())
}
