use super::*;
use crate::journal::Promise;

pub(in crate::replication) fn member(name: &str) -> IsrMember {
    IsrMember { name: name.to_owned(), incarnation: format!("{name}-1") }
}

pub(in crate::replication) fn state(version: u64, isr: &[&str], min_isr: u32) -> ClusterState {
    ClusterState {
        epoch: 1,
        isr_version: version,
        master: "m".to_owned(),
        isr: isr.iter().map(|name| member(name)).collect(),
        min_isr,
        ..ClusterState::default()
    }
}

pub(in crate::replication) struct Fixture {
    pub(in crate::replication) tracker: Tracker,
    pub(in crate::replication) journal: Journal,
    pub(in crate::replication) gate: Gate,
}

impl Fixture {
    pub(in crate::replication) fn new(isr: &[&str], min_isr: u32) -> Self {
        Self::counting(Counted::Received, isr, min_isr)
    }

    pub(in crate::replication) fn counting(counted: Counted, isr: &[&str], min_isr: u32) -> Self {
        let fixture = Self { tracker: Tracker::default(), journal: Journal::new(), gate: Gate::default() };
        if counted == Counted::Durable {
            fixture.journal.start_disk(Promise::Durable, Offset::ZERO, Offset::ZERO, Vec::new());
        }
        let term = Term::new(member("m"), &state(1, isr, min_isr), counted, Offset::ZERO, BootNanos(0));
        fixture.tracker.begin(term, &fixture.journal, &fixture.gate);
        fixture
    }

    pub(in crate::replication) fn join(&self, name: &str) -> StreamId {
        self.join_with(name, Disk::Synced)
    }

    fn join_with(&self, name: &str, disk: Disk) -> StreamId {
        let member = Member { name: name.to_owned(), ..Member::default() };
        self.tracker.join(Epoch(1), member, format!("{name}-1"), disk, BootNanos(0)).unwrap()
    }

    pub(in crate::replication) fn append(&self, count: usize) {
        for _ in 0..count {
            self.journal.append(b"x");
            self.tracker.appended(&self.journal, &self.gate);
        }
    }

    pub(in crate::replication) fn acknowledge(&self, stream: StreamId, offset: u64) -> u64 {
        self.acknowledge_at(stream, offset, BootNanos(0))
    }

    pub(in crate::replication) fn acknowledge_at(&self, stream: StreamId, offset: u64, now: BootNanos) -> u64 {
        let held = Held { received: Offset(offset), ..Held::default() };
        self.tracker.acknowledge(stream, held, now, &self.journal, &self.gate);
        self.gate.commit().0
    }

    fn hold(&self, stream: StreamId, received: u64, durable: u64) -> u64 {
        let held = Held { received: Offset(received), durable: Offset(durable), ..Held::default() };
        self.tracker.acknowledge(stream, held, BootNanos(0), &self.journal, &self.gate);
        self.gate.commit().0
    }

    /// Everything that was appended reaches the disk.
    fn sync(&self) -> u64 {
        let turn = self.journal.take_turn().unwrap();
        self.journal.wrote(&turn);
        self.journal.synced(turn.reached());
        self.tracker.with_term(&self.journal, &self.gate, |_| ());
        self.gate.commit().0
    }

    pub(in crate::replication) fn update(&self, state: &ClusterState) -> u64 {
        self.tracker.update(state, &self.journal, &self.gate);
        self.gate.commit().0
    }
}

#[test]
fn commit_is_what_the_slowest_member_holds() {
    let fixture = Fixture::new(&["m", "a", "b"], 2);
    let (a, b) = (fixture.join("a"), fixture.join("b"));
    fixture.append(5);
    assert_eq!(fixture.acknowledge(a, 5), 0, "b holds nothing");
    assert_eq!(fixture.acknowledge(b, 3), 3);
    assert_eq!(fixture.acknowledge(b, 5), 5);
    assert_eq!(fixture.acknowledge(b, 9), 5, "never beyond the own end");
}

#[test]
fn a_copy_outside_the_isr_does_not_count() {
    let fixture = Fixture::new(&["m", "a"], 2);
    let (a, _outside) = (fixture.join("a"), fixture.join("b"));
    fixture.append(2);
    assert_eq!(fixture.acknowledge(a, 2), 2);
}

#[test]
fn another_incarnation_is_another_copy() {
    let fixture = Fixture::new(&["m", "a"], 2);
    let member = Member { name: "a".to_owned(), ..Member::default() };
    let stream = fixture.tracker.join(Epoch(1), member, "a-2".to_owned(), Disk::Synced, BootNanos(0)).unwrap();
    fixture.append(2);
    assert_eq!(fixture.acknowledge(stream, 2), 0);
}

#[test]
fn too_small_an_isr_commits_nothing_new() {
    let fixture = Fixture::new(&["m", "a"], 2);
    let a = fixture.join("a");
    fixture.append(2);
    fixture.acknowledge(a, 1);
    assert_eq!(fixture.update(&state(2, &["m"], 2)), 1);
    assert_eq!(fixture.update(&state(3, &["m", "a"], 2)), 1);
    assert_eq!(fixture.acknowledge(a, 2), 2);
}

#[test]
fn what_was_there_when_the_mastership_began_needs_no_min_isr() {
    let (tracker, journal, gate) = (Tracker::default(), Journal::new(), Gate::default());
    journal.append(b"x");
    tracker.begin(
        Term::new(member("m"), &state(1, &["m"], 2), Counted::Received, Offset(1), BootNanos(0)),
        &journal,
        &gate,
    );
    assert_eq!(gate.commit(), Offset(1));
    journal.append(b"y");
    tracker.appended(&journal, &gate);
    assert_eq!(gate.commit(), Offset(1));
}

#[test]
fn alone_an_append_is_a_commit() {
    let fixture = Fixture::new(&["m"], 1);
    fixture.append(3);
    assert_eq!(fixture.gate.commit(), Offset(3));
}

#[test]
fn nothing_is_committed_after_the_mastership() {
    let fixture = Fixture::new(&["m", "a"], 2);
    let a = fixture.join("a");
    fixture.append(2);
    fixture.tracker.end();
    assert_eq!(fixture.acknowledge(a, 2), 0);
}

#[test]
fn a_member_is_thrown_away_only_once_it_has_left() {
    let fixture = Fixture::new(&["m", "a"], 1);
    let a = fixture.join("a");
    assert_eq!(fixture.tracker.leave_isr(a), Leaving::StillCounted);
    fixture.update(&state(2, &["m"], 1));
    assert_eq!(fixture.tracker.leave_isr(a), Leaving::Left);
    fixture.append(1);
    assert_eq!(fixture.gate.commit(), Offset(1));
}

#[test]
fn with_fsync_always_every_copy_counts_with_what_is_durable() {
    let fixture = Fixture::counting(Counted::Durable, &["m", "a", "b"], 2);
    let (a, b) = (fixture.join("a"), fixture.join("b"));
    fixture.append(8);
    fixture.hold(a, 8, 7);
    assert_eq!(fixture.hold(b, 8, 8), 0, "nothing is durable here");
    assert_eq!(fixture.sync(), 7);
    fixture.append(1);
    fixture.hold(b, 9, 9);
    assert_eq!(fixture.hold(a, 9, 9), 8, "9 is not durable here");
    assert_eq!(fixture.sync(), 9);
}

#[test]
fn a_copy_that_promised_less_counts_with_what_it_has_received() {
    let fixture = Fixture::counting(Counted::Durable, &["m", "a", "b", "c"], 2);
    let a = fixture.join("a");
    let (b, c) = (fixture.join_with("b", Disk::Absent), fixture.join_with("c", Disk::Buffered));
    fixture.append(5);
    fixture.sync();
    fixture.hold(a, 5, 4);
    fixture.hold(c, 5, 1);
    assert_eq!(fixture.hold(b, 3, 0), 3);
    assert_eq!(fixture.hold(b, 5, 0), 4);
    assert_eq!(fixture.tracker.holders(Offset(4)), Holders { received: 3, durable: 1 });
    assert_eq!(fixture.tracker.holders(Offset(1)), Holders { received: 3, durable: 2 });
}

#[test]
fn alone_with_fsync_always_an_append_is_no_commit() {
    let fixture = Fixture::counting(Counted::Durable, &["m"], 1);
    fixture.append(3);
    assert_eq!(fixture.gate.commit(), Offset(0));
    assert_eq!(fixture.sync(), 3);
}

#[test]
fn a_copy_that_syncs_anew_is_no_holder() {
    let fixture = Fixture::new(&["m"], 1);
    let (a, b) = (fixture.join("a"), fixture.join("b"));
    fixture.append(2);
    fixture.hold(a, 2, 2);
    fixture.hold(b, 2, 1);
    assert_eq!(fixture.tracker.holders(Offset(2)), Holders { received: 2, durable: 1 });
    fixture.tracker.leave_isr(a);
    fixture.tracker.leave(b, BootNanos(1));
    assert_eq!(fixture.tracker.holders(Offset(0)), Holders::default());
}
