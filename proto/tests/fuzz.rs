//! Whatever comes in at a door: the decoders answer with a value or an error, and never with the end of the process.
//!
//! Inputs are broken pieces of good ones. `TERCET_FUZZ_SEED` replays a run; `TERCET_FUZZ_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::{Bytes, BytesMut};
use prost::Message;
use tercet_proto::amqp::{self, ContentHeader, FieldTable, Method, Properties, TableView};
use tercet_proto::grpc::{peer::v1 as peer, sentinel::v1 as sentinel};
use tercet_proto::resp::{self, Limits, Value};

/// Numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A good input with some of its bytes changed, left out, doubled or made extreme.
    fn broken(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let other = seeds[self.below(seeds.len())].clone();
                    let from = self.below(other.len());
                    bytes.splice(at..at, other[from..].iter().copied());
                }
                _ => {
                    let end = bytes.len().min(at + 8);
                    bytes.splice(at..end, self.next().to_be_bytes());
                }
            }
        }
        bytes.truncate(4096);
        bytes
    }
}

/// Runs `check` on broken inputs; a panic is told with the seed and the input.
fn fuzz(name: &str, seeds: &[Vec<u8>], check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let number = |variable: &str, default: u64| std::env::var(variable).map_or(default, |text| text.parse().unwrap());
    let seed = number("TERCET_FUZZ_SEED", 1);
    let mut dice = Dice(seed);
    for round in 0..number("TERCET_FUZZ_ROUNDS", 20_000) {
        let input = dice.broken(seeds);
        if std::panic::catch_unwind(|| check(&input)).is_err() {
            panic!("{name}: seed {seed}, round {round}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn requests_and_replies_of_resp() {
    let seeds = [
        Value::command(&["SET", "key", "value"]),
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-1\r\n".to_vec(),
        b"SET key \"va\\x00lue\" 'single'\r\nPING\r\n".to_vec(),
        b"*1\r\n$1048577\r\n*1048577\r\n".to_vec(),
        b"%1\r\n+key\r\n,1.5e3\r\n~2\r\n#t\r\n_\r\n>1\r\n(12345678901234567890\r\n=7\r\ntxt:abc\r\n".to_vec(),
        b"*-1\r\n$-1\r\n:9223372036854775808\r\n-ERR x\r\n".to_vec(),
    ];
    fuzz("resp", &seeds, |input| {
        for limits in [Limits::default(), Limits::default().unauthenticated()] {
            let (mut decoder, mut at) = (resp::Decoder::default(), 0);
            while let Ok(Some(used)) = decoder.decode(&input[at..], &limits) {
                assert!(decoder.args().slices(&input[at..]).all(|arg| arg.len() <= input.len()));
                assert!(used > 0 && used <= input.len() - at);
                at += used;
            }
            // However it is cut: the same, or more is wanted.
            let mut resumed = resp::Decoder::default();
            for end in 0..input.len().min(64) {
                if !matches!(resumed.decode(&input[..end], &limits), Ok(None)) {
                    break;
                }
            }
        }
        if let Ok(Some((_, used))) = Value::decode(input) {
            assert!(used <= input.len());
        }
    });
}

fn table() -> Vec<u8> {
    let mut table = Vec::new();
    // A string, a table in a table, an array, numbers, a timestamp.
    let inner =
        b"\x01aS\0\0\0\x02hi\x01bF\0\0\0\x04\x01ct\x01\x01dA\0\0\0\x04b\x01V!\x01eI\0\0\0\x05\x01fT\0\0\0\0\0\0\0\x07";
    table.extend_from_slice(&(inner.len() as u32).to_be_bytes());
    table.extend_from_slice(inner);
    table
}

#[test]
fn frames_methods_headers_and_tables_of_amqp() {
    let mut seeds = vec![table(), b"AMQP\0\0\x09\x01".to_vec(), b"\x08\0\0\0\0\0\0\xce".to_vec()];
    for class in [10u16, 20, 40, 50, 60, 85, 90] {
        for method in [10u16, 11, 20, 30, 31, 40, 50, 80, 90, 120] {
            let mut payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
            payload.extend_from_slice(b"\0\0\x05queue\x03key\0");
            payload.extend_from_slice(&table());
            let mut frame = vec![1, 0, 1];
            frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            frame.extend_from_slice(&payload);
            frame.push(0xce);
            seeds.extend([payload, frame]);
        }
    }
    let mut header = b"\0\x3c\0\0\0\0\0\0\0\0\0\x05\xff\xfc\x04text\x03utf".to_vec();
    header.extend_from_slice(&table());
    header.extend_from_slice(b"\x02\x09\x02id\x02re\x015\x02ms\0\0\0\0\0\0\0\x01\x01t\x01u\x01a\x01c");
    seeds.push(header);
    fuzz("amqp", &seeds, |input| {
        let bytes = Bytes::copy_from_slice(input);
        let mut buffer = BytesMut::from(input);
        _ = amqp::take_protocol_header(&mut buffer);
        let decoder = amqp::Decoder::new(4096);
        let mut buffer = BytesMut::from(input);
        while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
        if let Ok(method) = Method::decode(&bytes) {
            let mut out = Vec::new();
            method.encode(&mut out);
            assert_eq!(Method::decode(&out.into()).unwrap(), method);
        }
        if let Ok(header) = ContentHeader::decode(&bytes) {
            _ = (header.properties.to_basic(), header.properties.detached());
        }
        if let Ok(properties) = Properties::from_raw(bytes) {
            _ = (properties.to_basic(), properties.with_headers(&FieldTable::new()));
        }
        if let Ok(view) = TableView::parse(input) {
            _ = (view.find("a"), view.to_table());
        }
        _ = FieldTable::decode(input);
    });
}

#[test]
fn messages_of_peers() {
    let hello = peer::ReplicaHello {
        name: "n1".into(),
        epoch: u64::MAX,
        history: vec![peer::EpochStart { epoch: 1, start_offset: 2 }; 3],
        partial: Some(peer::PartialSync { epoch: 3, partitions: vec![1, 2, 1 << 31], youngest_cut: 9 }),
        ..peer::ReplicaHello::default()
    };
    let status = peer::NodeStatus { replicas: vec![peer::ReplicaLag::default(); 2], ..peer::NodeStatus::default() };
    let raft = sentinel::RaftRequest { payload: Bytes::from_static(b"{\"vote\":{}}"), ..Default::default() };
    let seeds = [hello.encode_to_vec(), status.encode_to_vec(), raft.encode_to_vec()];
    fuzz("peers", &seeds, |input| {
        _ = peer::FromReplica::decode(input);
        _ = peer::FromMaster::decode(input);
        _ = peer::ReplicaHello::decode(input);
        _ = peer::NodeStatus::decode(input);
        _ = peer::PromoteRequest::decode(input);
        _ = sentinel::RaftRequest::decode(input);
        _ = sentinel::OrderRequest::decode(input);
        _ = sentinel::ChangeIsrRequest::decode(input);
    });
}
