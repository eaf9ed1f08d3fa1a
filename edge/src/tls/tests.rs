use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::socket::Socket;

/// Signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Files of a process called `name`, which trusts `trusted`.
    fn files(&self, folder: &TempDir, name: &str, trusted: &Self, validity: Validity) -> Files {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if validity == Validity::Over {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let at = |what: &str| folder.path().join(format!("{name}.{what}"));
        std::fs::write(at("crt"), certificate.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        std::fs::write(at("ca"), trusted.0.pem()).unwrap();
        Files {
            certificate: at("crt"),
            key: at("key"),
            authority: Some(at("ca")),
            clients: Certificates::Optional,
            peers: Certificates::Required,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Validity {
    Now,
    Over,
}

/// A connection under TLS between two processes, or why each thinks that there is none.
async fn meet(server: Arc<Tls>, client: Arc<Tls>, alpn: Alpn) -> (Result<Socket, IoError>, Result<Socket, IoError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let (stream, _) = listener.accept().await.unwrap();
        server.accept(stream, alpn).await.and_then(|stream| Socket::tls(stream.into(), None))
    };
    let connected = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let socket = Socket::tls(client.connect(stream, "localhost", alpn).await?.into(), None)?;
        // TLS 1.3 tells the client of its own certificate's refusal with the first read.
        if alpn == Alpn::Peer {
            let mut buffer = Vec::new();
            socket.readable().await?;
            socket.try_read_buf(&mut buffer)?;
        }
        Ok(socket)
    };
    let greeted = async {
        let socket = accepted.await?;
        if alpn == Alpn::Peer {
            (&mut &socket).write_all(b"hello").await?;
            (&mut &socket).flush().await?;
        }
        Ok(socket)
    };
    tokio::join!(greeted, connected)
}

#[tokio::test]
async fn bytes_go_both_ways_and_none_is_left_in_a_buffer() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let tls = |name| Tls::load(authority.files(&folder, name, &authority, Validity::Now)).unwrap();
    let (server, client) = meet(tls("n1"), tls("n2"), Alpn::Unnamed).await;
    let (server, client) = (server.unwrap(), client.unwrap());
    assert_eq!((server.common_name().as_deref(), client.common_name().as_deref()), (Some("n2"), Some("n1")));
    // More than the sockets of the kernel take, so that it lies in buffers of TLS for a while.
    let sent: Vec<u8> = (0..8_000_000u32).map(|number| number as u8).collect();
    let write = async {
        let mut at = 0;
        while at < sent.len() {
            match server.try_write(&sent[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => server.writable().await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        // Nobody flushes: waiting for an answer does.
        let mut answer = [0; 2];
        (&mut &server).read_exact(&mut answer).await.unwrap();
        answer
    };
    let read = async {
        let mut received = Vec::new();
        while received.len() < sent.len() {
            client.readable().await.unwrap();
            match client.try_read_buf(&mut received) {
                Ok(count) => assert!(count > 0, "it has ended after {}", received.len()),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        (&mut &client).write_all(b"ok").await.unwrap();
        (&mut &client).flush().await.unwrap();
        received
    };
    let (answer, received) = tokio::join!(write, read);
    assert!(received == sent && &answer == b"ok");
}

#[tokio::test]
async fn an_end_is_seen_as_an_end() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let tls = |name| Tls::load(authority.files(&folder, name, &authority, Validity::Now)).unwrap();
    let (server, client) = meet(tls("n1"), tls("n2"), Alpn::Unnamed).await;
    let (server, client) = (server.unwrap(), client.unwrap());
    (&mut &client).write_all(b"bye").await.unwrap();
    (&mut &client).shutdown().await.unwrap();
    let mut received = Vec::new();
    (&mut &server).read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"bye");
}

#[tokio::test]
async fn strangers_are_told_apart_in_words() {
    let (folder, ours, theirs) = (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("theirs"));
    let load = |files| Tls::load(files).unwrap();
    let us = load(ours.files(&folder, "us", &ours, Validity::Now));
    let reason = |result: Result<Socket, IoError>| explain(&result.unwrap_err());

    let wrong_issuer = load(theirs.files(&folder, "them", &ours, Validity::Now));
    let (server, _) = meet(Arc::clone(&us), wrong_issuer, Alpn::Peer).await;
    assert_eq!(reason(server), "the other side's certificate is not signed by who is in --tls-ca-file");

    let distrustful = load(ours.files(&folder, "distrustful", &theirs, Validity::Now));
    let (server, client) = meet(Arc::clone(&us), distrustful, Alpn::Unnamed).await;
    assert_eq!(reason(client), "the other side's certificate is not signed by who is in --tls-ca-file");
    assert_eq!(reason(server), "the other side does not trust who has signed our certificate");

    let plain = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"PING\r\n*1\r\n$4\r\nPING\r\n").await.unwrap();
        us.accept(listener.accept().await.unwrap().0, Alpn::Unnamed).await.unwrap_err()
    };
    assert_eq!(explain(&plain.await), "what came is not TLS: plain bytes on a TLS port?");
}

#[test]
fn files_that_do_not_serve_are_one_line() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let files = |name, validity| authority.files(&folder, name, &authority, validity);
    let error = |files| Tls::load(files).unwrap_err().to_string();
    assert!(error(files("old", Validity::Over)).contains("the certificate has expired on Jan  1"));
    let good = files("good", Validity::Now);
    let key = files("other", Validity::Now).key;
    assert!(error(Files { key, ..good.clone() }).contains("do not fit each other"));
    assert!(error(Files { key: good.certificate.clone(), ..good.clone() }).contains("give a file in PEM format"));
    assert!(error(Files { certificate: "/nowhere".into(), ..good.clone() }).contains("/nowhere"));
    assert!(error(Files { authority: None, ..good }).contains("--tls-ca-file"));
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_a_bad_one_is_not() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let server = Tls::load(authority.files(&folder, "n1", &authority, Validity::Now)).unwrap();
    let client = Tls::load(authority.files(&folder, "n2", &authority, Validity::Now)).unwrap();
    let serial = |socket: &Socket| socket.common_name();
    let (_, before) = meet(Arc::clone(&server), Arc::clone(&client), Alpn::Unnamed).await;
    assert_eq!(serial(&before.unwrap()).as_deref(), Some("n1"));
    let renewed = authority.files(&folder, "renewed", &authority, Validity::Now);
    std::fs::copy(&renewed.certificate, folder.path().join("n1.crt")).unwrap();
    assert!(server.reload().is_err(), "the key is still the old one");
    std::fs::copy(&renewed.key, folder.path().join("n1.key")).unwrap();
    server.reload().unwrap();
    let (_, after) = meet(server, client, Alpn::Unnamed).await;
    assert_eq!(serial(&after.unwrap()).as_deref(), Some("renewed"));
}
