//! Somebody who does not know the cluster's token, or knows another one, gives orders on every port for peers: fetches
//! all data as a replica, fences the master at the last epoch there is, holds its clients for ever, names itself master,
//! raises Raft's term. And somebody who knows it asks for what nobody may: an epoch that bars all later ones.
//!
//! Each order has to be refused, and nobody may feel any of it.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tercet_edge::dial::Dialer;
use tercet_edge::guard::Trusted;
use tercet_edge::token::Token;
use tercet_proto::grpc::cluster::v1::{Address, ClusterState, IsrMember, Member as ClusterMember, SentinelMember};
use tercet_proto::grpc::peer::v1::peer_client::PeerClient;
use tercet_proto::grpc::peer::v1::{
    FenceRequest, FromReplica, ObserveRequest, PrepareHandoverRequest, PromoteRequest, PublicationsRequest,
    ReplicaHello, from_replica,
};
use tercet_proto::grpc::sentinel::v1::raft_request::Kind;
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tercet_proto::grpc::sentinel::v1::{
    ChangeIsrRequest, FailoverRequest, HelloRequest, OrderRequest, RaftRequest, Renew, SuspendRequest, WatchRequest,
};
use tercet_proto::resp::Value;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::{Error, Struck, Wound};
use crate::client::resp::Connection;
use crate::cluster::{Cluster, Member, NODES, SENTINELS, TOKEN};
use crate::sys::Moment;

const LIMIT: Duration = Duration::from_secs(5);
/// A token of another cluster.
const ANOTHER: &str = "the-token-of-somebody-else";
/// Bytes of an order that is refused before it is read.
const LARGE: usize = 200 << 20;

pub(super) async fn strike(cluster: &Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let at = Moment::now();
    let state = cluster.raft_state().await.ok_or_else(|| Error::NoAnswer("the cluster's state".to_owned()))?;
    let forger = Forger { state, incarnation: format!("{:040x}", random.random::<u128>()) };
    for token in [None, Some(ANOTHER)] {
        for node in 0..NODES {
            forger.order_node(&dial(cluster.peer_address(node), token).await?, refused_as_stranger).await?;
        }
        for sentinel in 0..SENTINELS {
            let channel = dial(cluster.sentinel_peer_address(sentinel), token).await?;
            forger.order_sentinel(&channel, refused_as_stranger).await?;
        }
    }
    forger.send_too_much(&dial(cluster.peer_address(master), None).await?).await?;
    for node in 0..NODES {
        forger.bar_all_later_ones(&dial(cluster.peer_address(node), Some(TOKEN)).await?).await?;
        carry(cluster, node).await?;
    }
    for sentinel in 0..SENTINELS {
        let channel = dial(cluster.sentinel_peer_address(sentinel), Some(TOKEN)).await?;
        forger.raise_term(sentinel, &channel).await?;
    }
    Ok(Struck { at, killed: None, wound: Wound::Done })
}

async fn dial(address: SocketAddr, token: Option<&str>) -> Result<Trusted, Error> {
    let no_answer = |error: String| Error::NoAnswer(format!("{address}: {error}"));
    let token = Token::parse(token.unwrap_or_default()).map_err(|error| no_answer(error.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| no_answer(error.to_string()))?;
    Dialer { token, tls: None }.connect(&endpoint).await.map_err(|error| no_answer(error.to_string()))
}

/// What has to come of an order, whose name is given.
type Judge = fn(&'static str, Result<(), Status>) -> Result<(), Error>;

fn refused_as_stranger(order: &'static str, outcome: Result<(), Status>) -> Result<(), Error> {
    match outcome {
        Err(status) if status.code() == Code::Unauthenticated => Ok(()),
        other => Err(Error::Broken(format!("a stranger's {order}: {other:?}"))),
    }
}

fn answered(order: &'static str, outcome: Result<(), Status>) -> Result<(), Error> {
    outcome.map_err(|status| Error::NoAnswer(format!("{order}: {status}")))
}

/// Waits for the answer and judges it.
macro_rules! order {
    ($judge:expr, $name:literal, $call:expr) => {
        match timeout(LIMIT, $call).await {
            Ok(answer) => $judge($name, answer.map(|_| ()))?,
            Err(_) => return Err(Error::Broken(format!("no answer to {} within {LIMIT:?}", $name))),
        }
    };
}

struct Forger {
    /// What the cluster has agreed on: nothing of it is a secret that helps.
    state: ClusterState,
    incarnation: String,
}

impl Forger {
    /// The state that makes the forger the master, for ever.
    fn forged(&self) -> ClusterState {
        let here = || Some(Address { host: "127.0.0.1".to_owned(), port: 1 });
        let member = ClusterMember {
            name: "forger".to_owned(),
            node_id: self.incarnation.clone(),
            peer: here(),
            resp: here(),
            amqp: here(),
            gateway: here(),
            http: here(),
        };
        ClusterState {
            epoch: u64::MAX,
            isr_version: u64::MAX,
            master: "forger".to_owned(),
            isr: vec![IsrMember { name: "forger".to_owned(), incarnation: self.incarnation.clone() }],
            members: vec![member],
            log_index: u64::MAX,
            ..self.state.clone()
        }
    }

    fn cluster_id(&self) -> String {
        self.state.cluster_id.clone()
    }

    fn hello(&self) -> FromReplica {
        let hello = ReplicaHello {
            cluster_id: self.cluster_id(),
            name: "forger".to_owned(),
            incarnation: self.incarnation.clone(),
            node_id: self.incarnation.clone(),
            epoch: self.state.epoch,
            ..Default::default()
        };
        FromReplica { message: Some(from_replica::Message::Hello(hello)) }
    }

    fn fence(&self) -> FenceRequest {
        FenceRequest { cluster_id: self.cluster_id(), epoch: u64::MAX }
    }

    fn hold(&self, epoch: u64) -> PrepareHandoverRequest {
        PrepareHandoverRequest { cluster_id: self.cluster_id(), epoch, target: "n1".to_owned(), hold_ms: u64::MAX }
    }

    async fn order_node(&self, channel: &Trusted, judge: Judge) -> Result<(), Error> {
        let mut node = PeerClient::new(channel.clone());
        order!(judge, "Observe", node.observe(ObserveRequest::default()));
        order!(judge, "Fence", node.fence(self.fence()));
        order!(judge, "Promote", node.promote(PromoteRequest { state: Some(self.forged()) }));
        order!(judge, "PrepareHandover", node.prepare_handover(self.hold(self.state.epoch)));
        order!(judge, "Replicate", node.replicate(futures::stream::iter([self.hello()])));
        let listen = PublicationsRequest { cluster_id: self.cluster_id(), node: "forger".to_owned() };
        order!(judge, "Publications", node.publications(listen));
        Ok(())
    }

    async fn order_sentinel(&self, channel: &Trusted, judge: Judge) -> Result<(), Error> {
        let mut sentinel = SentinelClient::new(channel.clone());
        let (cluster_id, epoch) = (self.cluster_id(), self.state.epoch);
        let renew = Renew {
            cluster_id: cluster_id.clone(),
            name: "forger".to_owned(),
            incarnation: self.incarnation.clone(),
            epoch: u64::MAX,
            ..Default::default()
        };
        order!(judge, "Lease", sentinel.lease(futures::stream::iter([renew])));
        order!(judge, "Watch", sentinel.watch(WatchRequest::default()));
        let isr = self.forged().isr;
        let change = ChangeIsrRequest {
            cluster_id: cluster_id.clone(),
            epoch,
            isr_version: self.state.isr_version,
            isr,
            ..Default::default()
        };
        order!(judge, "ChangeIsr", sentinel.change_isr(change));
        order!(judge, "Hello", sentinel.hello(HelloRequest::default()));
        let suspend =
            SuspendRequest { cluster_id: cluster_id.clone(), epoch, sentinel: "forger".to_owned(), unfit: true };
        order!(judge, "Suspend", sentinel.suspend(suspend));
        let failover = FailoverRequest { cluster_id, service: crate::cluster::SERVICE.to_owned(), forwarded: true };
        order!(judge, "Failover", sentinel.failover(failover));
        order!(judge, "Raft", sentinel.raft(self.vote(0, u64::MAX)));
        order!(judge, "Order", sentinel.order(OrderRequest::default()));
        Ok(())
    }

    /// Three large messages once ended a process.
    async fn send_too_much(&self, channel: &Trusted) -> Result<(), Error> {
        for _ in 0..3 {
            let mut node = PeerClient::new(channel.clone());
            let fence = FenceRequest { cluster_id: "f".repeat(LARGE), epoch: 1 };
            match timeout(LIMIT, node.fence(fence)).await {
                // Refused on its headers, or the connection has ended below it.
                Ok(Err(_)) | Err(_) => {}
                Ok(Ok(_)) => return Err(Error::Broken(format!("a stranger's message of {LARGE} bytes was taken"))),
            }
        }
        Ok(())
    }

    /// Who has the token is trusted, and even so no order may bar all later ones.
    async fn bar_all_later_ones(&self, channel: &Trusted) -> Result<(), Error> {
        let mut node = PeerClient::new(channel.clone());
        let fence = node.fence(self.fence()).await;
        if fence.as_ref().map_or(true, |reply| reply.get_ref().accepted) {
            return Err(Error::Broken(format!("a fence at the last epoch: {fence:?}")));
        }
        let promotion = node.promote(PromoteRequest { state: Some(self.forged()) }).await;
        if promotion.as_ref().map_or(true, |reply| reply.get_ref().accepted) {
            return Err(Error::Broken(format!("a promotion to the last epoch: {promotion:?}")));
        }
        let hold = node.prepare_handover(self.hold(u64::MAX)).await;
        if hold.as_ref().map_or(true, |reply| reply.get_ref().accepted) {
            return Err(Error::Broken(format!("a hold for ever: {hold:?}")));
        }
        Ok(())
    }

    async fn raise_term(&self, index: usize, channel: &Trusted) -> Result<(), Error> {
        let mut sentinel = SentinelClient::new(channel.clone());
        // It is understood, so it is the term that is refused below.
        order!(answered, "vote", sentinel.raft(self.vote(index, 0)));
        match timeout(LIMIT, sentinel.raft(self.vote(index, u64::MAX))).await {
            Ok(Err(_)) => Ok(()),
            other => Err(Error::Broken(format!("a vote for the last term: {other:?}"))),
        }
    }

    /// A request for the vote of a sentinel by another one.
    fn vote(&self, index: usize, term: u64) -> RaftRequest {
        let name = Member::Sentinel(index).to_string();
        let (asked, others): (Vec<_>, Vec<_>) = self.state.sentinels.iter().partition(|one| one.name == name);
        let sender = others.first();
        let leader = serde_json::json!({ "term": term, "node_id": sender.map(|sender| sender.raft_id) });
        let vote = serde_json::json!({ "leader_id": leader, "committed": false });
        let payload = serde_json::json!({ "vote": vote, "last_log_id": null }).to_string().into_bytes();
        let id = |sentinel: Option<&&SentinelMember>| sentinel.map(|one| one.sentinel_id.clone()).unwrap_or_default();
        RaftRequest {
            kind: Kind::Vote.into(),
            cluster_id: self.cluster_id(),
            target_id: id(asked.first()),
            sender_id: id(sender),
            payload: payload.into(),
        }
    }
}

/// Somebody hands over a session that is logged in, without the token.
async fn carry(cluster: &Cluster, node: usize) -> Result<(), Error> {
    let no_answer = |error: crate::client::resp::Error| Error::NoAnswer(format!("{}: {error}", Member::Node(node)));
    let mut connection = Connection::open(cluster.resp_address(node), LIMIT).await.map_err(no_answer)?;
    let nonce = "0".repeat(32);
    // The master answers with a proof of its own, others refuse; nobody takes what comes then.
    let hello = connection.command(&["tercet.carry", "1", "hello", &nonce]).await;
    if !matches!(hello, Ok(Value::Simple(_))) {
        return Ok(());
    }
    match connection.command(&["tercet.carry", "1", "proof", &"0".repeat(64)]).await {
        Ok(Value::Error(_)) | Err(_) => Ok(()),
        Ok(other) => Err(Error::Broken(format!("a stranger hands a session over: {other:?}"))),
    }
}
