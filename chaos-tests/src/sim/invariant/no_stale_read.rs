//! Under `--ack replicated` a master's answer holds every write that was acknowledged, to anybody, before the question was
//! asked; and it shows nothing that is not committed.

use super::super::message::KEYS;
use super::history::History;

#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Offset of the newest acknowledged write of each key.
    newest: [u64; KEYS],
}

impl Reads {
    pub(super) fn acknowledged(&mut self, key: u8, offset: u64) {
        let newest = &mut self.newest[usize::from(key)];
        *newest = (*newest).max(offset);
    }

    pub(super) fn newest(&self) -> [u64; KEYS] {
        self.newest
    }

    pub(super) fn answered(
        &self,
        history: &History,
        key: u8,
        (offset, id): (u64, u64),
        asked: u64,
    ) -> Result<(), String> {
        // What has become void since need not be seen.
        let asked = asked.min(self.newest[usize::from(key)]);
        if offset < asked {
            return Err(format!(
                "the write of key {key} at {asked} was acknowledged before a read that shows {offset}"
            ));
        }
        let is_committed = history.at(offset).is_none_or(|record| record.id == id && record.key == key);
        if offset as usize > history.committed().len() || !is_committed {
            return Err(format!("a read of key {key} shows write {id} at {offset}, which is not committed there"));
        }
        Ok(())
    }

    pub(super) fn void_behind(&mut self, newest: &[u64; KEYS]) {
        self.newest = *newest;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Record;
    use super::*;

    #[test]
    fn a_read_behind_an_acknowledged_write_is_seen() {
        let (mut history, mut reads) = (History::default(), Reads::default());
        for id in 1..=3 {
            history.push(Record { epoch: 1, id, key: 0 });
        }
        reads.acknowledged(0, 2);
        let asked = reads.newest()[0];
        reads.acknowledged(0, 3);
        assert_eq!(reads.answered(&history, 0, (2, 2), asked), Ok(()), "the third came meanwhile");
        assert!(reads.answered(&history, 0, (1, 1), asked).is_err());
        assert!(reads.answered(&history, 0, (4, 4), asked).is_err(), "not committed");
    }
}
