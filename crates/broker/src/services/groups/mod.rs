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

use super::Shared;
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
    type SubscribeStream = Permitted<subscribe::Answer>;

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
        self.answer(Api::CommitOffsets, offsets::commit(&self.shared, request.into_inner())).await
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
        self.answer(Api::DeleteGroups, describe::delete(&self.shared, request.into_inner())).await
    }

    async fn forget_offsets(
        &self,
        request: Request<v1::ForgetOffsetsRequest>,
    ) -> Result<Response<v1::ForgetOffsetsResponse>, Status> {
        self.answer(Api::ForgetOffsets, offsets::forget(&self.shared, request.into_inner())).await
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        self.answer(Api::RemoveMember, members::remove(&self.shared, request.into_inner())).await
    }
}
