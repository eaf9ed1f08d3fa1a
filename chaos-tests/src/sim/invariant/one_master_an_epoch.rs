//! At most one process begins a mastership under an epoch, whatever sentinels believe.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Masters(BTreeMap<u64, String>);

impl Masters {
    pub(super) fn began(&mut self, epoch: u64, incarnation: &str) -> Result<(), String> {
        let first = self.0.entry(epoch).or_insert_with(|| incarnation.to_owned());
        if first == incarnation {
            Ok(())
        } else {
            Err(format!("epoch {epoch} has two masters: {first} and {incarnation}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_under_an_epoch_is_seen() {
        let mut masters = Masters::default();
        assert_eq!(masters.began(1, "a"), Ok(()));
        assert_eq!(masters.began(2, "b"), Ok(()));
        assert!(masters.began(1, "b").is_err());
    }
}
