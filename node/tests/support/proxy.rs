//! A connection that can be stopped, broken and slow: what stands between two nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// So many bytes a millisecond pass, each way.
    Slow(u32),
    /// Nothing passes, and nobody is told.
    Held,
    /// Connections break, new ones too.
    Broken,
}

pub struct Proxy {
    pub port: u16,
    flow: Arc<watch::Sender<Flow>>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let flow = Arc::new(watch::Sender::new(Flow::Open));
        let subscribe = Arc::clone(&flow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let flow = subscribe.subscribe();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::select! {
                        () = pass(client_in, server_out, flow.clone()) => {}
                        () = pass(server_in, client_out, flow) => {}
                    }
                });
            }
        });
        Self { port: own, flow }
    }

    pub fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    pub fn slow(&self, bytes_a_millisecond: u32) {
        self.flow.send_replace(Flow::Slow(bytes_a_millisecond));
    }

    pub fn open(&self) {
        self.flow.send_replace(Flow::Open);
    }

    pub fn break_connections(&self) {
        self.flow.send_replace(Flow::Broken);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let now = *flow.borrow_and_update();
        match now {
            Flow::Broken => return,
            Flow::Held => {
                if flow.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Flow::Open | Flow::Slow(_) => {}
        }
        tokio::select! {
            _ = flow.changed() => {}
            count = from.read(&mut buffer) => match count {
                Ok(count) if count > 0 => {
                    // What was read before the hold is held too.
                    while *flow.borrow_and_update() == Flow::Held {
                        if flow.changed().await.is_err() {
                            return;
                        }
                    }
                    let rate = *flow.borrow();
                    if let Flow::Slow(bytes) = rate {
                        tokio::time::sleep(Duration::from_millis(1) * count as u32 / bytes).await;
                    }
                    if to.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
