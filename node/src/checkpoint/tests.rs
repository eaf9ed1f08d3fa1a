//! Everything at once: commands on keys and queues, passes at any moment, and a crash between any two steps of a pass.

mod power;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tercet_proto::amqp::{BasicProperties, FieldTable, ShortString};

use super::load::{Error as LoadError, load};
use super::pass::{self, Bounds, Broken, Ground, Rest};
use super::{Known, Report};
use crate::accounts::{Change, User};
use crate::broker::effect::BrokerEffect;
use crate::broker::{Acknowledge, ConnectionId, DEFAULT_VHOST, Deletion, Draft, Name, Queue, QueueDeclaration};
use crate::effect::{End, Expiry, KeyChange};
use crate::engine::{Engine, Locked, Transaction};
use crate::ids::{Offset, Partition, UnixMillis};
use crate::journal::{Assembler, Gate, Next, Promise};
use crate::keyspace::Keyspace;
use crate::pager::OnDisk;
use crate::storage::{Family, Storage, Sync, head_key, message_key, page_key, put_blocks};
use crate::wire::Reader;

/// A master with a disk, of which the test is the thread.
struct Master {
    engine: Engine,
    gate: Gate,
    storage: Arc<Storage>,
    known: RefCell<Known>,
    rng: RefCell<StdRng>,
    record: RefCell<Vec<u8>>,
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

fn engine() -> Engine {
    Engine { keyspace: Keyspace::new(3), ..Engine::default() }
}

impl Master {
    fn new(folder: &Path, rng: StdRng) -> Self {
        let (engine, storage) = (engine(), Arc::new(Storage::open(folder).unwrap()));
        engine.broker.shelf().open(Arc::new(OnDisk::new(&storage)), 0);
        engine.journal.start_disk(Promise::Appended, Offset::ZERO, Offset::ZERO, Vec::new());
        // Everything stays in memory, to be compared with.
        engine.journal.retain();
        let known = Known::none(engine.keyspace.len(), storage.generation());
        let (known, rng, record) = (RefCell::new(known), RefCell::new(rng), RefCell::default());
        Self { engine, gate: Gate::default(), storage, known, rng, record }
    }

    fn random(&self, range: std::ops::Range<usize>) -> usize {
        self.rng.borrow_mut().random_range(range)
    }

    /// One command.
    fn act(&self) {
        match self.random(0..23) {
            21 => self.page(NAMES[self.random(0..NAMES.len())]),
            22 => self.bring(NAMES[self.random(0..NAMES.len())]),
            0..13 => self.change_key(),
            // Seldom: every check replays all of them.
            20 if self.random(0..15) == 0 => self.change_large(),
            20 => self.change_key(),
            13..17 => self.publish(NAMES[self.random(0..NAMES.len())]),
            17 => self.fetch(NAMES[self.random(0..NAMES.len())]),
            18 => self.change_account(NAMES[self.random(0..NAMES.len())]),
            _ => self.declare_or_delete(NAMES[self.random(0..NAMES.len())]),
        }
    }

    fn change_account(&self, name: &str) {
        let mut user = User::new(name);
        user.tags = vec![self.random(0..100).to_string()];
        let gone = Change::DeleteUser { name: name.to_owned() };
        let change = if self.random(0..4) == 0 { gone } else { Change::SetUser(user) };
        self.engine.accounts.change(&self.engine.journal, &[change]);
    }

    fn change_key(&self) {
        let key = format!("key:{}", self.random(0..3_000)).into_bytes();
        let value = vec![b'v'; self.random(1..200)];
        let kind = self.random(0..40);
        let members: [&[u8]; 2] = [&value, b"member"];
        let mut record = self.record.borrow_mut();
        let now = UnixMillis(1);
        if kind < 2 {
            let mut transaction =
                Transaction::new(&self.engine, Locked::all(&self.engine.keyspace), &mut record, 0, now);
            match kind {
                0 => transaction.swap(0, 1),
                _ => transaction.flush(Some(1)),
            }
            transaction.finish();
            return;
        }
        let locked = Locked::keys(&self.engine.keyspace, std::iter::once(&key[..]));
        let mut transaction = Transaction::new(&self.engine, locked, &mut record, 0, now);
        let change = match kind {
            2..15 => KeyChange::SetString { value: &value, expiry: Expiry::Never },
            15..25 => KeyChange::Delete,
            25..28 => KeyChange::Expire { at: UnixMillis(1 << 40) },
            28..32 => KeyChange::SetAdd { members: members[..].into() },
            32..34 => KeyChange::SetRemove { members: members[..].into() },
            _ => KeyChange::Append { bytes: &value },
        };
        // A key of another type: refused, and nothing has changed.
        _ = transaction.apply(&key, &change);
        transaction.finish();
    }

    /// A value that a pass takes in steps: several kinds, changed in every way that is followed, and in some that are not.
    fn change_large(&self) {
        let number = self.random(0..4);
        let key = format!("large:{number}").into_bytes();
        let (from, count) = (self.random(0..3000), if self.random(0..3) == 0 { 1500 } else { 40 });
        let elements: Vec<Vec<u8>> = (from..from + count).map(|element| format!("{element:>8}").into_bytes()).collect();
        let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        let pairs: Vec<&[u8]> = elements.iter().flat_map(|element| [*element, b"value"]).collect();
        let scored: Vec<(f64, &[u8])> = elements.iter().map(|element| (from as f64, *element)).collect();
        let text = vec![b't'; if self.random(0..4) == 0 { 300 << 10 } else { 1000 }];
        let change = match (number, self.random(0..10)) {
            (_, 0) => KeyChange::Delete,
            (_, 1) => KeyChange::Expire { at: UnixMillis(1 << 40) },
            (0, 2..6) => KeyChange::SetString { value: &text, expiry: Expiry::Never },
            (0, _) => KeyChange::Append { bytes: &text },
            (1, 2..4) => KeyChange::HashRemove { fields: elements.into() },
            (1, _) => KeyChange::HashSet { pairs: pairs.into() },
            (2, 2..4) => KeyChange::SortedRemoveRanks { start: 0, end: 100 },
            (2, _) => KeyChange::SortedAdd { pairs: scored.into() },
            (_, 2..4) => KeyChange::ListTrim { start: 1, end: 2000 },
            (_, 4..6) => KeyChange::ListPop { end: End::Front, count: 30 },
            _ => KeyChange::ListPush { end: End::Back, values: elements.into() },
        };
        let mut record = self.record.borrow_mut();
        let locked = Locked::keys(&self.engine.keyspace, std::iter::once(&key[..]));
        let mut transaction = Transaction::new(&self.engine, locked, &mut record, 0, UnixMillis(1));
        _ = transaction.apply(&key, &change);
        transaction.finish();
    }

    fn queue(&self, name: &str) -> Option<Arc<Queue>> {
        self.engine.broker.queues().into_iter().find(|queue| queue.name == *name)
    }

    fn declare_or_delete(&self, name: &str) {
        let mut record = self.record.borrow_mut();
        let mut batch = self.engine.broker.begin(&self.engine.journal, &mut record, UnixMillis(1));
        match self.queue(name) {
            Some(queue) if self.random(0..4) == 0 => {
                let deletion = Deletion { if_unused: false, if_empty: false };
                self.engine.broker.delete_queue(&mut batch, &queue, deletion).unwrap();
            }
            Some(_) => {}
            None => {
                let declaration =
                    QueueDeclaration { durable: true, auto_delete: false, owner: None, arguments: FieldTable::new() };
                let name = ShortString::try_from(name).unwrap();
                let name = Name { vhost: &DEFAULT_VHOST, name: &name };
                self.engine.broker.declare_queue(&mut batch, ConnectionId(0), name, declaration).unwrap();
            }
        }
        batch.finish();
    }

    fn publish(&self, name: &str) {
        let properties = BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }.encode();
        let key = ShortString::try_from(name).unwrap();
        let exchange = ShortString::from_static("");
        let route = self.engine.broker.route(&DEFAULT_VHOST, &exchange, &key, &properties).unwrap();
        // Now and then more than a pass takes of a queue in one step.
        let most = if self.random(0..200) == 0 { 1500 } else { 20 };
        for _ in 0..self.random(1..most) {
            let mut draft = Draft::new(b"", name.as_bytes(), &properties, 100);
            draft.push(&vec![b'm'; self.random(1..300)]);
            let mut record = self.record.borrow_mut();
            let mut batch = self.engine.broker.begin(&self.engine.journal, &mut record, UnixMillis(1));
            // No such queue: nothing happens.
            _ = self.engine.broker.enqueue(&mut batch, &route, draft);
            batch.finish();
        }
    }

    fn fetch(&self, name: &str) {
        let Some(queue) = self.queue(name) else { return };
        for _ in 0..self.random(1..40) {
            if queue.awaits_run() {
                self.bring(name);
            }
            let mut record = self.record.borrow_mut();
            let mut batch = self.engine.broker.begin(&self.engine.journal, &mut record, UnixMillis(1));
            queue.get(&mut batch, Acknowledge::Automatically);
            batch.finish();
        }
    }

    /// Some messages leave the memory, in small runs.
    fn page(&self, name: &str) {
        let Some(queue) = self.queue(name) else { return };
        let mut leaving = Vec::new();
        for _ in 0..self.random(1..5) {
            let (keep_bytes, most) = (self.random(0..3_000), self.random(1..300));
            let Some(next) = self.engine.broker.pick_some(queue.number, leaving.last(), keep_bytes, most) else {
                break;
            };
            let (number, run) = next.run();
            self.storage.put_run(number, &run).unwrap();
            leaving.push(next);
        }
        if self.random(0..3) == 0 {
            // Some have gone before the others are written.
            self.fetch(name);
        }
        self.storage.settle_runs().unwrap();
        leaving.into_iter().for_each(|leaving| self.engine.broker.leave(leaving));
    }

    /// What is needed next comes back.
    fn bring(&self, name: &str) {
        let Some(queue) = self.queue(name) else { return };
        if let Some(wanted) = self.engine.broker.wanted_run(queue.number) {
            let run = self.storage.run(wanted.number).unwrap().unwrap();
            self.engine.broker.bring(wanted, &run).unwrap();
        }
    }

    /// What the thread `disk` does, and everything is committed.
    fn write_journal(&self) {
        self.write_journal_with(Sync::Later);
    }

    fn write_journal_with(&self, sync: Sync) {
        while let Some(turn) = self.engine.journal.take_turn() {
            let mut batch = self.storage.batch();
            put_blocks(&mut batch, &turn.blocks);
            self.storage.write(batch, sync).unwrap();
            self.engine.journal.wrote(&turn);
        }
        self.gate.advance(self.engine.journal.durability().written());
    }

    fn pass(&self, is_same: &dyn Fn() -> bool, rest: &mut dyn FnMut(Rest) -> bool) -> Result<Report, Broken> {
        // Small, so that a pass consists of many batches and files.
        let bounds = Bounds { batch: self.random(1..40_000), flush: self.random(1..200_000) };
        let ground = Ground {
            engine: &self.engine,
            gate: &self.gate,
            storage: &self.storage,
            bounds,
            is_same,
            progress: &|_| {},
        };
        let floor = self.engine.journal.end();
        let released = self.engine.broker.shelf().take_released();
        let report = pass::run(&ground, &mut self.known.borrow_mut(), floor, rest);
        match report {
            Ok(_) => self.storage.delete_runs(&released).unwrap(),
            Err(_) => self.engine.broker.shelf().release(released),
        }
        report
    }

    fn undisturbed_pass(&self) -> Report {
        let rest = &mut |rest: Rest| {
            if rest == Rest::ForCommit {
                self.write_journal();
            }
            true
        };
        self.pass(&|| true, rest).unwrap()
    }

    /// The state that the records up to `end` make out of nothing.
    fn replayed(&self, end: Offset) -> Engine {
        let replayed = engine();
        let (mut after, mut parts) = (Offset::ZERO, Assembler::default());
        while after < end {
            let Next::Block(block) = self.engine.journal.read(after) else { panic!("the journal keeps everything") };
            for (offset, record) in block.iter().take_while(|(offset, _)| *offset <= end) {
                if let Some(record) = parts.take(offset, record).unwrap() {
                    replayed.apply_record(offset, &record, |_| true).unwrap();
                }
            }
            after = block.last;
        }
        replayed
    }
}

/// What a start makes of a directory, and where it ends.
fn recovered(folder: &Path) -> Result<(Engine, Offset), LoadError> {
    let storage = Arc::new(Storage::open(folder).unwrap());
    let engine = engine();
    engine.broker.shelf().open(Arc::new(OnDisk::new(&storage)), 0);
    let loaded = load(&engine, &storage, &|_| ())?;
    let end = storage.journal_bounds().unwrap().end;
    assert!(loaded.cuts.youngest() <= end, "rows are never ahead of the journal");
    let (mut applied, mut parts) = (loaded.cuts.floor(), Assembler::default());
    for block in storage.journal_from(applied).unwrap() {
        for (offset, record) in block.unwrap().iter() {
            assert_eq!(offset, applied.next(), "no record is missing");
            if let Some(record) = parts.take(offset, record).unwrap() {
                engine.apply_record(offset, &record, |partition| loaded.cuts.wants(partition, offset)).unwrap();
            }
            applied = offset;
        }
    }
    assert_eq!(applied, end);
    bring_all(&engine, &storage);
    Ok((engine, end))
}

/// Everything comes into memory.
fn bring_all(engine: &Engine, storage: &Storage) {
    for queue in engine.broker.queues() {
        while let Some(wanted) = engine.broker.wanted_run(queue.number) {
            let run = storage.run(wanted.number).unwrap().unwrap();
            engine.broker.bring(wanted, &run).unwrap();
        }
        assert_eq!(queue.counts().paged, 0);
    }
}

/// By meaning: elements of a set that was loaded may lie in another order.
fn assert_same(left: &Engine, right: &Engine, what: &str) {
    for index in 0..left.keyspace.len() {
        let contents = |engine: &Engine| {
            let shard = engine.keyspace.lock(index);
            let all: BTreeMap<_, _> = shard
                .databases()
                .flat_map(|(number, database)| database.iter().map(move |entry| (number, entry)))
                .map(|(number, entry)| ((number, entry.key().to_vec()), (entry.expire_at(), entry.value().to_owned())))
                .collect();
            all
        };
        assert!(contents(left) == contents(right), "{what}: shard {index} differs");
    }
    assert_eq!(left.accounts.directory(), right.accounts.directory(), "{what}");
    assert_eq!(left.broker.partitions(), right.broker.partitions(), "{what}");
    for partition in left.broker.partitions() {
        let image = |engine: &Engine| {
            let mut out = Vec::new();
            engine.broker.image(partition, || Offset::ZERO, &mut out);
            out
        };
        let (left, right) = (image(left), image(right));
        assert!(
            left == right,
            "{what}: {partition:?}: {:?} and {:?}",
            outline(partition, &left),
            outline(partition, &right)
        );
    }
}

/// The last id and the ids of a queue's image.
fn outline(partition: Partition, image: &[u8]) -> (u64, Vec<u64>) {
    let mut reader = Reader::new(image);
    let last = reader.varint().unwrap_or_default();
    let mut ids = Vec::new();
    while partition != Partition::TOPOLOGY && !reader.is_empty() {
        let tag = reader.byte().unwrap();
        match BrokerEffect::decode_body(tag, &mut reader).unwrap() {
            BrokerEffect::Enqueue { id, .. } => ids.push(id),
            other => panic!("{other:?}"),
        }
    }
    (last, ids)
}

/// A copy of a directory as a crash of the process would leave it: what was written, and not what is only in memory.
fn crash(from: &Path, to: &Path) {
    let listing = || {
        let entries = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?.len())))
            .filter(|(name, _)| !name.to_string_lossy().starts_with("LOG"))
            .collect();
        files.sort();
        files
    };
    loop {
        let before = listing();
        _ = std::fs::remove_dir_all(to);
        std::fs::create_dir(to).unwrap();
        let copied = before.iter().all(|(name, _)| std::fs::copy(from.join(name), to.join(name)).is_ok());
        // The database may have put files in order meanwhile.
        if copied && listing() == before {
            return;
        }
    }
}

fn seeded() -> StdRng {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

#[test]
fn a_crash_between_any_two_steps_recovers_exactly() {
    let (folder, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let master = Master::new(&folder.path().join("data"), seeded());
    let copy = copies.path().join("data");
    let mut crashes = 0;
    for round in 0..30 {
        for _ in 0..master.random(0..600) {
            master.act();
        }
        let check = |crashes: &mut usize| {
            *crashes += 1;
            crash(&folder.path().join("data"), &copy);
            let (engine, end) = recovered(&copy).unwrap();
            assert_same(&engine, &master.replayed(end), &format!("round {round}, crash at {end}"));
        };
        let broken_off = master.random(0..4) == 0;
        // A pass with large values rests often.
        let (mut acts, mut checks) = (300, 2);
        let rest = &mut |rest: Rest| {
            if rest == Rest::ForCommit || master.random(0..3) == 0 {
                master.write_journal();
            }
            let count = master.random(0..20).min(acts);
            acts -= count;
            (0..count).for_each(|_| master.act());
            if checks > 0 && master.random(0..6) == 0 {
                checks -= 1;
                check(&mut crashes);
            }
            !(broken_off && master.random(0..8) == 0)
        };
        match master.pass(&|| true, rest) {
            Ok(report) => {
                if master.random(0..2) == 0 {
                    master.storage.trim_journal(report.floor).unwrap();
                }
            }
            Err(Broken::Stopped) => assert!(broken_off),
            Err(error) => panic!("{error}"),
        }
        check(&mut crashes);
    }
    println!("{crashes} crashes");
    assert!(crashes > 30);
    // A clean stop: nothing is left to replay.
    master.write_journal();
    let report = master.undisturbed_pass();
    master.storage.trim_journal(report.floor).unwrap();
    let used: Vec<u64> = master.storage.run_numbers().into_iter().collect();
    crash(&folder.path().join("data"), &copy);
    let (engine, end) = recovered(&copy).unwrap();
    println!("{} runs on disk", used.len());
    assert_eq!(end, master.engine.journal.end());
    assert_same(&engine, &master.engine, "after a clean stop");
}

#[test]
fn what_was_taken_under_a_mastership_that_ended_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let master = Master::new(folder.path(), seeded());
    (0..500).for_each(|_| master.act());
    // Nothing is committed, and then the state is another's.
    let is_same = std::cell::Cell::new(true);
    let rest = &mut |rest: Rest| {
        if rest == Rest::ForCommit {
            master.write_journal();
            is_same.set(false);
        }
        true
    };
    assert!(matches!(master.pass(&|| is_same.get(), rest), Err(Broken::Deposed)));
    assert_eq!(master.storage.rows(Family::Keys, &[]).count() + master.storage.rows(Family::Messages, &[]).count(), 0);
    master.undisturbed_pass();
    drop_and_compare(master, folder.path());
}

#[test]
fn rows_of_a_state_are_not_written_behind_a_wipe() {
    let folder = tempfile::tempdir().unwrap();
    let master = Master::new(folder.path(), seeded());
    (0..500).for_each(|_| master.act());
    let rest = &mut |rest: Rest| {
        if rest == Rest::ForCommit {
            master.write_journal();
            master.storage.wipe(Offset::ZERO, &[]).unwrap();
        }
        true
    };
    assert!(matches!(master.pass(&|| true, rest), Err(Broken::Wiped)));
    assert_eq!(master.storage.rows(Family::Keys, &[]).count(), 0);
    assert!(!master.storage.is_whole());
    let report = master.undisturbed_pass();
    assert!(master.storage.is_whole(), "every partition was written anew");
    assert_eq!(report.floor, master.engine.journal.end());
}

fn drop_and_compare(master: Master, folder: &Path) {
    let Master { engine, storage, .. } = master;
    bring_all(&engine, &storage);
    drop(storage);
    assert_same(&recovered(folder).unwrap().0, &engine, "after a restart");
}

#[test]
fn a_message_that_was_consumed_before_the_checkpoint_has_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let master = Master::new(folder.path(), seeded());
    master.declare_or_delete("one");
    let messages = || master.storage.rows(Family::Messages, &head_key(Partition::queue(1))).count();
    let ready = || master.queue("one").unwrap().counts().ready;
    while ready() < 100 {
        master.publish("one");
    }
    while ready() > 40 {
        master.fetch("one");
    }
    let rows = ready();
    assert_eq!(master.undisturbed_pass().messages, rows);
    assert_eq!(messages(), rows + 1, "each has a row, and the queue a head");
    while ready() > 0 {
        master.fetch("one");
    }
    assert_eq!(master.undisturbed_pass().messages, 0);
    assert_eq!(messages(), 1);
    while master.queue("one").is_some() {
        master.declare_or_delete("one");
    }
    master.undisturbed_pass();
    assert_eq!(messages(), 0, "the rows of a deleted queue go");
    drop_and_compare(master, folder.path());
}

#[test]
fn a_large_value_lies_in_rows_of_its_own_which_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let master = Master::new(folder.path(), seeded());
    let apply = |change: &KeyChange<'_>| {
        let mut record = Vec::new();
        let locked = Locked::keys(&master.engine.keyspace, std::iter::once(&b"large"[..]));
        let mut transaction = Transaction::new(&master.engine, locked, &mut record, 0, UnixMillis(1));
        transaction.apply(b"large", change).unwrap();
        transaction.finish();
    };
    let fields: Vec<Vec<u8>> = (0..40_000).map(|field| format!("{field:0>40}").into_bytes()).collect();
    let pairs: Vec<&[u8]> = fields.iter().flat_map(|field| [&field[..], b"value"]).collect();
    apply(&KeyChange::HashSet { pairs: pairs.into() });
    let sizes = || -> Vec<usize> {
        let rows: Result<Vec<_>, _> = master.storage.rows(Family::Keys, &[]).collect();
        rows.unwrap().iter().map(|(_, value)| value.len()).collect()
    };
    master.undisturbed_pass();
    let before = sizes();
    assert!(before.len() >= 2 + 6 && before.iter().all(|size| *size < 512 << 10), "{before:?}");
    assert!(before.iter().sum::<usize>() > 40_000 * 46);
    // Written anew, and the old rows go.
    apply(&KeyChange::HashSet { pairs: (&[&b"another"[..], b"field"][..]).into() });
    master.undisturbed_pass();
    assert_eq!(sizes().len(), before.len());
    // A pass that is broken off amid it leaves rows that mean nothing, and the next one takes them away.
    apply(&KeyChange::HashSet { pairs: (&[&b"a third"[..], b"field"][..]).into() });
    let rests = std::cell::Cell::new(0);
    let stops = &mut |_: Rest| {
        master.write_journal();
        rests.set(rests.get() + 1);
        rests.get() < 3
    };
    assert!(matches!(master.pass(&|| true, stops), Err(Broken::Stopped)));
    master.undisturbed_pass();
    assert_eq!(sizes().len(), before.len());
    apply(&KeyChange::Delete);
    master.undisturbed_pass();
    assert_eq!(sizes().len(), 1, "the head of the shard");
    drop_and_compare(master, folder.path());
}

#[test]
fn a_pass_without_changes_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let master = Master::new(folder.path(), seeded());
    assert_eq!(master.undisturbed_pass().bytes, 0, "an empty node");
    (0..500).for_each(|_| master.act());
    assert!(master.undisturbed_pass().bytes > 0);
    let report = master.undisturbed_pass();
    assert_eq!((report.partitions, report.bytes), (0, 0));
}

#[test]
fn a_damaged_row_is_one_clear_line() {
    let entry = b"\0\x03key\0\x04\x01\x02ab";
    let put = |family, key: &[u8], value: &[u8]| (family, key.to_vec(), value.to_vec());
    let shard = Partition::shard(Keyspace::new(3).shard_of(b"key"));
    let (other, queue) = (Partition::shard(if shard.0 == 0 { 1 } else { 0 }), Partition::queue(1));
    let head = [1, 0, 1, 1];
    let (keys, messages) = (Family::Keys, Family::Messages);
    let (page, message) = (page_key(shard, 0), message_key(queue, 1));
    let table = [
        ("its head is not there", vec![put(keys, &page, entry)]),
        ("0 keys, and the head says 1", vec![put(keys, &head_key(shard), &head)]),
        ("page 0: the bytes end", vec![put(keys, &head_key(shard), &head), put(keys, &page, &entry[..9])]),
        (
            "page 0: an element that",
            vec![put(keys, &head_key(shard), &head), put(keys, &page, b"\0\x03key\0\x08\x04\x02\x02ab\x02ab")],
        ),
        ("does not belong here", vec![put(keys, &head_key(other), &head), put(keys, &page_key(other, 0), entry)]),
        ("there is no such page", vec![put(keys, &head_key(shard), &head), put(keys, &page_key(shard, 1), entry)]),
        (
            "a key that is there twice",
            vec![put(keys, &head_key(shard), &[1, 0, 1, 2]), put(keys, &page, &[&entry[..], &entry[..]].concat())],
        ),
        ("there is no such shard", vec![put(keys, &head_key(Partition::shard(99)), &head)]),
        ("the topology cannot be loaded: its image", vec![put(messages, &head_key(Partition::TOPOLOGY), &[1])]),
        ("queue 1 cannot be loaded: its head", vec![put(messages, &message, b"x")]),
        ("message 1: ", vec![put(messages, &head_key(queue), &[1, 1, 0]), put(messages, &message, b"x")]),
    ];
    for (expected, rows) in table {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let mut batch = storage.batch();
        rows.iter().for_each(|(family, key, value)| batch.put(*family, key, value));
        storage.write(batch, Sync::Later).unwrap();
        let error = load(&engine(), &storage, &|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{expected:?}: {error}");
    }
}
