use super::*;
use crate::engine::Engine;

fn user(name: &str, password: &str) -> User {
    let mut user = User::new(name);
    user.set_password(password.as_bytes(), [1, 2, 3, 4]);
    user.tags = vec!["monitoring".to_owned(), "other".to_owned()];
    user.rules = vec![b"on".to_vec(), b"~\xFF*".to_vec(), b"+get".to_vec()];
    user.limits = UserLimits { max_connections: Some(5), max_channels: Some(0) };
    user
}

fn every_change() -> Vec<(u8, Change)> {
    let text = str::to_owned;
    let permissions = Permissions { configure: text("a"), write: text("b"), read: text("") };
    let topic = TopicPermissions { write: text("w"), read: text("r") };
    let policy = Policy { pattern: text("^q"), apply_to: text("queues"), priority: -3, definition: vec![0, 0, 0, 0] };
    let vhost =
        Vhost { description: text("d"), tags: vec![text("t")], default_queue_type: text("quorum"), is_tracing: true };
    let (component, value) = (text("vhost-limits"), text("{\"max-queues\":1}"));
    let kind = PolicyKind::Operator;
    vec![
        (192, Change::SetUser(user("u", "pw"))),
        (194, Change::SetVhost { name: text("v"), vhost }),
        (196, Change::SetPermissions { user: text("u"), vhost: text("v"), permissions }),
        (
            198,
            Change::SetTopicPermissions { user: text("u"), vhost: text("v"), exchange: text("x"), permissions: topic },
        ),
        (200, Change::SetParameter { vhost: text("v"), component: component.clone(), name: text("limits"), value }),
        (202, Change::SetPolicy { vhost: text("v"), kind, name: text("p"), policy }),
        (197, Change::ClearPermissions { user: text("u"), vhost: text("v") }),
        (199, Change::ClearTopicPermissions { user: text("u"), vhost: text("v"), exchange: text("x") }),
        (201, Change::ClearParameter { vhost: text("v"), component, name: text("limits") }),
        (203, Change::ClearPolicy { vhost: text("v"), kind, name: text("p") }),
        (193, Change::DeleteUser { name: text("u") }),
        (195, Change::DeleteVhost { name: text("v") }),
    ]
}

#[test]
fn tags_never_change_and_changes_read_back_as_written() {
    for (tag, change) in every_change() {
        let effect = Effect::Account(Box::new(change));
        let mut record = Vec::new();
        effect.encode(Partition::ACCOUNTS, &mut record);
        assert_eq!(record[0], tag);
        let mut reader = Reader::new(&record);
        assert_eq!(Effect::decode(&mut reader), Ok((Partition::ACCOUNTS, effect)));
        assert!(reader.is_empty());
        for end in 0..record.len() {
            assert!(Effect::decode(&mut Reader::new(&record[..end])).is_err());
        }
    }
}

#[test]
fn a_replica_that_applies_the_records_and_one_that_loads_the_image_have_the_same() {
    let (master, replica, loaded) = (Engine::default(), Engine::default(), Engine::default());
    master.journal.retain();
    for (_, change) in every_change().into_iter().take(6) {
        master.accounts.change(&master.journal, &[change]);
    }
    let crate::journal::Next::Block(block) = master.journal.read(Offset::ZERO) else { panic!("no block") };
    for (offset, record) in block.iter() {
        replica.apply_record(offset, record, |_| true).unwrap();
    }
    assert_eq!(replica.accounts.directory(), master.accounts.directory());
    let mut image = Vec::new();
    let cut = master.accounts.image(|last| last, &mut image);
    loaded.accounts.load_image(cut, &image).unwrap();
    assert_eq!(loaded.accounts.directory(), master.accounts.directory());
    assert_eq!((cut, loaded.accounts.last_offset()), (Offset(6), Offset(6)));
    assert!(loaded.accounts.load_image(cut, &image[..image.len() - 1]).is_err());
}

#[test]
fn what_belongs_to_a_user_or_a_virtual_host_goes_with_it() {
    let accounts = Accounts::default();
    let set = every_change().into_iter().take(6).map(|(_, change)| change).collect::<Vec<_>>();
    set.iter().for_each(|change| accounts.apply(Offset(1), change));
    accounts.apply(Offset(2), &Change::DeleteUser { name: "u".to_owned() });
    let directory = accounts.directory();
    assert!(directory.permissions_of("u", "v").is_none() && directory.topic_permissions.is_empty());
    assert_eq!(directory.policies_of("v", PolicyKind::Operator).count(), 1);
    assert_eq!(directory.policies_of("v", PolicyKind::User).count(), 0);
    assert!(directory.parameter("v", "vhost-limits", "limits").is_some());
    set.iter().for_each(|change| accounts.apply(Offset(3), change));
    accounts.apply(Offset(4), &Change::DeleteVhost { name: "v".to_owned() });
    let directory = accounts.directory();
    assert!(directory.permissions_of("u", "v").is_none() && directory.policies.is_empty());
    assert!(directory.parameters.is_empty() && directory.users.contains_key("u"));
}

#[test]
fn the_beginning_has_guest_and_default_with_the_password_of_the_setting() {
    let directory = Directory::default();
    let (here, there) = (Origin::Loopback, Origin::Elsewhere);
    let amqp = |setting, name: &str, password: &str, origin| {
        directory.check_password(setting, name.as_bytes(), password.as_bytes(), origin).map(|user| user.name.as_str())
    };
    assert_eq!(amqp("", "guest", "guest", here), Ok("guest"));
    assert_eq!(amqp("", "guest", "guest", there), Err(Refused::NotLoopback));
    assert_eq!(amqp("", "guest", "gues", here), Err(Refused::Credentials));
    assert_eq!(amqp("", "guest", "", here), Err(Refused::Credentials));
    assert_eq!(amqp("", "default", "", here), Err(Refused::Credentials));
    assert_eq!(amqp("", "default", "guest", here), Err(Refused::Credentials));
    assert_eq!(amqp("secret", "guest", "secret", there), Ok("guest"));
    assert_eq!(amqp("secret", "guest", "guest", here), Err(Refused::Credentials));
    let resp = |setting, name: &str, password: &str| {
        directory.check_resp(setting, name.as_bytes(), password.as_bytes()).map(|user| user.name.as_str())
    };
    assert_eq!(resp("", "default", "anything"), Ok("default"));
    assert_eq!(resp("secret", "default", "secret"), Ok("default"));
    assert_eq!(resp("secret", "default", ""), Err(Refused::Credentials));
    assert_eq!(resp("secret", "guest", "secret"), Err(Refused::Credentials), "no rules, no access");
    assert!(directory.is_open_to_resp("", "default") && !directory.is_open_to_resp("secret", "default"));
    assert!(directory.users["guest"].is(Tag::Monitoring) && directory.permissions_of("guest", "/").is_some());
}

#[test]
fn one_password_opens_all_protocols_and_rules_open_resp() {
    let accounts = Accounts::default();
    accounts.apply(Offset(1), &Change::SetUser(user("anna", "pw")));
    let directory = accounts.directory();
    assert!(directory.check_password("", b"anna", b"pw", Origin::Elsewhere).is_ok());
    assert_eq!(directory.check_password("", b"anna", b"", Origin::Loopback), Err(Refused::Credentials));
    assert!(directory.check_resp("", b"anna", b"pw").is_ok());
    assert_eq!(directory.check_resp("", b"anna", b"pv"), Err(Refused::Credentials));
    let mut off = user("anna", "pw");
    off.rules[0] = b"off".to_vec();
    accounts.apply(Offset(2), &Change::SetUser(off));
    assert_eq!(accounts.directory().check_resp("", b"anna", b"pw"), Err(Refused::Off));
    let mut only_resp = user("anna", "pw");
    only_resp.credentials.salted = None;
    only_resp.rules.push(b"nopass".to_vec());
    accounts.apply(Offset(3), &Change::SetUser(only_resp));
    assert!(accounts.directory().check_resp("", b"anna", b"whatever").is_ok());
    assert_eq!(
        accounts.directory().check_password("", b"anna", b"whatever", Origin::Loopback),
        Err(Refused::Credentials),
        "nopass is for RESP"
    );
}

#[test]
fn hashes_are_those_of_rabbitmq_and_redis() {
    let hash = SaltedHash::new(b"test12", [0x90, 0x8D, 0xC6, 0x0A]);
    assert_eq!(hash.bytes[..4], [0x90, 0x8D, 0xC6, 0x0A]);
    assert_eq!(hash.bytes[4..12], [0xA5, 0xB9, 0x24, 0xB3, 0x09, 0x6B, 0x88, 0x97]);
    assert!(hash.matches(b"test12") && !hash.matches(b"test13"));
    assert!(SaltedHash::from_bytes(Algorithm::Sha512, hash.bytes).is_none());
    assert_eq!(sha256(b"pw")[..4], [0x30, 0xC9, 0x52, 0xFA]);
}

#[test]
fn a_change_raises_the_version_and_a_snapshot_stays_as_it_was() {
    let engine = Engine::default();
    let (before, version) = (engine.accounts.directory(), engine.accounts.version());
    let offset = engine.accounts.change(&engine.journal, &[Change::SetUser(user("anna", "pw"))]);
    assert_eq!(offset, engine.journal.end());
    assert!(engine.accounts.version() > version && !before.users.contains_key("anna"));
    assert_eq!(engine.accounts.change_if(&engine.journal, |_| Vec::new()), offset);
    assert_eq!(engine.journal.end(), offset, "no change, no record");
}
