//! One client: reads what is there, executes all of it in order, writes the replies once; events in between.

use std::sync::{Arc, atomic::Ordering};

use tercet_edge::socket::Socket;
use tercet_proto::resp::{Decoder, Encoder, Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::broadcast::{self, error::RecvError},
};

use super::{
    Client, Server, commands, pubsub,
    row::{Call, Next},
    session::{Login, Replies, Session},
};
use crate::{events::Event, limits};

const LIMITS: Limits = Limits {
    bulk_length: limits::BULK_LENGTH,
    array_length: limits::ARRAY_LENGTH,
    inline_length: 64 << 10,
    unauthenticated: None,
};

#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// Serves a client until it goes, is killed or breaks the protocol.
pub(crate) async fn run(stream: &mut Socket, server: Arc<Server>, client: Arc<Client>) {
    let login = if server.password.is_some() { Login::Needed } else { Login::Done };
    let mut session = Session::new(Arc::clone(&client), login);
    let mut events: Option<broadcast::Receiver<Event>> = None;
    let (mut decoder, mut buffer, mut out) = (Decoder::default(), Vec::new(), Vec::new());
    loop {
        if buffer.len() > limits::QUERY_BUFFER {
            return;
        }
        buffer.reserve(limits::READ_CHUNK);
        tokio::select! {
            biased;
            () = client.kill.notified() => return,
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                let end = execute_all(&server, &mut session, &mut decoder, &mut buffer, &mut out, stream).await;
                if events.is_none() && session.is_subscribed() {
                    events = Some(server.backend.events());
                } else if !session.is_subscribed() {
                    events = None;
                }
                if write(stream, &mut out).await == End::Closed || end == End::Closed {
                    // Redis closes in order: what was answered arrives.
                    drop(stream.shutdown().await);
                    return;
                }
            }
            event = next_event(&mut events) => match event {
                Ok(event) => {
                    pubsub::deliver(&session, &event, &mut out);
                    if write(stream, &mut out).await == End::Closed {
                        return;
                    }
                }
                // A subscriber that cannot keep up is closed, as Redis does at its output buffer limit.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            },
        }
    }
}

async fn next_event(events: &mut Option<broadcast::Receiver<Event>>) -> Result<Event, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn write(stream: &mut Socket, out: &mut Vec<u8>) -> End {
    if out.is_empty() {
        return End::Open;
    }
    let written = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    let result = tokio::time::timeout(limits::WRITE_TIMEOUT, written).await;
    out.clear();
    if matches!(result, Ok(Ok(()))) { End::Open } else { End::Closed }
}

/// Executes every whole command in the buffer.
async fn execute_all(
    server: &Arc<Server>,
    session: &mut Session,
    decoder: &mut Decoder,
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
    stream: &mut Socket,
) -> End {
    let mut at = 0;
    let end = loop {
        let limits = if session.login == Login::Needed { LIMITS.unauthenticated() } else { LIMITS };
        let used = match decoder.decode(&buffer[at..], &limits) {
            Ok(Some(used)) => used,
            Ok(None) => break End::Open,
            Err(error) => {
                Encoder::new(out, session.version).error(&error.to_string());
                break End::Closed;
            }
        };
        let args: Vec<&[u8]> = decoder.args().slices(&buffer[at..]).collect();
        at += used;
        if args.is_empty() {
            continue;
        }
        server.commands_processed.fetch_add(1, Ordering::Relaxed);
        let before = out.len();
        if session.replies == Replies::SkipNext {
            session.replies = Replies::Skip;
        }
        let next = dispatch(server, session, &args, out);
        if let Some(penalty) = session.penalty.take() {
            tokio::time::sleep(penalty).await;
        }
        let next = match next {
            Next::FailOver(_) | Next::Order(_) | Next::DownAfter(_) => {
                let result = match next {
                    Next::FailOver(service) => server.backend.fail_over(service).await,
                    Next::Order(order) => server.backend.order(order).await,
                    Next::DownAfter(millis) => {
                        server.backend.set_down_after(millis).await.map_err(|why| format!("ERR {why}"))
                    }
                    Next::Continue | Next::Close | Next::ShutDown => Ok(()),
                };
                let mut reply = Encoder::new(out, session.version);
                match result {
                    Ok(()) => reply.ok(),
                    Err(error) => reply.error(&error),
                }
                Next::Continue
            }
            other => other,
        };
        match session.replies {
            Replies::Off => out.truncate(before),
            Replies::Skip => {
                out.truncate(before);
                session.replies = Replies::On;
            }
            Replies::On | Replies::SkipNext => {}
        }
        match next {
            Next::Continue | Next::FailOver(_) | Next::Order(_) | Next::DownAfter(_) => {}
            Next::Close => break End::Closed,
            Next::ShutDown => {
                server.backend.shut_down();
                break End::Closed;
            }
        }
        if out.len() > limits::REPLY_CHUNK && write(stream, out).await == End::Closed {
            break End::Closed;
        }
    };
    buffer.drain(..at);
    end
}

fn dispatch(server: &Arc<Server>, session: &mut Session, args: &[&[u8]], out: &mut Vec<u8>) -> Next {
    let mut call = Call { server, session, args, out, table: commands::COMMANDS, next: Next::Continue };
    commands::execute(&mut call);
    call.next
}
