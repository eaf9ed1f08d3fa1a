//! A cluster whose every port is under TLS, of real processes: it serves, it fails over, and strangers are told apart.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tercet_chaos::binaries::{self, Program};
use tercet_chaos::ports::Block;
use tercet_chaos::process::Process;
use tercet_edge::dial::Dialer;
use tercet_edge::socket::Socket;
use tercet_edge::tls::outside::{self, Outside};
use tercet_edge::tls::{Certificates, Files, Tls};
use tercet_edge::token::Token;
use tercet_proto::grpc::peer::v1::peer_client::PeerClient;
use tercet_proto::grpc::peer::v1::{FenceRequest, PromoteRequest};
use tercet_proto::grpc::schema::Request;
use tercet_proto::grpc::schema::gateway_client::GatewayClient;
use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;

/// Whatever has to happen happens within this time, or the test fails.
const BOUND: Duration = Duration::from_secs(60);
const HOST: &str = "127.0.0.1";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, folder: &Path, name: &str, trusted: &Self) -> Files {
        self.sign_as(CertificateParams::new(vec![HOST.to_owned()]).unwrap(), folder, name, trusted)
    }

    /// A certificate whose time is over.
    fn sign_expired(&self, folder: &Path, name: &str) -> Files {
        let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.sign_as(params, folder, name, self)
    }

    fn sign_as(&self, mut params: CertificateParams, folder: &Path, name: &str, trusted: &Self) -> Files {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let at = |what: &str| folder.join(format!("{name}.{what}"));
        std::fs::write(at("crt"), params.signed_by(&key, &self.0).unwrap().pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        std::fs::write(at("ca"), trusted.0.pem()).unwrap();
        let (clients, peers) = (Certificates::Unasked, Certificates::Unasked);
        Files { certificate: at("crt"), key: at("key"), authority: Some(at("ca")), clients, peers }
    }
}

struct Cluster {
    folder: TempDir,
    ports: Block,
    us: Arc<Tls>,
    stranger: Arc<Tls>,
    /// One of us, whose certificate has expired.
    late: Outside,
    nodes: Vec<Process>,
    _sentinels: Vec<Process>,
}

#[derive(Clone, Copy)]
enum NodePort {
    Resp,
    Amqp,
    Gateway,
    Http,
    Metrics,
    Peer,
}

impl Cluster {
    fn start() -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Block::take().unwrap());
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let us = Tls::load(ours.sign(folder.path(), "client", &ours)).unwrap();
        // It trusts us, and we do not trust who has signed its certificate.
        let stranger = Tls::load(theirs.sign(folder.path(), "stranger", &ours)).unwrap();
        let expired = ours.sign_expired(folder.path(), "late");
        let late = Outside::load(&outside::Files {
            authority: expired.authority,
            pair: Some((expired.certificate, expired.key)),
        });
        let late = late.unwrap();
        let mut cluster = Self { folder, ports, us, stranger, late, nodes: Vec::new(), _sentinels: Vec::new() };
        let peers =
            |port: &dyn Fn(u16) -> u16| (0..3).map(|i| format!("{HOST}:{}", port(i))).collect::<Vec<_>>().join(",");
        let sentinels = peers(&|index| cluster.sentinel_port(index, 1));
        let nodes = peers(&|index| cluster.port(index, NodePort::Peer));
        for index in 0..3 {
            let name = format!("s{}", index + 1);
            let mut command = cluster.command(Program::Sentinel, &name, &ours);
            command.args(["--resp-port", "0", "--resp-tls-port", &cluster.sentinel_port(index, 0).to_string()]);
            command.args(["--peer-port", &cluster.sentinel_port(index, 1).to_string()]);
            command.args(["--metrics-port", &cluster.sentinel_port(index, 2).to_string()]);
            command.args(["--sentinels", &sentinels, "--nodes", &nodes]);
            cluster._sentinels.push(Process::start(command, &cluster.log(&name)).unwrap());
        }
        for index in 0..3 {
            let name = format!("n{}", index + 1);
            let mut command = cluster.command(Program::Node, &name, &ours);
            let port = |which| cluster.port(index, which).to_string();
            command.args(["--resp-port", "0", "--resp-tls-port", &port(NodePort::Resp)]);
            command.args(["--amqp-port", "0", "--amqp-tls-port", &port(NodePort::Amqp)]);
            command.args(["--gateway-port", "0", "--gateway-tls-port", &port(NodePort::Gateway)]);
            command.args(["--http-port", "0", "--http-tls-port", &port(NodePort::Http)]);
            command.args(["--metrics-port", "0", "--metrics-tls-port", &port(NodePort::Metrics)]);
            command.args(["--peer-port", &port(NodePort::Peer), "--sentinels", &sentinels]);
            cluster.nodes.push(Process::start(command, &cluster.log(&name)).unwrap());
        }
        cluster
    }

    fn command(&self, program: Program, name: &str, authority: &Authority) -> Command {
        let files = authority.sign(self.folder.path(), name, authority);
        let mut command = Command::new(binaries::find(program).unwrap());
        command
            .args(["--name", name, "--bind", HOST, "--log-format", "text", "--data"])
            .arg(self.folder.path().join(name));
        command.arg("--tls-cert-file").arg(files.certificate).arg("--tls-key-file").arg(files.key);
        command.arg("--tls-ca-file").arg(files.authority.unwrap()).args(["--tls-peers", "yes"]);
        command.args(["--tls-auth-clients", "optional"]);
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn logged(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap()
    }

    fn port(&self, node: u16, which: NodePort) -> u16 {
        self.ports.port(6 * node + which as u16)
    }

    fn sentinel_port(&self, sentinel: u16, which: u16) -> u16 {
        self.ports.port(18 + 3 * sentinel + which)
    }

    fn dialer(tls: &Arc<Tls>) -> Dialer {
        Dialer { token: None, tls: Some(Arc::clone(tls)) }
    }

    /// What a port under TLS answers; none, if nobody is there.
    async fn ask(&self, port: u16, words: &[&str]) -> Option<Value> {
        let socket = Self::dialer(&self.us).socket(HOST, port).await.ok()?;
        let asked = async {
            send(&socket, &Value::command(words)).await?;
            let mut received = Vec::new();
            loop {
                if let Ok(Some((value, _))) = Value::decode(&received) {
                    return Some(value);
                }
                if (&mut &socket).read_buf(&mut received).await.ok()? == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
    }

    /// What a port of HTTP under TLS answers to GET, as guest.
    async fn get(&self, port: u16, path: &str) -> String {
        let socket = Self::dialer(&self.us).socket(HOST, port).await.unwrap();
        let login = "Z3Vlc3Q6Z3Vlc3Q=";
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {login}\r\nconnection: close\r\n\r\n");
        send(&socket, request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Some end a connection without a word of TLS.
        _ = (&mut &socket).read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// `status` of a program, with the certificates of a process that runs.
    fn operator(&self, program: Program, name: &str) -> Command {
        let at = |what: &str| self.folder.path().join(format!("{name}.{what}"));
        let mut command = Command::new(binaries::find(program).unwrap());
        command.args(["status", "--bind", HOST]).arg("--tls-cert-file").arg(at("crt"));
        command.arg("--tls-key-file").arg(at("key")).arg("--tls-ca-file").arg(at("ca"));
        if program == Program::Sentinel {
            let peer = format!("{HOST}:{}", self.sentinel_port(0, 1));
            command.args(["--sentinels", &peer, "--peer-port", &self.sentinel_port(0, 1).to_string()]);
            command.args(["--nodes", &format!("{HOST}:1")]);
        }
        command
    }

    /// The master that all replicas are in sync with, by the sentinels' and its own word.
    async fn master(&self) -> Option<u16> {
        let told = self.ask(self.sentinel_port(0, 0), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await?;
        let Value::Array(told) = told else { return None };
        let Value::Bulk(port) = told.get(1)? else { return None };
        let port: u16 = std::str::from_utf8(port).ok()?.parse().ok()?;
        let node = (0..3).find(|node| self.port(*node, NodePort::Resp) == port)?;
        matches!(self.ask(port, &["SET", "probe", "x"]).await?, Value::Simple(_)).then_some(node)
    }

    async fn wait_for_master(&self, is_right: impl Fn(u16) -> bool) -> u16 {
        let began = Instant::now();
        loop {
            if let Some(master) = self.master().await.filter(|node| is_right(*node)) {
                return master;
            }
            assert!(
                began.elapsed() < BOUND,
                "no master; n1 says:\n{}\ns1 says:\n{}",
                self.logged("n1"),
                self.logged("s1")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_logged(&self, name: &str, text: &str) {
        let began = Instant::now();
        while !self.logged(name).contains(text) {
            assert!(began.elapsed() < BOUND, "{name} has not logged {text:?}:\n{}", self.logged(name));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn send(mut socket: &Socket, bytes: &[u8]) -> Option<()> {
    socket.write_all(bytes).await.ok()?;
    socket.flush().await.ok()
}

#[tokio::test]
async fn a_cluster_under_tls_serves_fails_over_and_keeps_strangers_out() {
    let mut cluster = Cluster::start();
    let first = cluster.wait_for_master(|_| true).await;
    let resp = |cluster: &Cluster, node| cluster.port(node, NodePort::Resp);
    assert_eq!(cluster.ask(resp(&cluster, first), &["SET", "key", "value"]).await, Some(Value::Simple("OK".into())));

    // The other protocols: a broker's first frame is a method on channel 0; the gateway counts.
    let broker = Cluster::dialer(&cluster.us).socket(HOST, cluster.port(first, NodePort::Amqp)).await.unwrap();
    send(&broker, b"AMQP\0\0\x09\x01").await.unwrap();
    let mut frame = [0; 3];
    (&mut &broker).read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [1, 0, 0]);
    // On any node: a replica carries it to the master.
    for node in 0..3 {
        let endpoint =
            Endpoint::from_shared(format!("http://{HOST}:{}", cluster.port(node, NodePort::Gateway))).unwrap();
        let mut gateway = GatewayClient::new(Cluster::dialer(&cluster.us).connect(&endpoint).await.unwrap());
        let mut answers = gateway.call(futures::stream::iter([Request { num: 41 }])).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().num, 42, "through node {node}");
    }

    // The management API on any node, which asks the master under TLS; the metrics; the commands of an operator.
    for node in 0..3 {
        let answer = cluster.get(cluster.port(node, NodePort::Http), "/api/cluster").await;
        let master = format!("\"master\":\"n{}\"", first + 1);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&master), "through node {node}: {answer}");
    }
    let answer = cluster.get(cluster.port(first, NodePort::Metrics), "/metrics").await;
    assert!(answer.contains("tercet_role{role=\"master\"} 1"), "{answer}");
    for (program, name, port) in
        [(Program::Node, "n1", "--http-tls-port"), (Program::Sentinel, "s1", "--resp-tls-port")]
    {
        let (http, sentinel) = (cluster.port(0, NodePort::Http), cluster.sentinel_port(0, 0));
        let number = if name == "n1" { http } else { sentinel }.to_string();
        let mut command = cluster.operator(program, name);
        command.args([port, &number, if name == "n1" { "--http-port" } else { "--resp-port" }, "0"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(&format!("n{}", first + 1)), "{name}: {output:?}");
    }

    // Plain bytes on a port under TLS; a certificate of somebody else on the port for peers.
    let mut plain = TcpStream::connect((HOST, resp(&cluster, first))).await.unwrap();
    plain.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"+PONG"));
    let name = format!("n{}", first + 1);
    cluster.is_logged(&name, "what came is not TLS: plain bytes on a TLS port?").await;
    let replica = (first + 1) % 3;
    let stranger = Cluster::dialer(&cluster.stranger).socket(HOST, cluster.port(replica, NodePort::Peer)).await;
    if let Ok(stranger) = stranger {
        let mut answer = Vec::new();
        assert!((&mut &stranger).read_to_end(&mut answer).await.is_err() || answer.is_empty());
    }
    let name = format!("n{}", replica + 1);
    cluster.is_logged(&name, "the other side's certificate is not signed by who is in --tls-ca-file").await;

    if let Ok(late) = cluster.late.connect(HOST, cluster.port(replica, NodePort::Peer)).await {
        let mut answer = Vec::new();
        assert!((&mut &late).read_to_end(&mut answer).await.is_err() || answer.is_empty());
    }
    cluster.is_logged(&name, "the other side's certificate has expired").await;

    // A failover, and nothing acknowledged is lost.
    cluster.nodes[usize::from(first)].kill().unwrap();
    let second = cluster.wait_for_master(|node| node != first).await;
    assert_eq!(cluster.ask(resp(&cluster, second), &["GET", "key"]).await, Some(Value::Bulk(b"value".to_vec())));
}

#[test]
fn a_node_whose_own_certificate_has_expired_says_so_and_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new("ours").sign_expired(folder.path(), "n1");
    let mut command = Command::new(binaries::find(Program::Node).unwrap());
    command.args(["--resp-tls-port", "1", "--data"]).arg(folder.path().join("data"));
    command.arg("--tls-cert-file").arg(files.certificate).arg("--tls-key-file").arg(files.key);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("the certificate has expired on"), "{said}");
}

#[tokio::test]
async fn orders_without_the_token_or_with_another_one_are_refused_and_logged() {
    let (folder, ports) = (tempfile::tempdir().unwrap(), Block::take().unwrap());
    let mut command = Command::new(binaries::find(Program::Node).unwrap());
    command.args([
        "--name",
        "n1",
        "--bind",
        HOST,
        "--log-format",
        "text",
        "--cluster-token",
        "the-token-of-this-cluster",
        "--data",
    ]);
    command.arg(folder.path().join("n1"));
    for (index, kind) in ["resp", "amqp", "gateway", "http", "metrics", "peer"].into_iter().enumerate() {
        command.args([&format!("--{kind}-port"), &ports.port(index as u16).to_string()]);
    }
    // Nobody of them is there: it waits for an order to be anything.
    command.args(["--sentinels", &format!("{HOST}:{}", ports.port(6))]);
    let log = folder.path().join("n1.log");
    let _node = Process::start(command, &log).unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{HOST}:{}", ports.port(5))).unwrap();
    let began = Instant::now();
    for (token, why) in [("", "it has no token"), ("the-token-of-somebody-else", "its token is another one")] {
        let dialer = Dialer { token: Token::parse(token).unwrap(), tls: None };
        let channel = loop {
            match dialer.connect(&endpoint).await {
                Ok(channel) => break channel,
                Err(error) => assert!(began.elapsed() < BOUND, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        // To become master, and to hand everything over.
        let mut peer = PeerClient::new(channel);
        let promotion = peer.promote(PromoteRequest::default()).await.unwrap_err();
        let fence = peer.fence(FenceRequest::default()).await.unwrap_err();
        assert_eq!((promotion.code(), fence.code()), (Code::Unauthenticated, Code::Unauthenticated), "{why}");
        let line = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains(why)) {
                break line.to_owned();
            }
            assert!(began.elapsed() < BOUND, "nothing of {why:?} in\n{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        // Who, what, and what to look at; no word of either token.
        for part in ["a call from a stranger was refused", HOST, "/Promote", "--cluster-token"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("the-token-of"), "{line}");
    }
}
