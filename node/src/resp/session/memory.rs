//! Tests: what a session does where memory is short.

use std::sync::Arc;

use super::testing::{say as send, session};
use crate::keyspace::eviction::Policy;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

#[test]
fn without_a_policy_commands_that_may_need_memory_are_refused() {
    let mut session = session();
    send(&mut session, &["set", "key", "value"]);
    session.node.eviction.set_limit(1_000);
    session.node.eviction.pretend(2_000);
    assert_eq!(send(&mut session, &["set", "key", "other"]), OOM);
    assert_eq!(send(&mut session, &["lpush", "list", "item"]), OOM);
    assert_eq!(send(&mut session, &["get", "key"]), "$5\r\nvalue\r\n");
    assert_eq!(send(&mut session, &["del", "key"]), ":1\r\n");
    session.node.eviction.pretend(999);
    assert_eq!(send(&mut session, &["set", "key", "other"]), "+OK\r\n");
}

#[test]
fn a_transaction_is_refused_where_one_of_its_commands_would_be() {
    let mut session = session();
    session.node.eviction.set_limit(1_000);
    send(&mut session, &["multi"]);
    assert_eq!(send(&mut session, &["set", "key", "value"]), "+QUEUED\r\n");
    session.node.eviction.pretend(2_000);
    assert!(send(&mut session, &["exec"]).starts_with("-EXECABORT Transaction discarded because of: OOM"));
    send(&mut session, &["multi"]);
    assert_eq!(send(&mut session, &["set", "key", "value"]), OOM);
    assert!(send(&mut session, &["exec"]).starts_with("-EXECABORT Transaction discarded because of previous errors"));
    send(&mut session, &["multi"]);
    send(&mut session, &["get", "key"]);
    assert_eq!(send(&mut session, &["exec"]), "*1\r\n$-1\r\n");
}

#[test]
fn keys_go_until_there_is_room() {
    for policy in [Policy::AllkeysLru, Policy::AllkeysLfu, Policy::AllkeysRandom, Policy::AllkeysS3Fifo] {
        let mut session = session();
        let node = Arc::clone(&session.node);
        node.eviction.set_policy(&node.engine, policy);
        for number in 0..200 {
            send(&mut session, &["set", &format!("key:{number}"), &"v".repeat(90)]);
        }
        node.eviction.set_limit(100_000);
        // An entry takes a bit more than a hundred bytes.
        node.eviction.pretend(102_000);
        assert_eq!(send(&mut session, &["set", "new", "value"]), "+OK\r\n");
        let gone = 201 - node.engine.keyspace.count(0);
        assert!((15..22).contains(&gone), "{} let {gone} keys go", policy.name());
        assert!(!node.eviction.is_over());
    }
}

#[test]
fn volatile_policies_refuse_where_nothing_expires() {
    let mut session = session();
    let node = Arc::clone(&session.node);
    node.eviction.set_policy(&node.engine, Policy::VolatileLru);
    send(&mut session, &["set", "stays", "value"]);
    node.eviction.set_limit(1_000);
    node.eviction.pretend(2_000);
    assert_eq!(send(&mut session, &["set", "key", "value"]), OOM);
    node.eviction.pretend(0);
    send(&mut session, &["set", "goes", "value", "ex", "100"]);
    node.eviction.pretend(1_001);
    assert_eq!(send(&mut session, &["set", "key", "value"]), "+OK\r\n");
    assert_eq!(send(&mut session, &["exists", "stays", "goes"]), ":1\r\n");
}

#[test]
fn object_tells_of_the_use_that_the_policy_notes() {
    let mut session = session();
    let node = Arc::clone(&session.node);
    send(&mut session, &["set", "key", "value"]);
    assert_eq!(send(&mut session, &["object", "idletime", "key"]), ":0\r\n");
    assert!(send(&mut session, &["object", "freq", "key"]).starts_with("-ERR An LFU maxmemory policy is not selected"));
    node.eviction.set_policy(&node.engine, Policy::AllkeysLfu);
    send(&mut session, &["set", "other", "value"]);
    assert_eq!(send(&mut session, &["object", "freq", "other"]), ":5\r\n");
    assert!(send(&mut session, &["object", "idletime", "key"]).starts_with("-ERR An LFU maxmemory policy is selected"));
}
