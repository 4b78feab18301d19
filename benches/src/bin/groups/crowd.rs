//! All members of all groups, on as many connections as they need.

use std::{future::Future, time::Duration};

use corduroy_api::{Refusal, v1, v1::groups_client::GroupsClient};
use corduroy_benches::{Brokerd, Failure};
use corduroy_types::ErrorCode;
use tokio::{task::JoinSet, time::Instant};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::member::{Member, TOPIC};

/// Members of each group.
pub(crate) const MEMBERS: usize = 10;
/// Partitions that the members of a group share.
pub(crate) const PARTITIONS: u32 = 100;
/// What each member has in the end.
pub(crate) const SHARE: usize = PARTITIONS as usize / MEMBERS;
/// Members on one connection, with up to two requests at a time each: within the broker's default limit.
const MEMBERS_PER_CONNECTION: usize = 50;

/// The members.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Member>,
    pub(crate) connections: usize,
}

impl Crowd {
    /// Joins them all, and waits until each has its share.
    pub(crate) async fn join(broker: &Brokerd, groups: usize) -> Result<Self, Failure> {
        let count = groups * MEMBERS;
        let mut clients = Vec::new();
        for _ in 0..count.div_ceil(MEMBERS_PER_CONNECTION) {
            clients.push(connect(broker).await?);
        }
        let connections = clients.len();
        let members = clients.iter().cycle().zip(0..count);
        let members = members
            .map(|(client, n)| Member::new(client.clone(), group_name(n / MEMBERS), n % MEMBERS))
            .collect();
        let mut crowd = Self { members, connections };
        crowd.each(|mut member| async move { member.join().await.map(|()| member) }).await?;
        crowd.each(|mut member| async move { member.settle(SHARE).await.map(|()| member) }).await?;
        Ok(crowd)
    }

    /// Goes on with a broker that was started again.
    pub(crate) async fn reconnect(&mut self, broker: &Brokerd) -> Result<(), Failure> {
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(connect(broker).await?);
        }
        let clients = clients.iter().cycle();
        self.members.iter_mut().zip(clients).for_each(|(member, client)| member.client = client.clone());
        Ok(())
    }

    /// Lets all do something at the same time.
    pub(crate) async fn each<F>(&mut self, act: impl Fn(Member) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<Member, Failure>> + Send + 'static,
    {
        self.members = all(self.members.drain(..).map(act)).await?;
        Ok(())
    }
}

pub(crate) fn group_name(index: usize) -> String {
    format!("group-{index:05}")
}

/// Runs everything at the same time, and returns all results, in no order.
pub(crate) async fn all<T, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = futures.into_iter().collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        results.push(result??);
    }
    Ok(results)
}

pub(crate) async fn connect(broker: &Brokerd) -> Result<GroupsClient<Channel>, Failure> {
    Ok(GroupsClient::new(Endpoint::from_shared(broker.url.clone())?.connect().await?))
}

pub(crate) async fn create_topic(broker: &Brokerd) -> Result<(), Failure> {
    let channel = Endpoint::from_shared(broker.url.clone())?.connect().await?;
    let topic = v1::NewTopic { name: TOPIC.to_owned(), partition_count: PARTITIONS, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], validate_only: false };
    let answer = v1::admin_client::AdminClient::new(channel).create_topics(request).await?.into_inner();
    match answer.topics.into_iter().find_map(|topic| topic.error) {
        None => Ok(()),
        Some(error) => Err(error.message.into()),
    }
}

/// Waits a moment where the broker is still loading what it needs for an answer; any other refusal is a failure.
pub(crate) async fn while_loading(refused: Status) -> Result<(), Failure> {
    if Refusal::from_status(&refused).code != ErrorCode::CoordinatorLoading {
        return Err(refused.into());
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}

/// Asks each group for a position until all of them have answered, which takes until they are loaded.
pub(crate) async fn all_answer(broker: &Brokerd, groups: usize) -> Result<Duration, Failure> {
    let began = Instant::now();
    let client = connect(broker).await?;
    let ask = |index: usize| {
        let (mut client, group) = (client.clone(), group_name(index));
        async move {
            let topics = vec![v1::TopicPartitions {
                topic: TOPIC.to_owned(),
                partitions: vec![0],
                ..Default::default()
            }];
            let request = v1::FetchOffsetsRequest { group, topics };
            while let Err(refused) = client.fetch_offsets(request.clone()).await {
                while_loading(refused).await?;
            }
            Ok::<_, Failure>(())
        }
    };
    // No more at a time than the broker takes on one connection.
    let mut next = 0..groups;
    loop {
        let some: Vec<_> = next.by_ref().take(100).map(ask).collect();
        if some.is_empty() {
            return Ok(began.elapsed());
        }
        all(some).await?;
    }
}
