//! One thread of a process stands still, and all its others go on: what a deadlock or an endless loop would do to it. The
//! process is heard, renews its lease and answers its peers, and serves nobody.

use super::{Error, Struck, Wound};
use crate::cluster::{Cluster, Member};
use crate::sys::{Moment, StoppedThread};

/// The threads that serve clients have this name, and a number.
const SERVING: &str = "io-";

/// The threads that are stopped.
#[derive(Debug)]
pub struct Wedged(Vec<StoppedThread>);

pub(super) fn master(cluster: &mut Cluster, node: usize) -> Result<Struck, Error> {
    let pid = cluster.pid(Member::Node(node))?;
    let threads = serving(pid).map_err(|error| Error::NoAnswer(format!("which threads {pid} has: {error}")))?;
    if threads.is_empty() {
        return Err(Error::DidNotHappen(format!("process {pid} has no thread {SERVING}*")));
    }
    let at = Moment::now();
    let stop = |thread| StoppedThread::stop(thread).map_err(|error| Error::DidNotHappen(error.to_string()));
    let stopped: Vec<_> = threads.into_iter().map(stop).collect::<Result<_, _>>()?;
    Ok(Struck { at, killed: None, wound: Wound::Wedged(Wedged(stopped)) })
}

fn serving(pid: u32) -> std::io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let name = std::fs::read_to_string(task.path().join("comm"))?;
        if name.starts_with(SERVING)
            && let Some(thread) = task.file_name().to_str().and_then(|id| id.parse().ok())
        {
            found.push(thread);
        }
    }
    Ok(found)
}

impl Wedged {
    pub(super) fn go_on(self) -> Result<(), Error> {
        self.0.into_iter().try_for_each(StoppedThread::go_on).map_err(|error| Error::DidNotHappen(error.to_string()))
    }
}
