//! Property: what moves between accounts in transactions is always all there: every read of all of them sees one sum.

use super::acknowledged::Violation;

/// What every account holds in the beginning.
pub const OPENING: i64 = 100;

/// One read of all accounts at once; `None` for one that does not exist.
#[must_use]
pub fn judge(place: &str, balances: &[Option<i64>]) -> Option<Violation> {
    let expected = OPENING * i64::try_from(balances.len()).unwrap_or(i64::MAX);
    let sum: i64 = balances.iter().flatten().sum();
    let is_whole = sum == expected && balances.iter().all(Option::is_some);
    (!is_whole)
        .then(|| Violation::Torn { place: place.to_owned(), what: format!("{balances:?} are {sum}, not {expected}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_that_moved_is_all_there() {
        assert_eq!(judge("bank", &[Some(130), Some(70), Some(100)]), None);
        assert_eq!(judge("bank", &[Some(-10), Some(210)]), None);
    }

    #[test]
    fn half_a_transfer_and_a_missing_account_are_caught() {
        assert!(matches!(judge("bank", &[Some(90), Some(100)]), Some(Violation::Torn { .. })));
        assert!(matches!(judge("bank", &[Some(200), None]), Some(Violation::Torn { .. })));
    }
}
