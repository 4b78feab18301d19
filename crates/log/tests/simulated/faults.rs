//! Failing calls and full disks, inside what the log promises to bear: nothing acknowledged is lost, nothing that
//! was not appended is served, and a log that stopped is cut at what was synced.

use corduroy_log::disk::Kept;

use crate::ops::ops;
use crate::seeds::for_seeds;
use crate::world::World;

#[test]
fn failing_calls_lose_nothing_that_was_acknowledged() {
    for_seeds("faults::failing_calls", 600, &ops(true), |seed, (config, ops)| {
        let mut world = World::new(config);
        world.disk.failed_syncs_keep(if seed % 2 == 0 { Kept::Nothing } else { Kept::Subset { seed } });
        world.run(&ops);
    });
}
