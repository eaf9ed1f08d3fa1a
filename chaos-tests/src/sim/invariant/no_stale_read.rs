//! Under `--ack replicated` a master's answer holds every write that was acknowledged, to anybody, before the question was
//! asked; and it shows nothing that was never committed. (What has become void since, it may show: the answer of a process
//! that stood still leaves late.)

use super::super::message::{KEYS, Record};
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
        let is_it = |record: Record| record.id == id && record.key == key;
        let is_committed = offset == 0 || history.at(offset).is_some_and(is_it) || history.was_voided(offset, is_it);
        if !is_committed {
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
    #[test]
    fn a_late_answer_may_show_what_is_void_and_nothing_else() {
        let (mut history, mut reads) = (History::default(), Reads::default());
        for id in 1..=3 {
            history.push(Record { epoch: 1, id, key: 0 });
        }
        reads.acknowledged(0, 3);
        let asked = reads.newest()[0];
        history.void_behind(2, 2);
        reads.void_behind(&[2; KEYS]);
        assert_eq!(reads.answered(&history, 0, (3, 3), asked), Ok(()));
        history.push(Record { epoch: 2, id: 9, key: 0 });
        assert_eq!(reads.answered(&history, 0, (3, 3), asked), Ok(()), "another has its place");
        assert!(reads.answered(&history, 0, (3, 4), asked).is_err());
        assert!(reads.answered(&history, 1, (3, 3), 0).is_err(), "of another key");
    }
}
