//! Rows become partitions again: all cores, a shard at a time, straight into its tables.
//!
//! ```text
//! accounts, topology --> queues, shards (a thread a core, each takes the next piece) --> cuts: what the journal is to add
//! ```
//!
//! What does not fit is an error that names the partition: RocksDB checks what it reads, so this is a bug or a hand at work.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::head::{QueueHead, ShardHead, decode_topology};
use super::known::{Known, ShardRows};
use crate::broker::rows::{Exact, QueueLoader};
use crate::engine::Engine;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::keyspace::entry_image::{Elsewhere, take_entry};
use crate::keyspace::pages::page_of;
use crate::keyspace::position;
use crate::limits;
use crate::storage::{self, Family, Storage, head_key, message_key, split_key, split_page};
use crate::wire::Reader;

/// Rows that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("{partition} cannot be loaded: {what}")]
    Damaged { partition: String, what: String },
}

/// What the rows held, and what the next checkpoint starts from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) cuts: Cuts,
    pub(crate) known: Known,
    /// Runs in which messages of queues lie.
    used_runs: BTreeSet<u64>,
}

/// The cut of each partition that has rows.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    by_partition: HashMap<Partition, Offset>,
    /// Queues that the loaded topology knows.
    queues: HashSet<Partition>,
    topology: Offset,
    floor: Offset,
    youngest: Offset,
}

impl Cuts {
    /// Every partition holds the records up to here: the replay begins behind it.
    pub(crate) fn floor(&self) -> Offset {
        self.floor
    }

    /// Behind this the state is that of one moment.
    pub(crate) fn youngest(&self) -> Offset {
        self.youngest
    }

    /// Whether a record's effects on `partition` are to be applied.
    #[inline]
    pub(crate) fn wants(&self, partition: Partition, offset: Offset) -> bool {
        if offset > self.youngest {
            return true;
        }
        if let PartitionKind::Queue(_) = partition.kind()
            && offset <= self.topology
            && !self.queues.contains(&partition)
        {
            // The topology says that it was deleted by then.
            return false;
        }
        self.by_partition.get(&partition).is_none_or(|cut| offset > *cut)
    }
}

/// Loads the rows of all partitions into an engine that holds nothing. `progress` is told the bytes of every piece.
///
/// # Errors
/// They cannot be read, or do not fit.
pub(crate) fn load(engine: &Engine, storage: &Storage, progress: &(dyn Fn(u64) + Sync)) -> Result<Loaded, Error> {
    let known = Known::none(engine.keyspace.len(), storage.generation());
    let cuts = Cuts { floor: storage.floor()?, ..Cuts::default() };
    let mut loaded = Loaded { cuts, known, used_runs: BTreeSet::new() };
    let cut = load_image(storage, Partition::ACCOUNTS, |cut, image| {
        engine.accounts.load_image(cut, image).map_err(|error| damaged(Partition::ACCOUNTS, error))
    })?;
    loaded.known.accounts = cut;
    loaded.cuts.by_partition.extend(cut.map(|cut| (Partition::ACCOUNTS, cut)));
    let cut = load_image(storage, Partition::TOPOLOGY, |cut, image| {
        let loaded = engine.broker.load_image(Partition::TOPOLOGY, cut, image);
        loaded.map_err(|error| damaged(Partition::TOPOLOGY, error))
    })?;
    loaded.known.topology = cut;
    loaded.cuts.topology = cut.unwrap_or_default();
    loaded.cuts.by_partition.extend(cut.map(|cut| (Partition::TOPOLOGY, cut)));
    loaded.cuts.queues = engine.broker.numbers().into_iter().map(Partition::queue).collect();

    let mut pieces: Vec<Piece> = queues_with_rows(storage)?.into_iter().map(Piece::Queue).collect();
    let shards = engine.keyspace.len();
    pieces.extend(
        (0..shards).step_by(SHARDS_A_PIECE).map(|first| Piece::Shards(first, shards.min(first + SHARDS_A_PIECE))),
    );
    if let Some(beyond) = storage.next_partition(Family::Keys, Partition::shard(shards))? {
        return Err(damaged(beyond, "there is no such shard"));
    }
    let runs = storage.run_numbers();
    let load = Load { engine, storage, progress, runs: &runs, loaded: Mutex::new(loaded) };
    load.all(&pieces)?;
    let mut loaded = load.loaded.into_inner();
    // Written, and not yet in any row when the process ended.
    let unused: Vec<u64> = runs.difference(&loaded.used_runs).copied().collect();
    storage.delete_runs(&unused)?;
    let youngest = loaded.cuts.by_partition.values().copied().max().unwrap_or_default();
    loaded.cuts.youngest = loaded.cuts.youngest.max(youngest).max(loaded.cuts.topology).max(loaded.cuts.floor);
    Ok(loaded)
}

/// Shards that a thread takes at a time: a range that is read in one go.
const SHARDS_A_PIECE: usize = 8;

#[derive(Debug, Clone, Copy)]
enum Piece {
    Queue(Partition),
    Shards(usize, usize),
}

/// A partition that is one image behind a head with its cut.
fn load_image(
    storage: &Storage,
    partition: Partition,
    put: impl FnOnce(Offset, &[u8]) -> Result<(), Error>,
) -> Result<Option<Offset>, Error> {
    let Some(head) = storage.row(Family::Messages, &head_key(partition))? else { return Ok(None) };
    let cut = decode_topology(&head).map_err(|error| damaged(partition, error))?;
    let image = storage.row(Family::Messages, &message_key(partition, 0))?;
    let image = image.ok_or_else(|| damaged(partition, "its image is not there"))?;
    put(cut, &image)?;
    Ok(Some(cut))
}

fn queues_with_rows(storage: &Storage) -> Result<Vec<Partition>, Error> {
    let mut queues = Vec::new();
    let mut next = Partition::queue(1);
    while let Some(partition) = storage.next_partition(Family::Messages, next)? {
        queues.push(partition);
        next = Partition(partition.0.saturating_add(1));
    }
    Ok(queues)
}

struct Load<'a> {
    engine: &'a Engine,
    storage: &'a Storage,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Runs that there are.
    runs: &'a BTreeSet<u64>,
    loaded: Mutex<Loaded>,
}

impl Load<'_> {
    fn all(&self, pieces: &[Piece]) -> Result<(), Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.piece(*piece) {
                    failed.lock().get_or_insert(error);
                    next.store(pieces.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            // A thread less is slower and nothing else.
            for _ in 1..cores.min(limits::LOAD_THREADS) {
                _ = std::thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn piece(&self, piece: Piece) -> Result<(), Error> {
        match piece {
            Piece::Queue(partition) => self.queue(partition),
            Piece::Shards(first, end) => self.shards(first, end),
        }
    }

    fn shards(&self, first: usize, end: usize) -> Result<(), Error> {
        let mut present: Option<Shard> = None;
        let range = head_key(Partition::shard(first))..head_key(Partition(end as u32));
        self.storage.each_row(Family::Keys, &range.start[..]..&range.end[..], |key, value| {
            let (partition, rest) =
                split_key(key).ok_or_else(|| damaged(Partition::shard(first), "a key that is none"))?;
            if rest.is_empty() {
                self.close(present.take())?;
                present = Some(Shard::open(self.engine, partition, value)?);
                return Ok(());
            }
            let (page, piece) = split_page(rest).ok_or_else(|| damaged(partition, "a key that is none"))?;
            let shard = present.as_mut().filter(|shard| shard.partition == partition);
            match (shard, piece) {
                (Some(shard), None) => shard.page(self.engine, page, value),
                (Some(shard), Some((number, piece))) => shard.piece(page, number, piece, value),
                (None, None) => Err(damaged(partition, "its head is not there")),
                // A checkpoint was broken off before it wrote the shard.
                (None, Some((number, piece))) => {
                    if let PartitionKind::Shard(index) = partition.kind()
                        && let Some(rows) = self.loaded.lock().known.shards.get_mut(index)
                    {
                        rows.note_piece(page, number, piece, value.len());
                    }
                    Ok(())
                }
            }
        })?;
        self.close(present)
    }

    fn close(&self, shard: Option<Shard<'_>>) -> Result<(), Error> {
        if let Some(shard) = &shard {
            shard.has_all_pieces()?;
        }
        let Some(Shard { index, partition, mut shard, head, rows, loaded, .. }) = shard else { return Ok(()) };
        let expected: usize = head.keys.iter().sum();
        if loaded != expected {
            return Err(damaged(partition, format!("{loaded} keys, and the head says {expected}")));
        }
        shard.loaded(head.bits, head.cut);
        drop(shard);
        (self.progress)(rows.bytes());
        let mut all = self.loaded.lock();
        all.cuts.by_partition.insert(partition, head.cut);
        all.known.shards[index] = rows;
        Ok(())
    }

    fn queue(&self, partition: Partition) -> Result<(), Error> {
        let PartitionKind::Queue(number) = partition.kind() else {
            return Err(damaged(partition, "it is no queue"));
        };
        let (mut head, mut loader, mut bytes) = (None, QueueLoader::new(&self.engine.broker), 0);
        let range = head_key(partition)..head_key(Partition(partition.0.saturating_add(1)));
        self.storage.each_row(Family::Messages, &range.start[..]..&range.end[..], |key, value| {
            let rest = split_key(key).map_or(&[][..], |(_, rest)| rest);
            if rest.is_empty() {
                head = Some(QueueHead::decode(value).map_err(|error| damaged(partition, error))?);
                return Ok(());
            }
            if head.is_none() {
                return Err(damaged(partition, "its head is not there"));
            }
            let id = rest.try_into().map(u64::from_be_bytes).map_err(|_| damaged(partition, "a key that is none"))?;
            bytes += value.len() as u64;
            loader.push(id, value).map_err(|error| damaged(partition, format!("message {id}: {error}")))
        })?;
        let head = head.ok_or_else(|| damaged(partition, "its head is not there"))?;
        let exact = if head.pending == Offset::ZERO { Exact::Yes } else { Exact::No };
        let runs = loader.runs();
        if let Some(run) = runs.iter().find(|run| !self.runs.contains(run)) {
            return Err(damaged(partition, format!("run {run} of its messages is not there")));
        }
        loader
            .finish(&self.engine.broker, number, head.cut, head.last_id, exact)
            .map_err(|error| damaged(partition, error))?;
        (self.progress)(bytes);
        let mut all = self.loaded.lock();
        all.cuts.by_partition.insert(partition, head.cut);
        all.cuts.youngest = all.cuts.youngest.max(head.pending).max(head.taken_until);
        all.known.queues.insert(partition, head);
        all.used_runs.extend(runs);
        Ok(())
    }
}

/// A shard whose pages are coming.
struct Shard<'a> {
    index: usize,
    partition: Partition,
    shard: crate::lock::MutexGuard<'a, crate::keyspace::Shard>,
    head: ShardHead,
    rows: ShardRows,
    loaded: usize,
    /// The large values of the present page, with the pieces that have come.
    awaited: HashMap<u32, Awaited>,
    present: usize,
}

/// A large value whose pieces are coming.
struct Awaited {
    rows: u32,
    came: u32,
    database: u8,
    key: Vec<u8>,
}

impl<'a> Shard<'a> {
    fn open(engine: &'a Engine, partition: Partition, head: &[u8]) -> Result<Self, Error> {
        let PartitionKind::Shard(index) = partition.kind() else {
            return Err(damaged(partition, "it is no shard"));
        };
        let head = ShardHead::decode(head).map_err(|error| damaged(partition, error))?;
        let mut shard = engine.keyspace.lock(index);
        shard.reserve(&head.keys);
        let rows = ShardRows::new(head.bits);
        Ok(Self { index, partition, shard, head, rows, loaded: 0, awaited: HashMap::new(), present: 0 })
    }

    /// Whether the large values of the present page are whole.
    fn has_all_pieces(&self) -> Result<(), Error> {
        match self.awaited.iter().find(|(_, awaited)| awaited.came < awaited.rows) {
            None => Ok(()),
            Some((number, awaited)) => Err(damaged(
                self.partition,
                format!("{} of {} pieces of the large value {number} are there", awaited.came, awaited.rows),
            )),
        }
    }

    /// A piece of a large value. Pieces follow on their page, in their order.
    fn piece(&mut self, page: usize, number: u32, piece: u32, row: &[u8]) -> Result<(), Error> {
        self.rows.note_piece(page, number, piece, row.len());
        let partition = self.partition;
        let wrong = |what: String| damaged(partition, format!("large value {number}, piece {piece}: {what}"));
        // A checkpoint that was broken off has left some to which no page refers.
        let awaited = if page == self.present { self.awaited.get_mut(&number) } else { None };
        let Some(awaited) = awaited else { return Ok(()) };
        if piece != awaited.came {
            return Err(wrong(format!("it comes after {}", awaited.came)));
        }
        awaited.came += 1;
        let mut reader = Reader::new(row);
        let mut is_first = piece == 0;
        while !reader.is_empty() {
            let entry = take_entry(&mut reader).map_err(|error| wrong(error.to_string()))?;
            if entry.key != awaited.key || entry.database != awaited.database || entry.continues == is_first {
                return Err(wrong("it is of another value".to_owned()));
            }
            is_first = false;
            self.shard.load(&entry).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(())
    }

    fn page(&mut self, engine: &Engine, page: usize, row: &[u8]) -> Result<(), Error> {
        self.has_all_pieces()?;
        let Self { partition, shard, head, rows, index, loaded, awaited, present } = self;
        awaited.clear();
        *present = page;
        let wrong = |what: String| damaged(*partition, format!("page {page}: {what}"));
        if page >= 1 << head.bits {
            return Err(wrong("there is no such page".to_owned()));
        }
        rows.set(page, row.len());
        let mut reader = Reader::new(row);
        while !reader.is_empty() {
            let entry = take_entry(&mut reader).map_err(|error| wrong(error.to_string()))?;
            let position = position(entry.key);
            if engine.keyspace.shard_at(position) != *index
                || page_of(position, engine.keyspace.bits(), head.bits) != page
            {
                return Err(wrong(format!("key {:?} does not belong here", String::from_utf8_lossy(entry.key))));
            }
            if let Some(Elsewhere { number, rows }) = entry.elsewhere {
                let place = Awaited { rows, came: 0, database: entry.database, key: entry.key.to_vec() };
                awaited.insert(number, place);
            } else {
                shard.load(&entry).map_err(|error| wrong(error.to_string()))?;
            }
            *loaded += 1;
        }
        Ok(())
    }
}

fn damaged(partition: Partition, what: impl ToString) -> Error {
    let partition = match partition.kind() {
        PartitionKind::Shard(index) => format!("shard {index}"),
        PartitionKind::Accounts => "the accounts".to_owned(),
        PartitionKind::Topology => "the topology".to_owned(),
        PartitionKind::Queue(number) => format!("queue {number}"),
    };
    Error::Damaged { partition, what: what.to_string() }
}
