//! Every bound of the node, with its reason. Those of the core are in the core.

pub use tercet_core::limits::*;

/// A node with a whole copy and no master answers reads after so long: longer than any failover takes.
pub(crate) const MASTERLESS_READS_AFTER_MS: u64 = 2000;

/// How long the disk lets records gather before it writes them, unless acknowledgements wait for it.
pub const DISK_GATHER: std::time::Duration = std::time::Duration::from_millis(5);

/// How soon the commit offset on disk follows when no record carries it; twice as long after each look in vain.
pub const HINT_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// `--fsync everysec`: how often the disk is synced.
pub const SYNC_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// A sync that takes longer than this lets acknowledgements wait, as in Redis.
pub const SYNC_LATE: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a node that stops tries to write what a disk refuses.
pub const DISK_LAST_TRIES: std::time::Duration = std::time::Duration::from_secs(5);

/// Pause before a failed write to the disk is tried again.
pub const DISK_RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// Bytes of small blocks that become one row on disk: a row costs about as much as this many bytes.
pub const JOURNAL_ROW_BYTES: usize = 64 << 10;

/// Bytes of the journal that RocksDB keeps in memory before they become a file: a file a second at full speed.
pub const JOURNAL_BUFFER_BYTES: usize = 32 << 20;

/// Bytes of rows that RocksDB could keep in memory before they become a file.
pub const ROWS_BUFFER_BYTES: usize = 64 << 20;

/// Bytes of a file of merged rows.
pub const ROWS_FILE_BYTES: u64 = 64 << 20;

/// Bytes of rows that are read together: they are read in order.
pub const ROWS_BLOCK_BYTES: usize = 64 << 10;

/// Bytes that are read ahead when rows are read in order.
pub const READ_AHEAD_BYTES: usize = 2 << 20;

/// Bytes of the write-ahead log: what a start reads again at the most, a fraction of a second.
pub const WAL_BYTES: u64 = 128 << 20;

/// Bytes after which the kernel is asked to write out, so that a sync has little left to do.
pub const WRITE_OUT_BYTES: u64 = 1 << 20;

/// A node starts only where so much can be written: new files of RocksDB begin with less.
pub const ROOM_TO_OPEN_BYTES: usize = 1 << 20;

/// How often a thread that serves clients says that it makes progress.
pub const BEAT_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// A thread that has made no progress for so long and has not computed either hangs: the lease is no longer renewed.
pub const HUNG_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// For so long a thread may compute for one client before its node gives the lease up: no command of a sane size takes
/// longer, and clients of other threads are served meanwhile.
pub const COMPUTES_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// A thread computes if it has had at least one part in so many of a core.
pub const COMPUTING_SHARE: u64 = 8;

/// How often the master looks at its ISR.
pub const ISR_TICK: std::time::Duration = std::time::Duration::from_millis(25);

/// How long a member of the ISR may be silent, or without progress, before it has to leave: four heartbeats. With a
/// tick and the sentinels' commit on top it is out within 300 ms.
pub const ISR_SILENCE_MS: u64 = 200;

/// A master whose own tick was late by this much was not running; it blames nobody for silence.
pub const ISR_TICK_LATE_MS: u64 = 150;

/// How long one sentinel has to answer a change of the ISR before the next one is asked.
pub const ISR_CHANGE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(200);

/// The master says something to each replica at least this often.
pub const REPLICATION_HEARTBEAT: std::time::Duration = std::time::Duration::from_millis(50);

/// How long a new commit offset waits for a block to carry it.
pub const COMMIT_LINGER: std::time::Duration = std::time::Duration::from_millis(2);

/// A replica that hears nothing for this long, ten heartbeats, opens a new stream.
pub const REPLICATION_SILENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// First and longest pause between two attempts to open a stream to a master or a sentinel.
pub const RECONNECT_PAUSE: [std::time::Duration; 2] =
    [std::time::Duration::from_millis(10), std::time::Duration::from_millis(200)];

/// How long one attempt to connect to a peer may take: a lost SYN is sent again only after a second.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(300);

/// Flow control windows of streams between nodes: some ten blocks in flight each way.
pub const PEER_WINDOW_BYTES: u32 = 8 << 20;

/// Largest frame of such a stream: a block and a chunk of an image are sent in one.
pub const PEER_FRAME_BYTES: u32 = 128 << 10;

/// Largest message between nodes: a block holds a whole record, and a record may hold the largest value.
pub const PEER_MESSAGE_BYTES: usize = 1 << 30;

/// Largest message that a node takes on its port for peers: a hello names the partitions of a full sync that have come, and
/// there may be a million queues.
pub const PEER_ORDER_BYTES: usize = 16 << 20;

/// Largest epoch: no number of failovers gets there, and there is always a next one.
pub const MOST_EPOCH: u64 = 1 << 48;

/// How far an epoch may be ahead of what a node knows. A node that was away has missed some, one each failover.
pub const EPOCH_STEP: u64 = 1 << 20;

/// How long a hand-over may hold commands, whatever is asked for: clients wait no longer.
pub const HOLD: std::time::Duration = AUTHORITY_WAIT;

/// Members, in-sync copies and sentinels in one state of a cluster.
pub const MEMBERS: usize = 256;

/// Bytes of journal that a replica without anything is sent from the beginning on. Beyond it images are shorter.
pub const REPLAY_FROM_NOTHING_BYTES: usize = 1 << 20;

/// Bytes of the journal that are read from disk at a time for one replica.
pub const DISK_READ_BYTES: usize = 1 << 20;

/// Bytes of an image in one message: sending it takes a tenth of a millisecond.
pub const IMAGE_CHUNK_BYTES: usize = 64 << 10;

/// Bytes of an image that are taken at a time under a lock: with what stands around them, they fit a chunk.
pub const IMAGE_STEP_BYTES: usize = 63 << 10;

/// Chunks that are made before they are sent: enough that neither waits for the other.
pub const IMAGE_CHUNKS_AHEAD: usize = 16;

/// How often messages that are not in memory are read again for an image, where the disk refuses.
pub const IMAGE_READS: u32 = 10;

/// How often the image of a shard begins again, because a large value was changed in a way that its snapshot cannot
/// follow, before the shard is held for all of it.
pub const IMAGE_TRIES: u32 = 8;

/// Bytes of the journal that wait for an image to be sent, beyond which it is sent as fast as it goes: a quarter of what
/// stays in memory.
pub const IMAGES_HURRY_BYTES: usize = JOURNAL_MEMORY_BYTES / 4;

/// One chunk of images is sent in so long.
pub const IMAGE_REST: std::time::Duration = std::time::Duration::from_millis(1);

/// Bytes of images that are made at a time, before the next blocks are sent. One that is larger goes on until it is whole.
pub const IMAGE_BATCH_BYTES: usize = 1 << 20;

/// Partitions of which images are made at a time: an empty shard costs nothing but its lock.
pub const IMAGE_BATCH_PARTITIONS: usize = 128;

/// Bytes of an image that a replica loads before it rests, and the rest: it computes for nobody yet, and may share its cores
/// with who serves. Twice as fast as images are sent.
pub const LOAD_SLICE_BYTES: usize = 64 << 10;
pub const LOAD_REST: std::time::Duration = std::time::Duration::from_micros(100);

/// Bytes that have come and are not applied, beyond which a replica does not rest.
pub const LOAD_HURRY_BYTES: usize = 8 << 20;

/// Bytes of the journal that are sent between two batches of images, so that neither starves the other.
pub const JOURNAL_BETWEEN_IMAGES_BYTES: usize = 1 << 20;

/// Bytes that a replica has received and may apply, but has not yet: beyond it the stream waits.
pub const APPLY_BACKLOG_BYTES: usize = 64 << 20;

/// How long a master has to be without a lease before it says that it is deposed, as a multiple of the lease.
pub const DEPOSED_AFTER_LEASES: u64 = 2;

/// How often the master renews its lease.
pub const RENEW_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// A sentinel that leaves a Renew unanswered for this long gets a new stream.
pub const GRANT_SILENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// How often a status goes to each sentinel.
pub const OBSERVE_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Pause between two log lines about the same trouble.
pub const LOG_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a carried client waits for a master to be known.
pub const CARRY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// What the disk may take longer than its share when a node stops.
pub const STOP_SLACK: std::time::Duration = std::time::Duration::from_secs(3);

/// Bytes of each direction's buffer of a carried connection.
pub const CARRY_BUFFER_BYTES: usize = 64 << 10;

/// How long a master that shuts down waits for a sentinel to arrange a hand-over.
pub const HANDOVER_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// A connection between peers on which nothing comes back for twice this long is closed. The protocols on it notice a
/// silence sooner; this finds the connections on which nothing is expected.
pub const PEER_KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(2);

/// Pause before a lease stream is opened again: a master must not miss more than a few renewals.
pub const LEASE_RECONNECT_PAUSE: std::time::Duration = std::time::Duration::from_millis(25);

/// The slice of a core that threads ask for which others wait for: the shortest that the kernel grants. What they do at a
/// time takes less.
pub const PROMPT_SLICE: std::time::Duration = std::time::Duration::from_micros(100);

/// Bytes of replies after which a batch of pipelined commands stops, so that its replies leave before more are made.
pub const REPLY_BATCH_BYTES: usize = 1 << 20;

/// Bytes that a connection reads and writes in one go, however fast its client is: half a millisecond.
pub const MOVED_BYTES: usize = 1 << 20;

/// Bytes that one read from a client may bring; Redis's PROTO_IOBUF_LEN.
pub const READ_BYTES: usize = 16 << 10;

/// `client-query-buffer-limit`: bytes of a request that is not whole yet.
pub const QUERY_BUFFER_BYTES: usize = 1 << 30;

/// `maxclients`.
pub const CLIENTS: usize = 10_000;

/// How long a command waits for a master that has lost its lease or holds for a hand-over. Longer than any failover;
/// then the connection closes and the client asks the sentinels.
pub const AUTHORITY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Cycles of active expiry a second; Redis's hz.
pub const EXPIRY_HZ: u64 = 10;

/// Time of one cycle: a quarter of a tick, as Redis's slow cycle.
pub const EXPIRY_BUDGET: std::time::Duration = std::time::Duration::from_millis(25);

/// Keys that one lock of a shard deletes.
pub const EXPIRY_BATCH: usize = 64;

/// How often memory is looked at where it is nearly what `maxmemory` allows, and after how many such looks otherwise: a look
/// takes a tenth of a millisecond.
pub const EVICTION_TICK: std::time::Duration = std::time::Duration::from_millis(20);
pub const EVICTION_TICKS_APART: u32 = 5;

/// Keys that go before a command at the most, and within a look: some two microseconds each. Redis's bound is 500 us.
pub const EVICTION_SLICE: usize = 64;
pub const EVICTION_BATCH: usize = 1_000;

/// Commands of a pipeline that are decoded before the first is executed, so that the memory they need is on its way.
pub const LOOK_AHEAD: usize = 16;

/// Connections of the gateway that were accepted and not yet taken over by its server.
pub const GATEWAY_BACKLOG: usize = 64;

/// A buffer that is kept for the next client may be so large.
pub const SPARE_BUFFER_BYTES: usize = 8 * READ_BYTES;

/// How long a master may take to give a carried client's session back: it may be holding commands itself.
pub const TAKE_BACK_WAIT: std::time::Duration = AUTHORITY_WAIT.saturating_add(std::time::Duration::from_secs(1));

/// Pause between two probes of the connection on which a client is carried.
pub const CARRY_KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(1);

/// Growth of the journal that is worth a checkpoint, however little data there is: a start replays as much in a second.
pub const CHECKPOINT_JOURNAL_BYTES: u64 = 128 << 20;

/// What has changed becomes rows after this time, however little it is.
pub const CHECKPOINT_AGE: std::time::Duration = std::time::Duration::from_secs(300);

/// How often the thread of the checkpoints looks whether one is due.
pub const CHECKPOINT_TICK: std::time::Duration = std::time::Duration::from_millis(250);

/// Pause between two passes, and before a failed one is tried again.
pub const CHECKPOINT_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a pass works before it rests.
pub const CHECKPOINT_WORK: std::time::Duration = std::time::Duration::from_millis(2);

/// It rests so many times as long as it has worked: a quarter of a core at most.
pub const CHECKPOINT_REST: u32 = 3;

/// Bytes of rows in one batch. A shard with more is one batch all the same.
pub const CHECKPOINT_BATCH_BYTES: usize = 2 << 20;

/// Bytes of rows in memory before they are flushed. Below the size of the database's own buffer, so that it never has a
/// reason to stop those who write the journal.
pub const CHECKPOINT_FLUSH_BYTES: usize = 24 << 20;

/// Bytes of a large value in one row of a checkpoint: some steps of its image, and nothing that the database minds.
pub const LARGE_ROW_BYTES: usize = 256 << 10;

/// Files of rows that are not merged yet: beyond it a pass waits, so that a start has few to look through.
pub const UNMERGED_FILES: u64 = 24;

/// How often it is looked whether messages have to leave the memory, and whether a queue needs some that nobody has asked for.
pub const PAGER_TICK: std::time::Duration = std::time::Duration::from_millis(20);
pub const PAGER_LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// Bytes of messages that leave the memory together: one flush for all of them.
pub const PAGER_STEP_BYTES: usize = 16 << 20;

/// Rows of a queue that are deleted one by one; more in a row go as a range, which every later read has to look at.
pub const ROWS_DELETED_ONE_BY_ONE: u64 = 64;

/// A clean stop spends so long on a last checkpoint, so that the next start is fast.
pub const CHECKPOINT_AT_STOP: std::time::Duration = std::time::Duration::from_secs(5);

/// Bytes of the journal that members of a cluster keep on disk for replicas that were away.
pub const JOURNAL_KEEP_BYTES: u64 = 256 << 20;

/// How often shards are looked after whose counters of changes run away: they have to be within 2^30 of each other, and
/// no shard can be changed so often in this time.
pub const SETTLE_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// Threads that load rows: beyond it the memory is the bound.
pub const LOAD_THREADS: usize = 16;

/// A Redis client that has said nothing for so long is between two uses of its connection: it is closed first when the
/// node stops.
pub const IDLE_BEFORE_LEAVING: std::time::Duration = std::time::Duration::from_millis(500);

/// How often a node that stops looks who has left.
pub const DRAIN_LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// After the grace: how long what clients have sent may take to be answered.
pub const LAST_REPLIES: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a connection that we close waits for the client's end, so that it reads our last words.
pub const CLOSING: std::time::Duration = std::time::Duration::from_millis(100);

/// Commands of one client after which it is the turn of others on its thread: a fraction of a millisecond.
pub const TURN_COMMANDS: usize = 1024;

/// Time after which it is their turn, as soon as the command under way has ended.
pub const TURN_TIME: std::time::Duration = std::time::Duration::from_micros(500);

/// Bytes of input and output of all clients together beyond which nobody is read whose replies are stuck.
pub const CLIENTS_BYTES: usize = 1 << 30;

/// Bytes of unsent replies beyond which a client's mail stays where it is: there its subscribers share it.
pub const MAIL_ROOM_BYTES: usize = 64 << 10;

/// Elements that SRANDMEMBER, HRANDFIELD and ZRANDMEMBER give for a negative count at the most: they repeat, so the
/// collection is no bound. Drawing them takes a second.
pub const REPEATED_ELEMENTS: u64 = 1 << 22;

/// Arguments of a command for which memory is kept.
pub const SPARE_ARGUMENTS: usize = 256;

/// How often clients are looked at that may be idle or read too slowly.
pub const CLIENTS_SWEEP: std::time::Duration = std::time::Duration::from_secs(1);

/// Places for letters that a client keeps when it has read its mail.
pub const SPARE_LETTERS: usize = 16;

/// Bytes of publications that wait to be sent to one other node.
pub const PUBLICATIONS_BYTES: usize = 32 << 20;

/// How often a node looks whether there are other nodes to hear publications from.
pub const PUBLICATIONS_LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// Error codes that are counted one by one: those of commands are some thirty, scripts may invent others. As Redis.
pub const ERROR_CODES: usize = 128;

/// `slowlog-log-slower-than`, in microseconds.
pub const SLOW_AFTER_US: i64 = 10_000;

/// Where a command that took longer than this may have to be shown, short commands are measured one by one.
pub const EXACT_BELOW_US: i64 = 1_000;

/// The part of the memory beyond which publishers are held. What a message takes is counted without what the allocator and
/// the journal add to it, so the rest is not much.
pub const WATERMARK_PERCENT: usize = 40;

/// The same where the memory of the machine cannot be read.
pub const WATERMARK_BYTES: usize = 1 << 30;

/// Largest message that `--max-message-size` may allow, as in RabbitMQ.
pub const MESSAGE_BYTES_MOST: u64 = 512 << 20;

/// How long MQ.GET lends a message if it does not say.
pub const LEASE_MS: u64 = 60_000;

/// Messages that one MQ.GET gives at the most: it has the broker to itself.
pub const MESSAGES_A_GET: usize = 1000;

/// Bytes of a regular expression, compiled: those of permissions and policies are a line long.
pub const PATTERN_BYTES: usize = 1 << 20;

/// How long a shard may be held by somebody who passes by. While a long command runs, whoever needs a shard that is held for
/// longer waits for it on the thread of scripts.
pub const PASSING_HOLD: std::time::Duration = std::time::Duration::from_micros(500);

/// Elements of a value from which on a command that walks over all of them runs on the thread of scripts: some milliseconds.
pub const LONG_ELEMENTS: usize = 20_000;

/// Commands of a transaction from which on EXEC runs there, likewise.
pub const LONG_EXEC: usize = 10_000;

/// Of those commands that may walk over a value, or run a script, each too short to be long by itself.
pub const LONG_EXEC_WALKS: usize = 32;

/// Bytes of a text, likewise.
pub const LONG_BYTES: usize = 4 << 20;

/// Bytes of each text of LCS, likewise: its time is their product.
pub const LONG_LCS_BYTES: usize = 2 << 10;

/// Digits of the end of a range from which on it may be a long one.
pub const LONG_RANGE_DIGITS: usize = 4;

/// A script that never took longer runs on the thread of its connection, as any command.
pub const QUICK_SCRIPT_US: u64 = 2_000;

/// Scripts of EVAL that are kept for EVALSHA: programs that write their arguments into the text would fill the memory.
pub const EVALUATED_SCRIPTS: usize = 500;

/// Bytes of all scripts that are kept.
pub const SCRIPT_BYTES: usize = 128 << 20;

/// Bytes of the code of all libraries of functions.
pub const LIBRARY_BYTES: usize = 64 << 20;

/// Functions of all libraries: an interpreter holds each, and can hold some eight thousand values.
pub const FUNCTIONS: usize = 3000;

/// Arguments of a command that FUNCTION STATS shows.
pub const SHOWN_ARGUMENTS: usize = 32;

/// How long a script that has written may hold up a change of the role: longer, and it is ended with what it has done.
pub const SCRIPT_AT_DOOR: std::time::Duration = std::time::Duration::from_millis(100);

/// What took this long is looked at more closely: the slow log and LATENCY may want it.
pub const SLOW_LOOK_US: u64 = 1_000;
