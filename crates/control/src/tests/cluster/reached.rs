//! Situations that random runs have to reach: a run in which little happens proves nothing.

macro_rules! reached {
    ($($name:ident),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct Reached {
            $(pub(super) $name: usize,)+
        }

        impl Reached {
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// The names of those that were not reached.
            pub(super) fn missing(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name)),+].into_iter().filter(|one| one.1 == 0).map(|one| one.0).collect()
            }
        }
    };
}

reached! {
    stood,
    won,
    led,
    voted_no,
    pre_vote_refused,
    weak_heartbeats,
    lost_quorum,
    leader_is_behind,
    overtaken_before_its_entry,
    promised_for_the_stream,
    crashed_while_persisting,
    votes_for_an_earlier_run,
    voters_changed,
    voters_cut,
    leader_removed,
    change_before_activation,
    change_while_open,
    cut,
    repeated,
    asked_to_stand,
    came_back,
    healed_after_all_crashed,
}
