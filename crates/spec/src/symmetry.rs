//! States that differ only in the names of the replicas are one: no rule tells replicas apart.

use stateright::Representative;

use crate::{
    log::{Log, Record},
    state::{Epoch, Replica, State},
};

/// All that a state says of one replica, so that replicas can be put in an order that does not depend on their names.
type Column = (Replica, [(bool, u8, u8, u32); crate::EPOCHS_MAX]);

fn column(state: &State, replica: usize) -> Column {
    let own = state.replicas[replica];
    let voted_for_itself = usize::from(own.vote) == replica + 1;
    // A vote names a replica; all that is kept of it here is whether there is one, and for whom.
    let vote = if own.vote == 0 { 0 } else { 1 + u8::from(voted_for_itself) };
    let said = |epoch: &Epoch| {
        let votes = epoch.votes[replica].count_ones();
        (epoch.is_led_by(replica), epoch.reports[replica], epoch.acks[replica], votes)
    };
    // So does a change of the voters.
    let log = own.log.map(|record| match record.removes() {
        Some(voter) => Record::removal(record.epoch, u8::from(usize::from(voter) == replica)),
        None => record,
    });
    (Replica { vote, log, ..own }, std::array::from_fn(|epoch| said(&state.epochs[epoch])))
}

impl Representative for State {
    /// The same state with the replicas in order. Where two have the same column but are told apart by votes, two states may
    /// stay two that could be one: that costs time and hides nothing.
    fn representative(&self) -> Self {
        let mut order: [usize; crate::REPLICAS_MAX] = std::array::from_fn(|replica| replica);
        order.sort_by_cached_key(|replica| column(self, *replica));
        let mut name = [0; crate::REPLICAS_MAX];
        for (new, old) in order.iter().zip(0_u8..).map(|(old, new)| (new, *old)) {
            name[old] = new;
        }
        let renamed = |plus_one: u8| match plus_one.checked_sub(1) {
            Some(old) => name[usize::from(old)] + 1,
            None => 0,
        };
        let renamed_set = |set: u8| {
            let members = name.iter().zip(0_u8..).filter(|(_, old)| set & (1 << old) != 0);
            members.fold(0, |set, (new, _)| set | 1 << new)
        };
        let renamed_in = |log: Log| {
            log.map(|record| match record.removes() {
                Some(voter) => Record::removal(record.epoch, name[usize::from(voter)]),
                None => record,
            })
        };
        let epoch = |said: &Epoch| Epoch {
            log: renamed_in(said.log),
            leader: renamed(said.leader),
            reports: order.map(|old| said.reports[old]),
            votes: order.map(|old| renamed_set(said.votes[old])),
            acks: order.map(|old| said.acks[old]),
            ..*said
        };
        Self {
            replicas: order.map(|old| {
                let replica = self.replicas[old];
                Replica { vote: renamed(replica.vote), log: renamed_in(replica.log), ..replica }
            }),
            committed: renamed_in(self.committed),
            epochs: std::array::from_fn(|index| epoch(&self.epochs[index])),
            ..*self
        }
    }
}
