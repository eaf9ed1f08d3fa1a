//! How changes of streams take place.

use super::Applied;
use crate::effect::StreamChange;
use crate::keyspace::value::stream::{Group, Stream};

/// Whether the change makes a stream where there is none.
pub(super) fn creates(change: &StreamChange<'_>) -> bool {
    matches!(change, StreamChange::Add { .. } | StreamChange::CreateGroup { .. })
}

pub(super) fn apply(stream: &mut Stream, change: &StreamChange<'_>) -> Applied {
    match change {
        StreamChange::Add { id, starts_node, pairs } => {
            stream.add(*id, *starts_node, pairs);
            Applied::changed(1)
        }
        StreamChange::Trim { keep, exactness } => Applied::removed(stream.trim(*keep, *exactness) as usize),
        StreamChange::Delete { ids } => Applied::removed(ids.iter().filter(|id| stream.delete(**id)).count()),
        StreamChange::SetId { last_id, added, max_deleted_id } => {
            stream.set_id(*last_id, *added, *max_deleted_id);
            Applied::changed(1)
        }
        StreamChange::CreateGroup { name, last_id, read } => {
            Applied::removed(usize::from(stream.create_group(name, Group::new(*last_id, *read))))
        }
        StreamChange::RemoveGroup { name } => Applied::removed(usize::from(stream.remove_group(name))),
        StreamChange::SetGroup { name: group, .. }
        | StreamChange::RemoveConsumer { group, .. }
        | StreamChange::See { group, .. }
        | StreamChange::Give { group, .. }
        | StreamChange::Forget { group, .. } => match stream.group_mut(group) {
            Some(group) => apply_to_group(group, change),
            None => Applied::NOTHING,
        },
    }
}

fn apply_to_group(group: &mut Group, change: &StreamChange<'_>) -> Applied {
    match change {
        StreamChange::SetGroup { last_id, read, .. } => {
            (group.last_id, group.read) = (*last_id, *read);
            Applied::changed(1)
        }
        StreamChange::RemoveConsumer { consumer, .. } => Applied::removed(usize::from(group.remove_consumer(consumer))),
        StreamChange::See { consumer, seen_at, active_at, .. } => {
            group.see(consumer, *seen_at, *active_at);
            Applied::changed(1)
        }
        StreamChange::Give { consumer, entries, .. } => {
            entries.iter().for_each(|given| group.give(consumer, *given));
            Applied::changed(entries.len())
        }
        StreamChange::Forget { ids, .. } => Applied::removed(ids.iter().filter(|id| group.forget(**id)).count()),
        _ => Applied::NOTHING,
    }
}
