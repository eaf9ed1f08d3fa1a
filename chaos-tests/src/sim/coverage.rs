//! What happened in a run, so that a simulation in which nothing happens is found out.

macro_rules! counters {
    ($($counter:ident: $name:literal,)*) => {
        /// Counts of one run, or the sum of many.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Coverage {
            $(pub $counter: u64,)*
        }

        impl Coverage {
            /// Name and count of each.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$counter),)*]
            }

            pub fn add(&mut self, other: &Self) {
                $(self.$counter += other.$counter;)*
            }
        }
    };
}

counters! {
    steps: "steps",
    mixed_disks: "runs in which nodes keep their data differently",
    elections: "elections",
    masterships: "masterships",
    failovers: "failovers",
    hand_overs: "hand-overs",
    deposed: "masters that stepped down",
    recoveries: "recoveries",
    raised_epochs: "raised epochs",
    isr_changes: "ISR changes",
    truncations: "truncations",
    partial_syncs: "partial syncs",
    full_syncs: "full syncs",
    resumed_syncs: "resumed full syncs",
    crashes: "crashes",
    power_cuts: "power cuts",
    records_lost_unsynced: "records lost unsynced",
    wiped_disks: "wiped disks",
    pauses: "pauses",
    partitions: "partitions",
    broken_streams: "broken streams",
    acknowledged_writes: "acknowledged writes",
    unknown_writes: "unknown writes",
    master_reads: "master reads",
    voided_writes: "voided writes",
}
