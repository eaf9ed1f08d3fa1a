//! Expiry takes place by an effect (`Delete`), never by itself, so that replicas agree; this only says which keys are due.

use super::shard::Shard;
use super::value::ShortBytes;
use crate::ids::UnixMillis;

impl Shard {
    /// Whether any key may be due at `now`: a look at the earliest deadline of each table.
    #[must_use]
    pub fn has_due(&self, now: UnixMillis) -> bool {
        self.databases().any(|(_, database)| database.table.may_be_due(now))
    }

    /// Keys that are due at `now`, with their databases. They are to be deleted at once, under the same lock: the tables
    /// forget that they are due.
    pub fn due(&mut self, now: UnixMillis, most: usize) -> Vec<(u8, ShortBytes)> {
        let used: Vec<u8> = self.databases().filter(|(_, d)| d.table.may_be_due(now)).map(|(index, _)| index).collect();
        let mut due = Vec::new();
        for index in used {
            let room = most - due.len();
            due.extend(self.database_mut(index).table.due(now, room).into_iter().map(|key| (index, key)));
        }
        due
    }
}
