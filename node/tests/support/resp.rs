//! Nodes that serve RESP, and a client that sends what a test says.

use std::net::SocketAddr;

use tercet_edge::accept::{self, Door};
use tercet_edge::token;
use tercet_node::resp;
use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sentinel::{CLUSTER, FakeSentinel};
use super::{TestNode, bounded, until};
use tercet_proto::grpc::peer::v1::{PrepareHandoverReply, PrepareHandoverRequest};

/// A node with a RESP port.
pub struct Served {
    pub node: TestNode,
    pub address: SocketAddr,
}

impl std::ops::Deref for Served {
    type Target = TestNode;

    fn deref(&self) -> &TestNode {
        &self.node
    }
}

pub async fn serve(name: &str, sentinel: &FakeSentinel, flags: &[&str]) -> Served {
    let listener = accept::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    let node = TestNode::start_with(name, &[sentinel.port], &[&["--resp-port", &port], flags].concat());
    let door = Door::new("RESP", listener, node.node.places.clone());
    tokio::spawn(resp::accept(node.node.clone(), door, vec![tokio::runtime::Handle::current()]));
    Served { node, address }
}

/// Two nodes in the ISR; the first one leads.
pub async fn pair(sentinel: &FakeSentinel, flags: [&[&str]; 2]) -> (Served, Served) {
    let (n1, n2) = (serve("n1", sentinel, flags[0]).await, serve("n2", sentinel, flags[1]).await);
    bounded(sentinel.lead(&n1, &[&n1], vec![n1.member(), n2.member()])).await;
    n1.is_serving().await;
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    (n1, n2)
}

/// The first half of a hand-over: `from` holds, and `to` has everything.
pub async fn prepare(sentinel: &FakeSentinel, from: &TestNode, to: &TestNode, hold_ms: u64) -> PrepareHandoverReply {
    let (cluster_id, epoch, target) = (CLUSTER.to_owned(), sentinel.state().epoch, to.name().to_owned());
    let request = PrepareHandoverRequest { cluster_id, epoch, target, hold_ms };
    let reply = bounded(async { from.peer().await.prepare_handover(request).await.unwrap().into_inner() }).await;
    assert!(reply.accepted, "{}", reply.refusal);
    reply
}

/// The second half.
pub async fn commit(sentinel: &FakeSentinel, from: &TestNode, to: &TestNode) {
    bounded(sentinel.lead(to, &[from, to], vec![from.member(), to.member()])).await;
}

pub async fn hand_over(sentinel: &FakeSentinel, from: &TestNode, to: &TestNode) {
    until("both are in the ISR", || sentinel.isr_names().len() == 2).await;
    prepare(sentinel, from, to, 2000).await;
    commit(sentinel, from, to).await;
    to.is_serving().await;
}

pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    pub async fn send(&mut self, words: &[&str]) {
        self.stream.write_all(&Value::command(words)).await.unwrap();
    }

    /// `None`: the connection was closed.
    pub async fn reply(&mut self) -> Option<Value> {
        let read = async {
            loop {
                if let Some((value, used)) = Value::decode(&self.received).unwrap() {
                    self.received.drain(..used);
                    return Some(value);
                }
                if self.stream.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        bounded(read).await
    }

    /// The reply as redis-cli would show it, more or less.
    pub async fn call(&mut self, words: &[&str]) -> String {
        self.send(words).await;
        self.text().await
    }

    /// Hands a session over, as a node that knows the token and `password` does; the last answer.
    pub async fn carry(&mut self, epoch: u64, password: &str, session: &str) -> String {
        self.send(&["tercet.carry", &epoch.to_string(), "hello", &token::to_hex(&[7; 16])]).await;
        self.welcomed(epoch, password, session).await
    }

    /// The same behind the announcement.
    pub async fn welcomed(&mut self, epoch: u64, password: &str, session: &str) -> String {
        let (caller, number) = ([7; 16], epoch.to_string());
        let welcome = self.text().await;
        let master: [u8; 16] = token::from_hex(&welcome.as_bytes()[..32]).unwrap();
        let parts: [&[u8]; 4] = [&caller, &master, &epoch.to_be_bytes(), password.as_bytes()];
        let proof = super::token().prove("tercet carry", &parts);
        match self.call(&["tercet.carry", &number, "proof", &token::to_hex(&proof)]).await {
            proven if proven == "PROVEN" => self.call(&["tercet.carry", &number, "session", session]).await,
            refused => refused,
        }
    }

    pub async fn text(&mut self) -> String {
        self.reply().await.map_or("closed".to_owned(), |value| show(&value))
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Error(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Push(items) => format!(">[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}
