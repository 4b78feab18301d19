//! How a run of the model ends.

use corduroy_checker::line::{Call, End, Spec};
use corduroy_types::Acks;

use super::{
    ADMIN, Model,
    part::{at, epoch, sent},
};

impl Model {
    /// Ends everything that is open, heals, serves, and reads each partition from its start to its end.
    pub(super) fn finish(&mut self) {
        self.late.clear();
        self.now_ns += 1;
        for flying in std::mem::take(&mut self.flying) {
            self.ended(flying.op, End::Unknown);
        }
        if let Some(op) = self.nemesis.take() {
            self.ops[op].completed_ns = self.now_ns;
        }
        self.push(ADMIN + 1, None, Call::Heal, End::Done);
        for partition in 0..u32::try_from(self.parts.len()).unwrap() {
            self.now_ns += 100;
            let records = [sent(self.next_value)].into();
            self.next_value += 1;
            let call = Call::Produce { acks: Acks::Quorum, producer: None, records };
            let op = self.push(ADMIN + 2, Some(partition), call, End::Unknown);
            let (base, _, number) = self.append(op).unwrap();
            let part = &mut self.parts[partition as usize];
            part.mark = part.end;
            self.ops[op].end = End::Produced { base_offset: at(base), leader_epoch: epoch(number) };
            self.final_reads(partition);
        }
    }

    fn final_reads(&mut self, partition: u32) {
        let part = &self.parts[partition as usize];
        let (start, mark, leader_epoch) = (part.start, part.mark, epoch(part.epoch));
        for node in 1..=2 {
            let (log_end, durable_end, high_watermark) = (at(mark), at(mark), at(mark));
            let end = End::Probed { leader_epoch, log_end, durable_end, high_watermark, chain_hash: 7 };
            let op = self.push(ADMIN + 3, Some(partition), Call::Probe, end);
            self.ops[op].node = Some(node);
        }
        for (spec, offset) in [(Spec::Start, start), (Spec::End, mark)] {
            self.now_ns += 1;
            let end = End::Listed { offset: at(offset), leader_epoch };
            self.push(ADMIN + 3, Some(partition), Call::ListOffsets { spec, is_final: true }, end);
        }
        let mut from = start;
        while from < mark {
            self.now_ns += 1;
            let end = self.parts[partition as usize].fetched(from, 20);
            let End::Fetched { records, .. } = &end else { return };
            let Some(last) = records.last() else { return };
            let next = last.offset.get() + 1;
            let call = Call::Fetch { from: at(from), from_epoch: None, follower: false, is_final: true };
            self.push(ADMIN + 3, Some(partition), call, end);
            from = next;
        }
    }
}
