//! Property: a master that was killed and started again comes back as an in-sync replica, as a new incarnation.

use crate::cluster::health::Status;

/// # Errors
/// Says what keeps `node`, whose life as `old_run_id` was ended, from having rejoined.
pub fn rejoined(status: &Status, node: usize, old_run_id: &str) -> Result<usize, String> {
    let master = status.whole()?;
    if master == node {
        return Err("the node that was killed is master again".to_owned());
    }
    let run_id = status.nodes[node].as_ref().map_or("", |view| view.run_id.as_str());
    if run_id == old_run_id {
        return Err(format!("it says that it is still {old_run_id}: an incarnation that was killed"));
    }
    Ok(master)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::health::tests::whole;

    #[test]
    fn an_in_sync_replica_with_a_new_run_id_has_rejoined() {
        assert_eq!(rejoined(&whole(), 1, "its life before"), Ok(0));
    }

    #[test]
    fn a_master_an_old_incarnation_and_one_out_of_sync_have_not() {
        assert!(rejoined(&whole(), 0, "its life before").unwrap_err().contains("master again"));
        assert!(rejoined(&whole(), 1, "run1").unwrap_err().contains("still run1"));
        let mut behind = whole();
        behind.in_sync.as_mut().unwrap().retain(|run_id| run_id != "run1");
        assert!(rejoined(&behind, 1, "its life before").unwrap_err().contains("not in sync"));
    }
}
