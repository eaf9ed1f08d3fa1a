use std::sync::Arc;

use super::*;
use crate::effect::{self, KeyChange};
use crate::ids::Epoch;
use crate::wire;

struct Fixture {
    engine: Arc<Engine>,
    applier: Arc<Applier>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fixture {
    fn new() -> Self {
        let (engine, applier) = (Arc::new(Engine::default()), Arc::new(Applier::new()));
        let (state, worker) = (Arc::clone(&engine), Arc::clone(&applier));
        let thread = Some(std::thread::spawn(move || worker.run(&state)));
        Self { engine, applier, thread }
    }

    fn shard_of(&self, key: &str) -> Partition {
        Partition::shard(self.engine.keyspace.shard_of(key.as_bytes()))
    }

    /// One record an offset, each of which appends one byte to a key: so a record that is lost or applied twice
    /// shows.
    fn push(&self, first: u64, appends: &[(&str, &str)]) {
        let mut records = Vec::new();
        for (key, text) in appends {
            let change = KeyChange::Append { bytes: text.as_bytes() };
            let mut record = Vec::new();
            effect::encode_key_change(self.shard_of(key), 0, key.as_bytes(), &change, &mut record);
            wire::put_bytes(&mut records, &record);
        }
        let last = Offset(first + appends.len() as u64 - 1);
        self.applier.push(Block::new(Epoch(1), Offset(first), last, records.into()));
    }

    /// The image that a master has of the partition of `key` when it holds `text`.
    fn push_image(&self, key: &str, text: &str, cut: u64) {
        let master = Engine::default();
        let shard = self.shard_of(key);
        if !text.is_empty() {
            let change = KeyChange::Append { bytes: text.as_bytes() };
            let mut guard = master.keyspace.lock(master.keyspace.shard_of(key.as_bytes()));
            guard.apply_key(0, key.as_bytes(), &change).unwrap();
        }
        for chunk in image::chunks(&master, shard) {
            self.applier.push_image(Chunk { cut: Offset(cut), ..chunk.into() });
        }
    }

    async fn applied(&self, offset: u64) {
        loop {
            let progress = self.applier.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let queue_is_at = self.applier.queue.lock().applied;
            if queue_is_at >= Offset(offset) {
                return assert_eq!(queue_is_at, Offset(offset));
            }
            tokio::time::timeout(std::time::Duration::from_secs(10), progress).await.expect("it does not get on");
        }
    }

    fn get(&self, key: &str) -> String {
        let shard = self.engine.keyspace.lock(self.engine.keyspace.shard_of(key.as_bytes()));
        let mut scratch = itoa::Buffer::new();
        let entry = shard.database(0).find(key.as_bytes());
        let text = entry.and_then(|entry| entry.value().as_bytes(&mut scratch));
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.applier.close();
        _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test]
async fn what_is_committed_is_applied_and_nothing_more() {
    let fixture = Fixture::new();
    fixture.applier.resume(Offset(0));
    fixture.push(1, &[("k", "a"), ("k", "b"), ("k", "c")]);
    fixture.applier.commit(Offset(2));
    fixture.applied(2).await;
    assert_eq!(fixture.get("k"), "ab");
    fixture.push(4, &[("k", "d")]);
    fixture.applier.commit(Offset(4));
    fixture.applied(4).await;
    assert_eq!(fixture.get("k"), "abcd");
    assert_eq!(fixture.applier.queue.lock().backlog, 0);
}

#[tokio::test]
async fn a_tail_that_is_cut_off_is_never_applied() {
    let fixture = Fixture::new();
    fixture.applier.resume(Offset(0));
    fixture.push(1, &[("k", "a"), ("k", "b"), ("k", "c")]);
    fixture.push(4, &[("k", "d")]);
    fixture.applier.commit(Offset(1));
    fixture.applied(1).await;
    fixture.applier.resume(Offset(2));
    fixture.push(3, &[("k", "X"), ("k", "Y")]);
    fixture.applier.commit(Offset(4));
    fixture.applied(4).await;
    assert_eq!(fixture.get("k"), "abXY");
    assert_eq!(fixture.applier.queue.lock().backlog, 0);
}

#[test]
fn what_a_former_master_has_applied_is_read_once_it_is_committed() {
    let applier = Applier::new();
    applier.was_master(Offset(20), Offset(15));
    applier.resume(Offset(20));
    assert!(!applier.is_readable(), "the next master may go before it has committed 16 to 20");
    applier.commit(Offset(20));
    assert!(applier.is_readable());
}

#[tokio::test]
async fn images_and_blocks_in_any_mixture_make_each_record_count_once() {
    let fixture = Fixture::new();
    fixture.applier.begin_sync(Epoch(1), Offset(10));
    assert_eq!(fixture.applier.condition(), Condition::Syncing);
    // Record 11 is in the image of k, record 12 lies behind the cut of the image of other.
    fixture.push(11, &[("k", "a"), ("other", "1")]);
    fixture.push_image("k", "..a", 12);
    fixture.push(13, &[("k", "b"), ("other", "2")]);
    fixture.push_image("other", "..12", 14);
    fixture.applier.end_sync(Offset(15));
    // A partition without an image was made after the last one was taken.
    fixture.push(15, &[("late", "L"), ("k", "c"), ("other", "3")]);
    fixture.applied(15).await;
    assert!(!fixture.applier.is_readable(), "15 is not committed");
    assert_eq!((fixture.get("k"), fixture.get("other")), ("..ab".into(), "..12".into()), "16 is not committed");
    fixture.applier.complete_sync();
    fixture.applier.commit(Offset(17));
    fixture.applied(17).await;
    assert_eq!(fixture.get("k"), "..abc");
    assert_eq!(fixture.get("other"), "..123");
    assert_eq!(fixture.get("late"), "L");
    assert!(fixture.applier.is_readable());
    assert_eq!(fixture.applier.queue.lock().backlog, 0);
}

#[tokio::test]
async fn a_broken_full_sync_remembers_what_has_come() {
    let fixture = Fixture::new();
    assert_eq!(fixture.applier.partial(), None);
    fixture.applier.begin_sync(Epoch(1), Offset(10));
    fixture.push_image("k", "old", 12);
    let partitions = HashSet::from([fixture.shard_of("k")]);
    let partial = Partial { epoch: Epoch(1), partitions, youngest_cut: Offset(12) };
    assert_eq!(fixture.applier.partial(), Some(partial));
    fixture.applier.begin_sync(Epoch(2), Offset(20));
    let nothing = Partial { epoch: Epoch(2), partitions: HashSet::new(), youngest_cut: Offset::ZERO };
    assert_eq!(fixture.applier.partial(), Some(nothing), "another master's sync begins anew");
    fixture.applier.end_sync(Offset(20));
    fixture.applier.complete_sync();
    assert_eq!(fixture.applier.partial(), None);
}

/// The stream may break behind the end of the images, before the journal has reached it: then the master ends the
/// sync once more, with images of what was made meanwhile.
#[tokio::test]
async fn a_full_sync_may_end_twice() {
    let fixture = Fixture::new();
    fixture.applier.begin_sync(Epoch(1), Offset(10));
    fixture.push_image("k", "a", 12);
    fixture.applier.end_sync(Offset(12));
    fixture.push(11, &[("k", "a")]);
    fixture.applied(11).await;
    fixture.push_image("other", "12", 13);
    fixture.applier.end_sync(Offset(13));
    fixture.push(12, &[("other", "1"), ("other", "2"), ("k", "b"), ("other", "3")]);
    fixture.applied(13).await;
    assert_eq!((fixture.get("k"), fixture.get("other")), ("a".into(), "12".into()), "14 is not committed");
    fixture.applier.complete_sync();
    fixture.applier.commit(Offset(15));
    fixture.applied(15).await;
    assert_eq!((fixture.get("k"), fixture.get("other")), ("ab".into(), "123".into()));
    assert_eq!(fixture.applier.queue.lock().backlog, 0);
}

#[tokio::test]
async fn a_lost_copy_begins_anew_with_nothing() {
    let fixture = Fixture::new();
    fixture.applier.begin_sync(Epoch(1), Offset(10));
    fixture.push_image("k", "old", 12);
    fixture.applier.lose();
    assert_eq!((fixture.applier.condition(), fixture.applier.partial()), (Condition::Lost, None));
    fixture.applier.forget();
    fixture.applier.resume(Offset(0));
    fixture.push(1, &[("k", "a")]);
    fixture.applier.commit(Offset(1));
    fixture.applied(1).await;
    assert_eq!((fixture.get("k"), fixture.applier.condition()), ("a".into(), Condition::Whole));
}

#[tokio::test]
async fn a_new_master_applies_what_is_not_committed() {
    let fixture = Fixture::new();
    fixture.applier.resume(Offset(0));
    fixture.push(1, &[("k", "a"), ("k", "b")]);
    fixture.applier.commit(Offset(1));
    assert!(fixture.applier.drain().await);
    assert_eq!(fixture.get("k"), "ab");
}

#[tokio::test]
async fn a_promotion_that_is_given_up_leaves_what_is_not_committed_unapplied() {
    let fixture = Fixture::new();
    fixture.applier.resume(Offset(0));
    fixture.push(1, &[("k", "a")]);
    fixture.applier.commit(Offset(1));
    fixture.applied(1).await;
    // Whoever ordered the promotion has stopped waiting for it.
    drop(fixture.applier.begin_drain());
    fixture.push(2, &[("k", "b")]);
    fixture.push(3, &[("k", "c")]);
    fixture.applier.commit(Offset(2));
    fixture.applied(2).await;
    assert_eq!(fixture.get("k"), "ab");
}

#[tokio::test]
async fn a_record_that_does_not_fit_makes_the_copy_lost() {
    let fixture = Fixture::new();
    fixture.applier.resume(Offset(0));
    let records = vec![3, 255, 255, 255].into();
    fixture.applier.push(Block::new(Epoch(1), Offset(1), Offset(1), records));
    assert!(!fixture.applier.drain().await);
    assert_eq!(fixture.applier.condition(), Condition::Lost);
}
