//! What a cluster says of itself, and when it is whole: one master, two replicas in sync with it, sentinels that agree.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tercet_edge::{dial::Dialer, token::Token};
use tercet_proto::grpc::cluster::v1::ClusterState;
use tercet_proto::grpc::sentinel::v1::WatchRequest;
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use super::launch::TOKEN;
use super::{Cluster, Error, Family, Member, NODES, SENTINELS};
use crate::client::resp::{Connection, Error as RespError};

/// How long one question may take; a process that is being killed does not answer.
const QUESTION_LIMIT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

/// A node's own words, from INFO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    pub role: String,
    pub run_id: String,
    pub connected_replicas: u64,
    pub link_up: bool,
}

/// What all six processes say at about one time.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `None`: it does not answer.
    pub nodes: Vec<Option<NodeView>>,
    /// The master's address in each sentinel's view.
    pub sentinels: Vec<Option<SocketAddr>>,
    /// Incarnations of the in-sync replicas, the master's included, as Raft holds them; `None` for a family without.
    pub in_sync: Option<Vec<String>>,
    pub epoch: u64,
    /// RESP addresses of the nodes, so that the views can be compared.
    pub addresses: Vec<SocketAddr>,
}

impl Status {
    /// The one node that says that it is master.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn master(&self) -> Result<usize, String> {
        let masters: Vec<_> = (0..self.nodes.len()).filter(|index| self.role(*index) == "master").collect();
        match masters.as_slice() {
            [one] => Ok(*one),
            [] => Err("no node is master".to_owned()),
            more => Err(format!("nodes {more:?} all say that they are master")),
        }
    }

    /// # Errors
    /// Says what is missing until the cluster is whole.
    pub fn whole(&self) -> Result<usize, String> {
        let master = self.master()?;
        for index in 0..self.nodes.len() {
            if index != master {
                self.replica(index)?;
            }
        }
        let replicas = self.nodes[master].as_ref().map_or(0, |view| view.connected_replicas);
        if replicas as usize != NODES - 1 {
            return Err(format!("{} has {replicas} replicas", Member::Node(master)));
        }
        for (index, named) in self.sentinels.iter().enumerate() {
            if *named != Some(self.addresses[master]) {
                return Err(format!("{} names {named:?} as master", Member::Sentinel(index)));
            }
        }
        if let Some(in_sync) = &self.in_sync
            && in_sync.len() != NODES
        {
            return Err(format!("{} nodes are in sync", in_sync.len()));
        }
        Ok(master)
    }

    /// # Errors
    /// Says what keeps a node from being an in-sync replica, as this incarnation.
    pub fn replica(&self, index: usize) -> Result<(), String> {
        let member = Member::Node(index);
        let Some(view) = &self.nodes[index] else { return Err(format!("{member} does not answer")) };
        if view.role != "slave" {
            return Err(format!("{member} says that it is {}", view.role));
        }
        if !view.link_up {
            return Err(format!("{member} has no link to the master"));
        }
        if self.in_sync.as_ref().is_some_and(|in_sync| !in_sync.contains(&view.run_id)) {
            return Err(format!("{member} is not in sync"));
        }
        Ok(())
    }

    fn role(&self, index: usize) -> &str {
        self.nodes[index].as_ref().map_or("", |view| view.role.as_str())
    }
}

impl Cluster {
    /// Asks everybody.
    pub async fn status(&self) -> Status {
        let nodes = futures::future::join_all((0..NODES).map(|index| self.node_view(index)));
        let discovery = self.discovery();
        let asked = (0..SENTINELS).map(|index| {
            let (discovery, address) = (discovery.clone(), self.sentinel_address(index));
            async move { discovery.ask(address).await.ok().flatten() }
        });
        let (nodes, sentinels, state) = tokio::join!(nodes, futures::future::join_all(asked), self.raft_state());
        let state = state.unwrap_or_default();
        Status {
            nodes: nodes.into_iter().map(Result::ok).collect(),
            sentinels,
            in_sync: match self.family() {
                Family::Tercet => Some(state.isr.into_iter().map(|member| member.incarnation).collect()),
                Family::Redis => None,
            },
            epoch: state.epoch,
            addresses: (0..NODES).map(|index| self.resp_address(index)).collect(),
        }
    }

    /// Waits until the cluster is whole; says who is master.
    ///
    /// # Errors
    /// A process has ended, or the limit has passed.
    pub async fn wait_until_whole(&mut self, limit: Duration) -> Result<usize, Error> {
        self.wait_until(limit, Status::whole).await
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// A process has ended, or the limit has passed; with what `condition` said last.
    pub async fn wait_until<T>(
        &mut self,
        limit: Duration,
        condition: impl FnMut(&Status) -> Result<T, String>,
    ) -> Result<T, Error> {
        self.look_until(limit, POLL, condition).await
    }

    /// Waits until `condition` holds, and looks `every` so often. A look is a dozen connections and some milliseconds of
    /// everybody's time: who measures latencies meanwhile must not look often.
    ///
    /// # Errors
    /// A process has ended, or the limit has passed; with what `condition` said last.
    pub async fn look_until<T>(
        &mut self,
        limit: Duration,
        every: Duration,
        mut condition: impl FnMut(&Status) -> Result<T, String>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + limit;
        loop {
            self.check_running()?;
            let missing = match condition(&self.status().await) {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            if Instant::now() > deadline {
                return Err(Error::NotHealthy { limit, missing });
            }
            sleep(every).await;
        }
    }

    /// The sentinel that says that it leads Raft.
    pub async fn raft_leader(&self) -> Option<usize> {
        let all = (0..SENTINELS).map(|index| leads(self.sentinel_metrics_address(index)));
        futures::future::join_all(all).await.into_iter().position(|leads| leads == Some(true))
    }

    async fn node_view(&self, index: usize) -> Result<NodeView, RespError> {
        let mut connection = Connection::open(self.resp_address(index), QUESTION_LIMIT).await?;
        connection.authenticate(self.password()).await?;
        let server = connection.info("server").await?;
        let replication = connection.info("replication").await?;
        Ok(NodeView {
            role: replication.field("role").unwrap_or_default().to_owned(),
            run_id: server.field("run_id").unwrap_or_default().to_owned(),
            connected_replicas: replication.number("connected_slaves").unwrap_or(0),
            link_up: replication.field("master_link_status") == Some("up"),
        })
    }

    /// The newest state that a sentinel holds.
    pub(crate) async fn raft_state(&self) -> Option<ClusterState> {
        if self.family() == Family::Redis {
            return None;
        }
        let all = (0..SENTINELS).map(|index| watch_once(self.sentinel_peer_address(index).to_string()));
        let states = futures::future::join_all(all).await;
        states.into_iter().flatten().max_by_key(|state| state.log_index)
    }
}

/// By its metrics.
async fn leads(metrics: SocketAddr) -> Option<bool> {
    timeout(QUESTION_LIMIT, async {
        let mut stream = TcpStream::connect(metrics).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text.lines().any(|line| line == "tercet_sentinel_raft_leader 1"))
    })
    .await
    .ok()
    .flatten()
}

async fn watch_once(address: String) -> Option<ClusterState> {
    timeout(QUESTION_LIMIT, async {
        let dialer = Dialer { token: Token::parse(TOKEN).ok()?, tls: None };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let mut client = SentinelClient::new(dialer.connect(&endpoint).await.ok()?);
        let request = WatchRequest::default();
        client.watch(request).await.ok()?.into_inner().message().await.ok().flatten()
    })
    .await
    .ok()
    .flatten()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn at(index: usize) -> SocketAddr {
        format!("127.0.0.1:{}", 100 + index).parse().unwrap()
    }

    /// A whole cluster with the master at 0.
    pub(crate) fn whole() -> Status {
        let view = |index: usize| {
            let role = if index == 0 { "master" } else { "slave" };
            let connected_replicas = if index == 0 { 2 } else { 0 };
            Some(NodeView {
                role: role.to_owned(),
                run_id: format!("run{index}"),
                connected_replicas,
                link_up: index != 0,
            })
        };
        Status {
            nodes: (0..NODES).map(view).collect(),
            sentinels: vec![Some(at(0)); SENTINELS],
            in_sync: Some((0..NODES).map(|index| format!("run{index}")).collect()),
            epoch: 1,
            addresses: (0..NODES).map(at).collect(),
        }
    }

    #[test]
    fn a_whole_cluster_names_its_master() {
        assert_eq!(whole().whole(), Ok(0));
    }

    #[test]
    fn whatever_is_missing_is_named() {
        let missing = |change: &dyn Fn(&mut Status)| {
            let mut status = whole();
            change(&mut status);
            status.whole().unwrap_err()
        };
        assert_eq!(missing(&|status| status.nodes[0] = None), "no node is master");
        assert!(missing(&|status| status.nodes[1].as_mut().unwrap().role = "master".to_owned()).contains("[0, 1]"));
        assert_eq!(
            missing(&|status| status.nodes[2].as_mut().unwrap().link_up = false),
            "n3 has no link to the master"
        );
        assert_eq!(
            missing(&|status| status.in_sync.as_mut().unwrap()[1] = "an older life".to_owned()),
            "n2 is not in sync"
        );
        assert_eq!(missing(&|status| status.sentinels[2] = Some(at(1))), "s3 names Some(127.0.0.1:101) as master");
        assert_eq!(missing(&|status| status.nodes[0].as_mut().unwrap().connected_replicas = 1), "n1 has 1 replicas");
    }
}
