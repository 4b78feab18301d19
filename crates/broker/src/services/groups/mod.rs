//! The `Groups` service: members, committed offsets, and groups as operators see them.

mod describe;
mod members;
mod offsets;
mod subscribe;
mod wire;

use std::{future::Future, sync::Arc};

use corduroy_api::{Refusal, v1};
use corduroy_group::{GroupError, GroupName};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, audit::Who};
use crate::{
    limits::{AnswerPermits, Connection, Permitted},
    metrics::Api,
};

/// Serves `corduroy.v1.Groups`.
pub(crate) struct GroupsService {
    shared: Arc<Shared>,
}

impl GroupsService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts, times and answers one request.
    async fn answer<T>(
        &self,
        api: Api,
        work: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<Response<T>, Status> {
        let begun = self.shared.metrics.requests.api(api).begin();
        let answer = work.await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }
}

fn group_not_found(group: &GroupName) -> Refusal {
    let error = GroupError::GroupNotFound { group: group.clone() };
    Refusal::new(error.code(), error.to_string())
}

#[tonic::async_trait]
impl v1::groups_server::Groups for GroupsService {
    type SubscribeStream = Permitted<subscribe::SubscribeAnswer>;

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let from = Connection::of(&request).map(|caller| caller.peer().to_string()).unwrap_or_default();
        self.answer(Api::Heartbeat, members::heartbeat(&self.shared, request.into_inner(), &from)).await
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        // A member's own commits are its daily work; others set where a group goes on.
        let by_hand = (request.member.is_none() && !request.validate_only).then(|| request.group.clone());
        let committed = self.answer(Api::CommitOffsets, offsets::commit(&self.shared, request)).await?;
        if let Some(group) = by_hand {
            let results = committed.get_ref().offsets.iter();
            let set = results.filter(|result| result.error.is_none()).count();
            who.changed("set offsets", &group, format!("{set} partitions"));
        }
        Ok(committed)
    }

    async fn fetch_offsets(
        &self,
        request: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        self.answer(Api::FetchOffsets, offsets::fetch(&self.shared, request.into_inner())).await
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let caller = Connection::of(&request);
        let (answers, stream) = mpsc::channel(subscribe::READ_AHEAD);
        tokio::spawn(subscribe::serve(Arc::clone(&self.shared), caller, request.into_inner(), answers));
        let permits = AnswerPermits::default();
        let mut answer = Response::new(Permitted::new(stream, permits.clone()));
        answer.extensions_mut().insert(permits);
        Ok(answer)
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.answer(Api::ListGroups, describe::list(&self.shared, request.into_inner())).await
    }

    async fn describe_groups(
        &self,
        request: Request<v1::DescribeGroupsRequest>,
    ) -> Result<Response<v1::DescribeGroupsResponse>, Status> {
        self.answer(Api::DescribeGroups, describe::describe(&self.shared, request.into_inner())).await
    }

    async fn delete_groups(
        &self,
        request: Request<v1::DeleteGroupsRequest>,
    ) -> Result<Response<v1::DeleteGroupsResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        let validate_only = request.validate_only;
        let deleted = self.answer(Api::DeleteGroups, describe::delete(&self.shared, request)).await?;
        let groups = deleted.get_ref().groups.iter();
        for group in groups.filter(|group| !validate_only && group.error.is_none()) {
            who.changed("delete group", &group.group, format!("{} offsets", group.offset_count));
        }
        Ok(deleted)
    }

    async fn forget_offsets(
        &self,
        request: Request<v1::ForgetOffsetsRequest>,
    ) -> Result<Response<v1::ForgetOffsetsResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        let (group, validate_only) = (request.group.clone(), request.validate_only);
        let forgotten = self.answer(Api::ForgetOffsets, offsets::forget(&self.shared, request)).await?;
        if !validate_only {
            who.changed("forget offsets", &group, format!("{} offsets", forgotten.get_ref().offset_count));
        }
        Ok(forgotten)
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        let (group, validate_only) = (request.group.clone(), request.validate_only);
        let removed = self.answer(Api::RemoveMember, members::remove(&self.shared, request)).await?;
        if !validate_only {
            who.changed("remove member", &group, format!("member {}", removed.get_ref().member));
        }
        Ok(removed)
    }
}
