//! AMQP frames in a client's output.

use std::ops::{Deref, DerefMut};

use tercet_proto::amqp::Encoder;

use crate::output;
pub(super) use crate::output::Deposed;

#[derive(Debug, Default)]
pub(super) struct Output(output::Output);

impl Deref for Output {
    type Target = output::Output;

    fn deref(&self) -> &output::Output {
        &self.0
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut output::Output {
        &mut self.0
    }
}

impl Output {
    #[inline]
    pub(super) fn encoder(&mut self, frame_max: u32) -> Encoder<'_> {
        Encoder::new(self.0.buffer(), frame_max)
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.buffer().extend_from_slice(bytes);
    }

    /// Puts a heartbeat where frames may leave: one that waited with the others would come too late.
    pub(super) fn heartbeat(&mut self) {
        let mut frame = Vec::new();
        Encoder::new(&mut frame, 0).heartbeat();
        self.0.insert(&frame);
    }
}
