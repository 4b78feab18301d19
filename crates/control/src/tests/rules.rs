//! Each rule by hand.

use corduroy_types::{BrokerId, Incarnation, LeaderEpoch, MonotonicMs, Offset};

use crate::{
    Action, Ballot, Candidacy, ChangeRefused, DirectoryId, Event, Generator, LogPosition, Message, Start,
    StepDownReason, Timing, Vote, VoteInvariant, Voter, VoterChange, VoterId, VoterSets, Voters, VotersError,
};

fn id(n: u32) -> VoterId {
    VoterId { broker: BrokerId(n), directory: DirectoryId([1; 16]) }
}

fn epoch(n: u32) -> LeaderEpoch {
    LeaderEpoch::new(n).unwrap()
}

fn at(n: u64) -> Offset {
    Offset::new(n).unwrap()
}

fn set(ids: &[u32]) -> Voters {
    Voters::new(ids.iter().copied().map(id)).unwrap()
}

const fn log(last_epoch: Option<LeaderEpoch>, log_end: Offset) -> LogPosition {
    LogPosition { last_epoch, log_end }
}

fn ballot(number: u32, candidate: Option<(u32, u64)>) -> Ballot {
    let vote = candidate.map(|(n, run)| Vote { candidate: id(n), incarnation: Incarnation(run) });
    Ballot { promised: Some(epoch(number)), vote }
}

/// A voter with its log, to which things happen.
struct Bench {
    voter: Voter,
    now: u64,
    log: LogPosition,
}

impl Bench {
    /// Voter 1 in run 7, of voters 1 to 3, with a promise of epoch 4.
    fn new(voters: &[u32]) -> Self {
        let sets = VoterSets::of_snapshot(at(0), set(voters));
        let start = Start {
            own: id(1),
            incarnation: Incarnation(7),
            ballot: ballot(4, None),
            sets,
            timing: Timing::default(),
        };
        let voter = Voter::new(MonotonicMs(0), start, Generator::seeded(1));
        Self { voter, now: 0, log: log(Some(epoch(4)), at(10)) }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.voter.step(MonotonicMs(self.now), self.log, event, &mut out);
        out
    }

    fn tick(&mut self, ms: u64) -> Vec<Action> {
        self.now += ms;
        self.step(Event::Tick)
    }

    fn hear(&mut self, from: u32, message: Message) -> Vec<Action> {
        self.step(Event::Received { from: id(from), message })
    }

    fn asks(&mut self, from: u32, number: u32, end: u64) -> Vec<Action> {
        let position = log(Some(epoch(4)), at(end));
        let candidacy = Candidacy { epoch: epoch(number), incarnation: Incarnation(9), position };
        self.hear(from, Message::AskVote(candidacy))
    }

    /// Voter 1 wins epoch 5 with the vote of voter 2, and leads.
    fn lead(&mut self) {
        let asked = self.tick(600);
        assert!(matches!(
            asked[..],
            [Action::Send { message: Message::AskPreVote { attempt: 1, .. }, .. }, _]
        ));
        let yes = Message::PreVoteAnswer {
            attempt: 1,
            incarnation: Incarnation(7),
            is_yes: true,
            promised: Some(epoch(4)),
        };
        assert_eq!(self.hear(2, yes), [Action::Persist { ballot: ballot(5, Some((1, 7))) }]);
        assert_eq!(self.step(Event::Persisted { ballot: ballot(5, Some((1, 7))) }).len(), 2, "it asks both");
        let won = self.hear(2, vote_for(7, 5));
        assert!(matches!(won[..], [Action::BeginEpoch { incarnation: Incarnation(7), .. }]), "{won:?}");
        self.log.last_epoch = Some(epoch(5));
        assert_eq!(self.step(Event::Begun { epoch: epoch(5) }).len(), 2, "it says so to both");
        assert_eq!(self.voter.leads(), Some(epoch(5)));
    }

    fn answered(&mut self, from: u32, promised: u32) -> Vec<Action> {
        let (sent_at, position) = (MonotonicMs(self.now), self.log);
        let promised = Some(epoch(promised));
        self.hear(
            from,
            Message::HeartbeatAnswer {
                epoch: epoch(5),
                incarnation: Incarnation(7),
                sent_at,
                promised,
                position,
            },
        )
    }
}

fn vote_for(run: u64, number: u32) -> Message {
    Message::VoteAnswer {
        epoch: epoch(number),
        incarnation: Incarnation(run),
        is_yes: true,
        promised: Some(epoch(number)),
    }
}

fn heartbeat(number: u32, has_quorum: bool) -> Message {
    let (epoch, incarnation, sent_at) = (epoch(number), Incarnation(3), MonotonicMs(50));
    Message::Heartbeat { epoch, incarnation, sent_at, has_quorum }
}

fn answers(out: &[Action]) -> Vec<bool> {
    let yes = |action: &Action| match action {
        Action::Send {
            message: Message::VoteAnswer { is_yes, .. } | Message::PreVoteAnswer { is_yes, .. },
            ..
        } => Some(*is_yes),
        _ => None,
    };
    out.iter().filter_map(yes).collect()
}

#[test]
fn v1_a_voter_keeps_to_a_leader_that_has_a_quorum() {
    let asks = |bench: &mut Bench| {
        let position = bench.log;
        let candidacy = Candidacy { epoch: epoch(5), incarnation: Incarnation(9), position };
        answers(&bench.hear(3, Message::AskPreVote { attempt: 1, candidacy }))
    };
    let mut bench = Bench::new(&[1, 2, 3]);
    assert_eq!(asks(&mut bench), [true]);
    let followed = bench.hear(2, heartbeat(4, true));
    assert_eq!(followed[0], Action::Follow { epoch: epoch(4), leader: id(2) });
    assert_eq!(asks(&mut bench), [false]);
    bench.now = 299;
    assert_eq!(asks(&mut bench), [false]);
    bench.hear(2, heartbeat(4, false));
    bench.now = 300;
    assert_eq!(asks(&mut bench), [true], "a leader without a quorum does not count");
    bench.log.log_end = at(11);
    let position = log(Some(epoch(4)), at(10));
    let candidacy = Candidacy { epoch: epoch(5), incarnation: Incarnation(9), position };
    assert_eq!(
        answers(&bench.hear(3, Message::AskPreVote { attempt: 2, candidacy })),
        [false],
        "it is behind"
    );
    assert_eq!(bench.voter.ballot(), ballot(4, None), "a pre-vote changes nothing");
}

#[test]
fn v2_nothing_is_answered_before_the_ballot_is_durable() {
    let mut bench = Bench::new(&[1, 2, 3]);
    assert_eq!(bench.asks(2, 5, 10), [Action::Persist { ballot: ballot(5, Some((2, 9))) }]);
    assert_eq!(bench.asks(2, 5, 10), [], "it is asked again");
    assert_eq!(bench.asks(3, 5, 12), [], "another one is not answered either");
    assert_eq!(answers(&bench.step(Event::Persisted { ballot: ballot(5, Some((2, 9))) })), [true]);
    assert_eq!(answers(&bench.asks(2, 5, 10)), [true], "the same candidature again");
    assert_eq!(answers(&bench.asks(3, 5, 12)), [false], "one vote in an epoch");
    assert_eq!(answers(&bench.asks(3, 4, 12)), [false]);
    assert_eq!(bench.asks(3, 6, 9), [Action::Persist { ballot: ballot(6, None) }], "a log that is behind");
    assert_eq!(answers(&bench.step(Event::Persisted { ballot: ballot(6, None) })), [false]);
}

#[test]
fn v2_a_later_promise_overtakes_one_that_is_not_durable() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.asks(2, 5, 10);
    assert_eq!(bench.asks(3, 6, 10), [Action::Persist { ballot: ballot(6, Some((3, 9))) }]);
    assert_eq!(bench.step(Event::Persisted { ballot: ballot(5, Some((2, 9))) }), []);
    assert_eq!(answers(&bench.step(Event::Persisted { ballot: ballot(6, Some((3, 9))) })), [true]);
}

#[test]
fn v3_votes_for_an_earlier_run_are_nothing() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    bench.step(Event::LogFailed);
    assert_eq!(bench.voter.leads(), None);
    assert_eq!(bench.tick(2_000), [], "without a log it does not stand");
    bench.step(Event::Reopened { incarnation: Incarnation(8) });
    assert_eq!(bench.hear(3, vote_for(7, 5)), []);
    let out = bench.tick(600);
    let asked = out.iter().any(|action| {
        matches!(action, Action::Send { message: Message::AskPreVote { candidacy, .. }, .. } if candidacy.epoch == epoch(6))
    });
    assert!(asked, "it stands in a new epoch: {out:?}");
}

#[test]
fn a_promise_that_was_on_its_way_when_the_log_failed_is_made_again() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.asks(2, 5, 10);
    assert_eq!(bench.step(Event::LogFailed), []);
    assert_eq!(bench.asks(2, 5, 10), []);
    let again = bench.step(Event::Reopened { incarnation: Incarnation(8) });
    assert_eq!(again, [Action::Persist { ballot: ballot(5, Some((2, 9))) }]);
    assert_eq!(bench.asks(2, 5, 10), [], "not durable yet");
    assert_eq!(bench.step(Event::Persisted { ballot: ballot(5, Some((2, 9))) }), []);
    assert_eq!(answers(&bench.asks(2, 5, 10)), [true]);
}

#[test]
fn v4_a_leader_that_no_quorum_answers_steps_down_within_two_time_outs() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    for _ in 0..20 {
        bench.tick(75);
        bench.answered(3, 5);
    }
    assert_eq!(bench.voter.leads(), Some(epoch(5)), "one of two others is enough");
    let mut out = Vec::new();
    for _ in 0..8 {
        out.extend(bench.tick(75));
    }
    let weak = |action: &Action| {
        matches!(action, Action::Send { message: Message::Heartbeat { has_quorum: false, .. }, .. })
    };
    assert!(out.iter().any(weak), "before it goes, it says that it has no quorum");
    let stepped = Action::StepDown { epoch: epoch(5), reason: StepDownReason::NoQuorum };
    assert!(out.contains(&stepped), "{out:?}");
    assert_eq!(bench.voter.leads(), None);
}

#[test]
fn v5_a_leader_that_stops_asks_the_voter_that_is_furthest_along() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    bench.answered(2, 5);
    bench.log.log_end = at(20);
    bench.answered(3, 5);
    let asked = Action::Send { to: id(3), message: Message::StandNow { epoch: epoch(5) } };
    assert_eq!(bench.step(Event::Drain), [asked]);

    let mut other = Bench::new(&[1, 2, 3]);
    other.hear(2, heartbeat(4, true));
    assert_eq!(other.hear(3, Message::StandNow { epoch: epoch(4) }), [], "only its leader may ask");
    let stands = other.hear(2, Message::StandNow { epoch: epoch(4) });
    assert_eq!(stands, [Action::Persist { ballot: ballot(5, Some((1, 7))) }], "without a pre-vote");
}

#[test]
fn a_leader_takes_a_voter_in_that_has_promised_more() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    assert_eq!(bench.answered(4, 9), [], "one that does not vote is no reason");
    assert_eq!(bench.answered(2, 9), [Action::Persist { ballot: ballot(10, Some((1, 7))) }]);
    assert_eq!(bench.voter.leads(), None);
}

#[test]
fn v6_one_change_at_a_time_and_only_once_the_epoch_is_activated() {
    let mut bench = Bench::new(&[1, 2, 3]);
    let change = |bench: &mut Bench, change| bench.step(Event::ChangeVoters(change));
    let refused = |refused| [Action::RefuseChange(refused)];
    let remove = VoterChange::Remove(id(3));
    assert_eq!(change(&mut bench, remove), refused(ChangeRefused::NotLeading));
    bench.lead();
    assert_eq!(change(&mut bench, remove), refused(ChangeRefused::NotActivated));
    bench.step(Event::Activated { epoch: epoch(5) });
    let add = VoterChange::Add(id(4));
    assert_eq!(change(&mut bench, add), refused(ChangeRefused::NotFollowing { broker: BrokerId(4) }));
    bench.answered(4, 5);
    let append = Action::AppendVoters { epoch: epoch(5), voters: set(&[1, 2, 3, 4]) };
    assert_eq!(change(&mut bench, add), [append]);
    assert_eq!(change(&mut bench, remove), refused(ChangeRefused::ChangeOpen), "the record is not there yet");
    let appended = bench.step(Event::VotersAppended { offset: at(10), voters: set(&[1, 2, 3, 4]) });
    assert_eq!(appended, [Action::SetReplicas { epoch: epoch(5), voters: set(&[1, 2, 3, 4]) }]);
    assert_eq!(change(&mut bench, remove), refused(ChangeRefused::ChangeOpen), "it is not committed");
    bench.step(Event::Committed { high_watermark: at(11) });
    let append = Action::AppendVoters { epoch: epoch(5), voters: set(&[1, 2, 4]) };
    assert_eq!(change(&mut bench, remove), [append]);
}

#[test]
fn v6_a_leader_that_removes_itself_goes_once_that_is_committed() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    bench.step(Event::Activated { epoch: epoch(5) });
    bench.step(Event::ChangeVoters(VoterChange::Remove(id(1))));
    bench.step(Event::VotersAppended { offset: at(10), voters: set(&[2, 3]) });
    assert_eq!(bench.voter.leads(), Some(epoch(5)));
    let out = bench.step(Event::Committed { high_watermark: at(11) });
    assert_eq!(out, [Action::StepDown { epoch: epoch(5), reason: StepDownReason::Removed }]);
    assert_eq!(bench.tick(2_000), [], "it votes no more, so it does not stand");
}

#[test]
fn v6_what_is_cut_off_is_in_force_no_more_and_a_replay_changes_nothing() {
    let mut sets = VoterSets::of_snapshot(at(3), set(&[1, 2, 3]));
    sets.append(at(5), set(&[1, 2, 3, 4])).unwrap();
    sets.append(at(8), set(&[1, 2, 4])).unwrap();
    let before = sets.clone();
    sets.append(at(8), set(&[1, 2, 4])).unwrap();
    sets.append(at(2), set(&[9])).unwrap();
    assert_eq!(sets, before);
    assert_eq!(sets.append(at(6), set(&[1])), Err(VoteInvariant::VotersInOrder));
    assert_eq!(sets.append(at(9), set(&[1])), Err(VoteInvariant::OneChangeAtATime));
    sets.cut(at(8));
    assert_eq!(sets.in_force(), Some(&set(&[1, 2, 3, 4])));
    sets.commit(at(6));
    assert!(!sets.has_open_change());
    sets.cut(at(6));
    assert_eq!(sets.in_force(), Some(&set(&[1, 2, 3, 4])), "what is committed stays");
}

#[test]
fn v8_an_empty_directory_does_not_stand_and_a_first_start_leads_at_once() {
    let start = |sets| Start {
        own: id(1),
        incarnation: Incarnation(1),
        ballot: Ballot::default(),
        sets,
        timing: Timing::default(),
    };
    let mut bench = Bench::new(&[1]);
    (bench.log, bench.now) = (LogPosition::default(), 0);
    bench.voter = Voter::new(MonotonicMs(0), start(VoterSets::unknown()), Generator::seeded(1));
    assert_eq!(bench.tick(10_000), []);

    bench.now = 0;
    let founded = VoterSets::founded(Voters::of_one(id(1)));
    bench.voter = Voter::new(MonotonicMs(0), start(founded), Generator::seeded(1));
    assert_eq!(bench.tick(0), [Action::Persist { ballot: ballot(1, Some((1, 1))) }], "no one else votes");
    let won = bench.step(Event::Persisted { ballot: ballot(1, Some((1, 1))) });
    assert!(matches!(won[..], [Action::BeginEpoch { .. }]));
    bench.step(Event::Begun { epoch: epoch(1) });
    let recorded = bench.step(Event::Activated { epoch: epoch(1) });
    assert_eq!(recorded, [Action::AppendVoters { epoch: epoch(1), voters: set(&[1]) }]);
    assert_eq!(bench.tick(10_000), [], "a quorum of one needs no answer");
    assert_eq!(bench.voter.leads(), Some(epoch(1)));
}

#[test]
fn two_leaders_of_one_epoch_are_reported() {
    let mut bench = Bench::new(&[1, 2, 3]);
    bench.lead();
    let out = bench.hear(2, heartbeat(5, true));
    assert_eq!(out[0], Action::Contradiction(VoteInvariant::OneLeaderPerEpoch));
    assert_eq!(out[1], Action::StepDown { epoch: epoch(5), reason: StepDownReason::Contradiction });
}

#[test]
fn sets_name_each_broker_once_and_are_one_to_five() {
    let other = VoterId { broker: BrokerId(1), directory: DirectoryId([2; 16]) };
    assert_eq!(Voters::new([id(1), other]), Err(VotersError::BrokerTwice { broker: BrokerId(1) }));
    assert_eq!(Voters::new([]), Err(VotersError::Count { got: 0 }));
    assert_eq!(Voters::new((0..6).map(id)), Err(VotersError::Count { got: 6 }));
    let voters = set(&[1, 2]);
    let broker = BrokerId(1);
    assert_eq!(voters.after(VoterChange::Add(id(1))), Err(ChangeRefused::IsVoter { broker }));
    assert_eq!(voters.after(VoterChange::Add(other)), Err(ChangeRefused::OtherDirectory { broker }));
    assert_eq!(voters.after(VoterChange::Remove(other)), Err(ChangeRefused::NoVoter { broker }));
    let none = set(&[1]).after(VoterChange::Remove(id(1)));
    assert_eq!(none, Err(ChangeRefused::Set(VotersError::Count { got: 0 })));
}
