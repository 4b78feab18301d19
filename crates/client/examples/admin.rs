//! Makes a topic, looks at it, changes it, and looks after a group:
//! `cargo run -p corduroy-client --example admin [URL]`.

use corduroy_client::{Client, NewTopic, OffsetSpec, PartitionIndex};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:9480".to_owned());
    let client = Client::builder(url).client_id("admin-example").connect().await?;
    make_topics(&client).await?;
    describe(&client).await
}

/// Makes the topics that the other examples use.
pub(crate) async fn make_topics(client: &Client) -> Result<(), Error> {
    let admin = client.admin();
    let orders = NewTopic::named("orders").partitions(3).config("retention.ms", "7d");
    // The same program can run again: a topic that is there is left as it is.
    let created = admin.create_topic(orders).if_not_exists().await?;
    println!("{created:?}");
    admin.create_topic(NewTopic::named("orders.dead").partitions(1)).if_not_exists().await?;
    admin.alter_topic_configs("orders.dead").set("retention.ms", "30d").await?;
    Ok(())
}

/// Prints what there is.
pub(crate) async fn describe(client: &Client) -> Result<(), Error> {
    let admin = client.admin();
    let cluster = admin.describe_cluster().await?;
    println!("{:?}, with {} findings", cluster.health, cluster.findings.len());
    for topic in admin.list_topics().await? {
        println!(
            "{} has {} partitions and {} records",
            topic.name, topic.partition_count, topic.record_count
        );
    }
    for end in admin.list_offsets([("orders", PartitionIndex(0), OffsetSpec::End)]).await? {
        println!("the next record of orders/0 gets offset {}", end?.offset);
    }
    for group in admin.list_groups().await? {
        println!("group {} is {:?} and {} records behind", group.name, group.state, group.lag_records);
    }
    Ok(())
}
