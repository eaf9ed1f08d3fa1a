//! A blocking RESP client, small enough to trust.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use tercet_proto::resp::Value;

/// How long a reply may take to begin on a busy machine, and so how long it takes to find that there is none.
const FIRST_BYTE: Duration = Duration::from_secs(1);

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the RESP port is open");
        stream.set_read_timeout(Some(super::BOUND)).expect("a timeout can be set");
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes the bytes");
    }

    pub(crate) fn command(&mut self, args: &[&str]) -> Value {
        self.send(&Value::command(args));
        self.read()
    }

    /// The next reply or push.
    pub(crate) fn read(&mut self) -> Value {
        loop {
            if let Some((value, used)) = Value::decode(&self.buffer).expect("the server speaks RESP") {
                self.buffer.drain(..used);
                return value;
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).expect("the server answers in time");
            assert!(count > 0, "the server closed the connection; so far {:?}", self.buffer.escape_ascii().to_string());
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// Everything until the server closes.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        // A reset in place of an orderly end still ends it.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// What comes until `pause` of silence.
    pub(crate) fn read_raw(&mut self, pause: Duration) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let mut chunk = [0; 65536];
        self.stream.set_read_timeout(Some(FIRST_BYTE)).expect("a timeout can be set");
        while let Ok(count @ 1..) = self.stream.read(&mut chunk) {
            all.extend_from_slice(&chunk[..count]);
            self.stream.set_read_timeout(Some(pause)).expect("a timeout can be set");
        }
        self.stream.set_read_timeout(Some(super::BOUND)).expect("a timeout can be set");
        all
    }

    pub(crate) fn master_address(&mut self, service: &str) -> Option<String> {
        match self.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]) {
            Value::Array(parts) => {
                let parts: Vec<String> = parts.iter().filter_map(|part| part.as_text().map(Into::into)).collect();
                Some(parts.join(":"))
            }
            _ => None,
        }
    }

    /// The value of a field of `SENTINEL MASTER`.
    pub(crate) fn master_field(&mut self, field: &str) -> Option<String> {
        let Value::Array(items) = self.command(&["SENTINEL", "MASTER", "mymaster"]) else { return None };
        let at = items.iter().step_by(2).position(|name| name.as_text().as_deref() == Some(field))?;
        items[at * 2 + 1].as_text().map(Into::into)
    }
}
