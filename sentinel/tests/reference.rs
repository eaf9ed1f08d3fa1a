//! The same requests to a sentinel of Redis and to ours: equal replies, and maps with the same fields in the same order.

mod common;

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{Cluster, eventually, free_port, resp::Client};
use tercet_proto::resp::Value;

/// Replies that are equal to the letter; MASTER stands for the port of the master.
const EQUAL: &str = "ping|ping hello|role|sentinel|sentinel nosuch|sentinel myid x|sentinel masters x|sentinel master|\
sentinel master other|sentinel slaves other|sentinel replicas other|sentinel sentinels other|\
sentinel get-master-addr-by-name mymaster|sentinel get-master-addr-by-name other|\
sentinel is-master-down-by-addr 127.0.0.1 MASTER 0 *|sentinel is-master-down-by-addr 127.0.0.1 1 0 *|\
sentinel is-master-down-by-addr 127.0.0.1 x 0 *|sentinel is-master-down-by-addr 127.0.0.1 MASTER x *|\
sentinel is-master-down-by-addr 127.0.0.1 MASTER 0|sentinel ckquorum mymaster|sentinel ckquorum other|\
sentinel failover other|sentinel reset nomatch*|sentinel flushconfig|sentinel flushconfig x|sentinel pending-scripts|\
sentinel info-cache|sentinel info-cache other|sentinel set mymaster|sentinel set other down-after-milliseconds 1|\
sentinel set mymaster down-after-milliseconds|sentinel set mymaster down-after-milliseconds abc|\
sentinel set mymaster down-after-milliseconds 0|sentinel set mymaster down-after-milliseconds 1000|\
sentinel set mymaster nosuch 1|sentinel set mymaster failover-timeout x|sentinel set mymaster failover-timeout 1000|\
sentinel set mymaster parallel-syncs 0|sentinel set mymaster parallel-syncs 2|sentinel set mymaster quorum 2|\
sentinel set mymaster quorum 0|sentinel set mymaster notification-script /x|\
sentinel set mymaster client-reconfig-script /x|sentinel set mymaster master-reboot-down-after-period 100|\
sentinel set mymaster parallel-syncs 2 failover-timeout|sentinel monitor|sentinel monitor a b c|sentinel remove other|\
sentinel config|sentinel config get|sentinel config get nosuch|sentinel config set|sentinel config set nosuch 1|\
sentinel config foo bar|sentinel debug nosuch 1|sentinel simulate-failure help|sentinel simulate-failure nosuch|\
sentinel simulate-failure|info nosuch|publish foo bar|get a|set a b|select 0|client getname|client setname x|\
client getname|client nosuch|acl whoami|acl users|auth x|auth a b|hello 9|hello x|psubscribe + -";

/// Maps, or lists of them, in which ours may hold more behind Redis' fields.
const MAPS: &str =
    "sentinel master mymaster|sentinel masters|sentinel replicas mymaster|sentinel sentinels mymaster|sentinel debug";

#[test]
fn a_sentinel_of_redis_answers_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(directory.path()) else {
        return eprintln!("!!!!!!!!!! SKIPPED: no redis-server: our sentinel was not put beside that of Redis");
    };
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let mut ours = cluster.sentinels[0].client();
    eventually("all are known", || (ours.master_field("num-other-sentinels")? == "2").then_some(()));
    let mut theirs = Client::connect(redis.sentinels[0]);
    eventually("all are known to Redis too", || {
        (theirs.master_field("num-other-sentinels")? == "2" && theirs.master_field("num-slaves")? == "1").then_some(())
    });
    let our_port = cluster.nodes[0].port + 1;
    for request in MAPS.split('|') {
        let (wanted, found) = (fields(&ask(&mut theirs, request, 0)), fields(&ask(&mut ours, request, 0)));
        assert!(!wanted.is_empty(), "{request}");
        assert_eq!(found[..wanted.len().min(found.len())], wanted, "{request}");
    }
    for request in EQUAL.split('|') {
        let wanted = shown(&ask(&mut theirs, request, redis.master), redis.master);
        assert_eq!(shown(&ask(&mut ours, request, our_port), our_port), wanted, "{request}");
    }
}

fn ask(client: &mut Client, request: &str, master: u16) -> Value {
    let request = request.replace("MASTER", &master.to_string());
    client.command(&request.split(' ').collect::<Vec<_>>())
}

/// The names of the fields of a flat map, or of the first one of a list.
fn fields(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if matches!(items.first(), Some(Value::Array(_))) => fields(&items[0]),
        Value::Array(items) => {
            items.iter().step_by(2).filter_map(|name| name.as_text().map(|name| name.into_owned())).collect()
        }
        other => panic!("no map: {other:?}"),
    }
}

/// With its kind, and without what differs by chance.
fn shown(value: &Value, master: u16) -> String {
    let text = match value {
        Value::Simple(text) => format!("+{text}"),
        Value::Error(text) => format!("-{text}"),
        Value::Bulk(bytes) => format!("${}", String::from_utf8_lossy(bytes)),
        Value::Array(items) => items.iter().map(|item| shown(item, master)).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    text.replace(&master.to_string(), "MASTER")
}

/// A master with a replica and three sentinels, ended in any case when the test ends.
struct Redis {
    processes: Vec<Child>,
    master: u16,
    sentinels: Vec<u16>,
}

impl Redis {
    /// None, if there is no redis-server.
    fn start(directory: &Path) -> Option<Self> {
        let (master, replica) = (free_port(), free_port());
        let mut redis = Self { processes: Vec::new(), master, sentinels: (0..3).map(|_| free_port()).collect() };
        let port = master.to_string();
        redis.run(directory, &["--port", &port, "--save", "", "--bind", "127.0.0.1"])?;
        let of = format!("127.0.0.1 {master}");
        let own = replica.to_string();
        redis.run(directory, &["--port", &own, "--save", "", "--bind", "127.0.0.1", "--replicaof", &of])?;
        redis.await_port(master);
        let mut client = Client::connect(master);
        eventually("the replica is there", || {
            let info = client.command(&["INFO", "replication"]);
            info.as_text().is_some_and(|text| text.contains("state=online")).then_some(())
        });
        for sentinel in redis.sentinels.clone() {
            let file = directory.join(format!("{sentinel}.conf"));
            let text = format!("port {sentinel}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} 2\n");
            std::fs::write(&file, text).expect("a file can be written");
            redis.run(directory, &[&file.display().to_string(), "--sentinel"])?;
            redis.await_port(sentinel);
        }
        Some(redis)
    }

    fn run(&mut self, directory: &Path, args: &[&str]) -> Option<()> {
        let mut command = Command::new("redis-server");
        self.processes.push(command.args(args).current_dir(directory).stdout(Stdio::null()).spawn().ok()?);
        Some(())
    }

    fn await_port(&mut self, port: u16) {
        let last = self.processes.last_mut().expect("one was started");
        eventually("redis-server answers", || {
            let ended = last.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "redis-server has ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
