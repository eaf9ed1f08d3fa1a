//! The broker as this API uses it: one batch a request, and how its listings are read.

use std::sync::Arc;

use tercet_proto::amqp::ShortString;

use super::answer::Error;
use super::request::Request;
use crate::broker::{Batch, Broker, ConnectionId, Name, Queue, Refusal};
use crate::clock;
use crate::ids::Offset;

/// Nobody's connection: it owns no exclusive queue, and may use none.
pub(super) const NOBODY: ConnectionId = ConnectionId(0);

/// Operations on the broker, under the request's permit. With the result: the record that it depends on.
pub(super) fn batch<T>(
    request: &Request,
    work: impl FnOnce(&Broker, &mut Batch<'_>) -> Result<T, Refusal>,
) -> Result<(T, Offset), Error> {
    let engine = &request.node().engine;
    let mut record = Vec::new();
    let mut batch = engine.broker.begin(&engine.journal, &mut record, clock::unix_now());
    let result = work(&engine.broker, &mut batch);
    let depends_on = batch.finish();
    Ok((result?, depends_on))
}

/// A queue that the path names.
pub(super) fn queue(request: &Request, vhost: &ShortString, name: &ShortString) -> Result<Arc<Queue>, Error> {
    request.node().engine.broker.find_queue(vhost, name).ok_or(Error::NotFound)
}

/// Names of an operation.
pub(super) fn name<'a>(vhost: &'a ShortString, name: &'a ShortString) -> Name<'a> {
    Name { vhost, name }
}
