//! Thousands of connections from one address to every port of every process, more than the master has descriptors. Some
//! say nothing, some begin a request and never end it. Clients of other addresses may not feel it, and can connect.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Error, Struck, Wound};
use crate::cluster::{Cluster, NODES, SENTINELS};
use crate::sys::Moment;

/// Connections to each port of the master: with six ports, three times its descriptors.
const AT_MASTER: usize = 2000;
/// To each port of everybody else.
const ELSEWHERE: usize = 200;
/// What the drill itself needs beside them.
const OWN: usize = 1000;
/// Connections that are made at the same time.
const AT_ONCE: usize = 100;
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Half a request of each protocol, or nothing.
const BEGINNINGS: [&[u8]; 5] =
    [b"", b"*2\r\n$3\r\nGET\r\n$5\r\nab", b"AMQP\0\0\x09\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0", b"GET / HT"];
/// Beyond the descriptors of a node; with fewer it was no storm.
const LEAST_BEYOND: usize = 1000;

/// A storm under way: the connections that it holds.
#[derive(Debug)]
pub struct Storm(Vec<TcpStream>);

pub(super) async fn begin(cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let as_count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let room = as_count(tercet_edge::files::raise_descriptors()).saturating_sub(OWN);
    let least = as_count(cluster.descriptors().unwrap_or_default()) + LEAST_BEYOND;
    let from = SocketAddr::new(cluster.strangers(), 0);
    let at_ports = |ports: Vec<SocketAddr>, each: usize| {
        ports.into_iter().flat_map(move |port| std::iter::repeat_n(port, each)).collect::<Vec<_>>()
    };
    let mut all = at_ports(cluster.node_ports(master), AT_MASTER);
    let others = (0..NODES).filter(|node| *node != master).flat_map(|node| cluster.node_ports(node));
    all.extend(at_ports(others.collect(), ELSEWHERE));
    all.extend(at_ports((0..SENTINELS).flat_map(|index| cluster.sentinel_ports(index)).collect(), ELSEWHERE));
    all.truncate(room);
    let at = Moment::now();
    let held = futures::stream::iter(all.into_iter().enumerate())
        .map(|(number, to)| connect(from, to, BEGINNINGS[number % BEGINNINGS.len()]))
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect::<Vec<_>>()
        .await;
    if held.len() < least {
        return Err(Error::DidNotHappen(format!("only {} connections were made, {room} would fit", held.len())));
    }
    Ok(Struck { at, killed: None, wound: Wound::Storm(Storm(held)) })
}

/// A refusal is part of the storm.
async fn connect(from: SocketAddr, to: SocketAddr, beginning: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(from).ok()?;
    let mut stream = timeout(CONNECT_LIMIT, socket.connect(to)).await.ok()?.ok()?;
    // It may have been closed at once.
    _ = timeout(CONNECT_LIMIT, stream.write_all(beginning)).await;
    Some(stream)
}

impl Storm {
    pub(super) fn end(self) {
        drop(self.0);
    }
}
