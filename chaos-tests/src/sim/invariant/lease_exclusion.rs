//! At no true instant may two processes execute: each by its own clock, its own role and what it was granted.

pub(super) fn check(processes: &[(usize, u64)]) -> Result<(), String> {
    match processes {
        [] | [_] => Ok(()),
        [(one, epoch), (other, other_epoch), ..] => {
            Err(format!("n{one} may execute under epoch {epoch}, and n{other} under epoch {other_epoch}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_are_seen() {
        assert_eq!(check(&[(0, 3)]), Ok(()));
        assert!(check(&[(0, 3), (1, 4)]).is_err());
    }
}
