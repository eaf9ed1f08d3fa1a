//! Carries a client to the master, once this node is not it any more.
//!
//! The session and what was not executed go first, then bytes both ways. When another epoch begins (or this node has to
//! stop) the session comes back, and the connection goes on as if it had never been away.

use std::cell::Cell;
use std::io::{Error, ErrorKind};

use tercet_edge::place::Place;
use tercet_edge::socket::Socket;
use tercet_edge::token;
use tercet_proto::grpc::cluster::v1::Address;
use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Connection, Moved};
use crate::clients::Client;
use crate::clock;
use crate::ids::Epoch;
use crate::leaving::{Leave, is_idle};
use crate::limits;
use crate::node::Node;
use crate::resp::frame::{self, Frames, Kind, Meeting, Side};
use crate::role::{Role, Standing};

/// An open connection to the master, which has taken the session up.
struct Upstream {
    socket: Socket,
    _place: Place,
    epoch: Epoch,
}

/// How carrying ended.
enum Ended {
    /// The session has come back, with what was not executed.
    Back(Vec<u8>),
    /// The connection to the master broke, or the client has left.
    Broken,
}

impl Connection {
    /// Carries the client for as long as another node is master.
    pub(super) async fn carry(&mut self) -> std::io::Result<Moved> {
        let mut standings = self.session.node.authority.subscribe();
        let Some(upstream) = self.find_master(&mut standings).await? else { return Ok(Moved::Back) };
        if self.session.tracker().is_some_and(|tracker| tracker.redirect != 0) {
            // Who is told instead stays here, and would not learn what changes there: the client has to begin anew.
            return Ok(Moved::Over);
        }
        // The master listens for the client now; what came before that comes first.
        self.session.end_subscriptions();
        self.collect();
        if !self.send_all().await? {
            return Ok(Moved::Over);
        }
        let mut held = self.input.take();
        let ended = {
            let epoch = upstream.epoch;
            let another_epoch = async {
                _ = standings.wait_for(|standing| standing.epoch != epoch || standing.role != Role::Replica).await;
            };
            let client = &self.session.client;
            client.about.lock().last_active = clock::boot_now();
            let leaves = leaves(self.session.node.leaving.subscribe(), client);
            let there = forward(&self.stream, &upstream.socket, &mut held, another_epoch, leaves, client);
            let back = backward(&upstream.socket, &self.stream);
            tokio::pin!(there, back);
            tokio::select! {
                ended = &mut back => ended?,
                stopped = &mut there => {
                    stopped?;
                    timeout(limits::TAKE_BACK_WAIT, back).await.map_err(|_| Error::from(ErrorKind::TimedOut))??
                }
            }
        };
        let Ended::Back(frame) = ended else { return Ok(Moved::Over) };
        let (packed, rest) = frame::split_session(&frame).ok_or(ErrorKind::InvalidData)?;
        self.session.is_authenticated = self.session.unpack(packed).map_err(Error::other)?;
        let mut input = rest.to_vec();
        // What was read from the client and has not gone there.
        input.append(&mut held);
        self.input.set(input);
        self.decoder.restart();
        Ok(Moved::Back)
    }

    /// Hands the session to the master. `None`: this node is not a replica any more, so look again.
    async fn find_master(&mut self, standings: &mut watch::Receiver<Standing>) -> std::io::Result<Option<Upstream>> {
        let deadline = Instant::now() + limits::AUTHORITY_WAIT;
        loop {
            let (role, epoch) = {
                let standing = standings.borrow_and_update();
                (standing.role, standing.epoch)
            };
            if role != Role::Replica {
                return Ok(None);
            }
            let master = self.session.node.link.read().master.as_ref().and_then(|master| master.resp.clone());
            let (node, packed) = (std::sync::Arc::clone(&self.session.node), self.session.pack());
            let error = match master {
                Some(master) => match timeout(limits::CONNECT_TIMEOUT, dial(&node, &master, epoch, packed)).await {
                    Ok(Ok(upstream)) => return Ok(Some(upstream)),
                    Ok(Err(error)) => error,
                    Err(_) => Error::from(ErrorKind::TimedOut),
                },
                None => Error::from(ErrorKind::AddrNotAvailable),
            };
            // Nothing was sent that would be executed: the client need not know of a failed attempt.
            if error.kind() == ErrorKind::PermissionDenied || Instant::now() > deadline {
                tracing::warn!(client = self.session.client.id, %error, "cannot carry a client to the master");
                return Err(error);
            }
            _ = timeout(limits::RECONNECT_PAUSE[0], standings.changed()).await;
        }
    }
}

/// Opens a connection to the master and hands a packed session over.
async fn dial(node: &Node, master: &Address, epoch: Epoch, packed: Vec<u8>) -> std::io::Result<Upstream> {
    let refused = |what: &str| Error::new(ErrorKind::PermissionDenied, what.to_owned());
    let port = u16::try_from(master.port).map_err(Error::other)?;
    // The connection to the master is a descriptor too.
    let place = node.places.take_further().map_err(Error::other)?;
    let socket = node.carrier(node.config.resp_port).socket(&master.host, port).await?;
    socket.with_tcp(watch_over)?;
    let mut stream = &socket;
    let caller = token::nonce();
    let number = epoch.0.to_string();
    let say = |what: &str, bytes: &[u8]| {
        Value::command(&[frame::COMMAND.as_bytes(), number.as_bytes(), what.as_bytes(), bytes])
    };
    stream.write_all(&say("hello", token::to_hex(&caller).as_bytes())).await?;
    stream.flush().await?;
    let mut answer = [0; frame::WELCOME];
    stream.read_exact(&mut answer).await?;
    let (nonce, proof) = frame::read_welcome(&answer).ok_or_else(|| refused("the master answers something else"))?;
    let meeting = Meeting { caller, master: nonce, epoch };
    let (mut words, mut expected) = (Vec::new(), Vec::new());
    if let Some(known) = meeting.prove(Side::Master, &node.config) {
        if !token::is_equal(&known, &proof) {
            return Err(refused("who is at the master's address does not know the cluster's token"));
        }
        let ours = meeting.prove(Side::Caller, &node.config).unwrap_or_default();
        words.extend(say("proof", token::to_hex(&ours).as_bytes()));
        expected.extend_from_slice(frame::PROVEN);
    }
    words.extend(say("session", &packed));
    expected.extend_from_slice(frame::ACCEPTED);
    stream.write_all(&words).await?;
    stream.flush().await?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await?;
    if answer != expected {
        let answer = String::from_utf8_lossy(&answer).trim().to_owned();
        return Err(refused(&format!("the master answers {answer:?}")));
    }
    Ok(Upstream { socket, _place: place, epoch })
}

/// A master that has vanished without a word is noticed, though nothing else happens on the connection.
fn watch_over(socket: socket2::SockRef<'_>) -> std::io::Result<()> {
    let (idle, silence) = (limits::CARRY_KEEPALIVE, limits::AUTHORITY_WAIT);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle).with_interval(idle))?;
    socket.set_tcp_user_timeout(Some(silence))
}

thread_local! {
    /// A client that is carried and says nothing holds no buffer: those of a thread share one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Resolves when this node stops and the client may be closed, as far as can be seen here.
async fn leaves(mut asked: watch::Receiver<Leave>, client: &Client) {
    // An error says that the node is gone.
    _ = asked.wait_for(|leave| *leave != Leave::Stay).await;
    while *asked.borrow() == Leave::WhenIdle && !is_idle(client.about.lock().last_active, clock::boot_now()) {
        _ = timeout(limits::DRAIN_LOOK, asked.changed()).await;
    }
}

/// Sends `held` and whatever else the client says, until it leaves or `stop` resolves, or `leaves` does after all was
/// sent. What could not be sent is in `held` then.
async fn forward(
    client: &Socket,
    mut upstream: &Socket,
    held: &mut Vec<u8>,
    stop: impl Future<Output = ()>,
    leaves: impl Future<Output = ()>,
    about: &Client,
) -> std::io::Result<()> {
    tokio::pin!(stop, leaves);
    loop {
        let mut sent = 0;
        while sent < held.len() {
            tokio::select! {
                biased;
                () = &mut stop => {
                    held.drain(..sent);
                    return upstream.shutdown().await;
                }
                count = upstream.write(&held[sent..]) => sent += count?,
            }
        }
        lend(std::mem::take(held));
        tokio::select! {
            biased;
            () = &mut stop => return upstream.shutdown().await,
            () = &mut leaves => return upstream.shutdown().await,
            ready = client.readable() => ready?,
        }
        *held = BUFFER.take();
        held.reserve(limits::READ_BYTES);
        match client.try_read_buf(held) {
            Ok(0) => return upstream.shutdown().await,
            Ok(_) => about.about.lock().last_active = clock::boot_now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Passes replies on, until the session comes back or the master closes.
async fn backward(upstream: &Socket, mut client: &Socket) -> std::io::Result<Ended> {
    let (mut frames, mut session) = (Frames::default(), Vec::new());
    loop {
        upstream.readable().await?;
        let mut buffer = BUFFER.take();
        buffer.reserve(limits::READ_BYTES);
        match upstream.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(Ended::Broken),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut at = 0;
        while let Some(piece) = frames.next(&buffer, &mut at).map_err(Error::other)? {
            match piece.kind {
                Kind::Replies => client.write_all(&buffer[piece.range]).await?,
                Kind::Session => {
                    if session.len() + piece.range.len() > limits::QUERY_BUFFER_BYTES.saturating_mul(2) {
                        return Err(Error::from(ErrorKind::FileTooLarge));
                    }
                    session.extend_from_slice(&buffer[piece.range]);
                    if piece.is_last {
                        return Ok(Ended::Back(session));
                    }
                }
            }
        }
        client.flush().await?;
        lend(buffer);
    }
}

/// Leaves a buffer for whoever is carried next, unless a large value has made it large.
fn lend(mut buffer: Vec<u8>) {
    if buffer.capacity() <= limits::SPARE_BUFFER_BYTES {
        buffer.clear();
        BUFFER.set(buffer);
    }
}
