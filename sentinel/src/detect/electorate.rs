//! Whose grants make a majority: a lease is made of grants by one set of sentinels, and who is none of them grants nothing.

use super::Refusal;

/// What a sentinel knows of the set that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Electorate {
    /// It has a vote.
    pub is_member: bool,
    /// Of the newest set in its log, committed or not.
    pub version: u64,
}

impl Electorate {
    /// May a master be granted a lease that counts its majority by the set of `version`? A newer set than ours is fine: it
    /// is committed, or the master would not know it.
    ///
    /// # Errors
    /// Our grant would be part of no lease that is exclusive.
    pub fn check(self, version: u64) -> Result<(), Refusal> {
        if !self.is_member {
            Err(Refusal::NotMember)
        } else if version < self.version {
            Err(Refusal::OtherSentinels(version, self.version))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_by_an_older_set_is_refused_and_by_a_newer_one_granted() {
        let electorate = Electorate { is_member: true, version: 7 };
        assert_eq!(electorate.check(6), Err(Refusal::OtherSentinels(6, 7)));
        assert_eq!(electorate.check(7), Ok(()));
        assert_eq!(electorate.check(9), Ok(()));
        assert_eq!(Electorate { is_member: false, ..electorate }.check(7), Err(Refusal::NotMember));
    }
}
