//! The other side of a carried client: the master that serves it gives the session back when the carrying node asks for
//! it, or when another node has become master.

use std::io::{Error, ErrorKind};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Connection;
use crate::limits;
use crate::resp::frame;

/// Whether the carrying node has ended its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Ended,
    Open,
}

impl Connection {
    /// Gives the session back with everything that was not executed.
    pub(super) async fn give_back(&mut self, input: Input) -> std::io::Result<()> {
        if input == Input::Open {
            // It learns by itself that another node is master, and says no more then.
            let rest = async {
                while self.read().await? > 0 {
                    if self.input.len() > limits::QUERY_BUFFER_BYTES {
                        return Err(Error::from(ErrorKind::FileTooLarge));
                    }
                }
                Ok(())
            };
            timeout(limits::AUTHORITY_WAIT, rest).await.map_err(|_| ErrorKind::TimedOut)??;
        }
        let frame = frame::session(&self.session.pack(), &self.input).ok_or(ErrorKind::FileTooLarge)?;
        self.stream.write_all(&frame).await?;
        self.stream.shutdown().await
    }
}
