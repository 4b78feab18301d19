//! What must hold of a voter at every moment. Where it does not, a mistake was made before: the voter steps down, and the shell
//! reports it.

/// A rule that was found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteInvariant {
    /// Another broker says that it leads in an epoch that this voter has won.
    #[error("one epoch has one leader")]
    OneLeaderPerEpoch,
    /// A promise would go back, or a vote be given in an epoch that is promised already (rule V2).
    #[error("a promise only grows, and a vote is given together with it")]
    PromiseGrows,
    /// A set of voters follows one from which it differs by more than one voter (rule V6).
    #[error("voters change one at a time")]
    OneChangeAtATime,
    /// A record of voters lies where another one was and was not cut off (rule V6).
    #[error("a record of voters is appended behind those before it")]
    VotersInOrder,
}
