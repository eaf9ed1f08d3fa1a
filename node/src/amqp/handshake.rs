//! From the protocol header to an open connection: start, login, tune, open.
//!
//! ```text
//! header --> start ... start-ok (login) --> tune ... tune-ok, open (vhost) --> open-ok
//! ```

use std::net::SocketAddr;

use tercet_proto::amqp::{FieldTable, FieldValue, Method, ShortBytes, ShortString, TableView};

use super::context::{About, Capabilities};
use super::error::Error;
use super::limits;
use crate::accounts::Directory;
use crate::broker::DEFAULT_VHOST;
use crate::clients::origin;
use crate::config::Config;
use crate::node::Node;

/// What clients branch on: kombu takes RabbitMQ before 4.0 for one that wants `global=true` in basic.qos.
const PRODUCT: &str = "RabbitMQ";
const VERSION: &str = "4.1.0";

const MECHANISMS: &[u8] = b"PLAIN AMQPLAIN";

/// Of a client that has shown a certificate: it may be who that says.
const WITH_EXTERNAL: &[u8] = b"PLAIN AMQPLAIN EXTERNAL";

/// Only what works is promised.
const CAPABILITIES: &[(&str, bool)] = &[
    ("publisher_confirms", true),
    ("exchange_exchange_bindings", true),
    ("basic.nack", true),
    ("consumer_cancel_notify", true),
    ("connection.blocked", true),
    ("consumer_priorities", true),
    ("authentication_failure_close", true),
    ("per_consumer_qos", true),
    ("direct_reply_to", true),
];

/// connection.start
pub(super) fn start(config: &Config, certificate: Option<&str>) -> Method {
    let key = |text: &str| ShortBytes::try_from(text).expect("our own keys are short");
    let capabilities: FieldTable =
        CAPABILITIES.iter().map(|(name, value)| (key(name), FieldValue::Bool(*value))).collect();
    let mut server_properties = FieldTable::new();
    server_properties.insert(key("capabilities"), capabilities);
    for (name, value) in [
        ("cluster_name", config.name.as_str()),
        ("copyright", "Copyright the authors of Tercet"),
        ("information", "Licensed under the Apache License 2.0"),
        ("platform", concat!("Tercet ", env!("CARGO_PKG_VERSION"))),
        ("product", PRODUCT),
        ("version", VERSION),
    ] {
        server_properties.insert(key(name), value);
    }
    Method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties,
        mechanisms: if certificate.is_some() { WITH_EXTERNAL.into() } else { MECHANISMS.into() },
        locales: b"en_US".as_slice().into(),
    }
}

/// connection.tune
pub(super) fn tune(channel_max: u16) -> Method {
    Method::ConnectionTune { channel_max, frame_max: limits::FRAME_MAX, heartbeat: limits::HEARTBEAT_SECONDS }
}

impl Default for About {
    fn default() -> Self {
        Self {
            vhost: DEFAULT_VHOST.clone(),
            user: ShortString::default(),
            frame_max: limits::FRAME_MAX,
            channel_max: limits::CHANNEL_MAX,
            heartbeat: 0,
            capabilities: Capabilities::default(),
            properties: FieldTable::new(),
            mechanism: ShortString::default(),
            exclusive: Vec::new(),
            unfinished: 0,
            message_bytes: limits::MESSAGE_BYTES,
            access: None,
            now: 0,
            deliveries_are_kept: false,
            own_timeout: 0,
            slowed_by: None,
            is_put_off: false,
        }
    }
}

impl About {
    /// start-ok: what the client understands, and who it is.
    pub(super) fn log_in(
        &mut self,
        node: &Node,
        peer: SocketAddr,
        properties: &FieldTable,
        mechanism: &ShortString,
        response: &[u8],
        certificate: Option<&str>,
    ) -> Result<(), Error> {
        if let Some(table) = properties.get("capabilities").and_then(FieldValue::as_table) {
            let has = |name: &str| table.get(name).and_then(FieldValue::as_bool) == Some(true);
            self.capabilities = Capabilities {
                consumer_cancel_notify: has("consumer_cancel_notify"),
                connection_blocked: has("connection.blocked"),
                authentication_failure_close: has("authentication_failure_close"),
            };
        }
        let directory = node.engine.accounts.directory();
        let (user, password) = match (mechanism.as_str(), certificate) {
            ("EXTERNAL", Some(name)) => {
                // A node that carries clients here shows its own certificate, which is none of theirs.
                let user = directory.users.get(name).filter(|_| !node.is_a_node(name));
                let user = user.ok_or_else(|| Error::Login(mechanism.clone()))?;
                self.user = ShortString::truncated(&user.name);
                return Ok(());
            }
            ("PLAIN", _) => plain(response).ok_or(Error::Sasl("PLAIN"))?,
            ("AMQPLAIN", _) => amqplain(response).ok_or(Error::Sasl("AMQPLAIN"))?,
            _ => return Err(Error::Mechanism(mechanism.clone())),
        };
        let checked = directory.check_password(node.requirepass(), &user, &password, origin(peer.ip()));
        let user = checked.map_err(|_| Error::Login(mechanism.clone()))?;
        self.user = ShortString::truncated(&user.name);
        (self.properties, self.mechanism) = (properties.clone(), mechanism.detached());
        Ok(())
    }

    /// tune-ok: a client may ask for less, never for more, and 0 asks for no limit.
    pub(super) fn tuned(&mut self, channel_max: u16, frame_max: u32, heartbeat: u16) -> Result<(), Error> {
        let higher = |what, given, bound| Error::Tune { what, given, relation: "higher than the maximum", bound };
        if frame_max == 0 || frame_max > limits::FRAME_MAX {
            return Err(higher("frame_max", frame_max, limits::FRAME_MAX));
        }
        if frame_max < limits::FRAME_MAX_LEAST {
            let relation = "lower than the minimum";
            return Err(Error::Tune { what: "frame_max", given: frame_max, relation, bound: limits::FRAME_MAX_LEAST });
        }
        // What we offered.
        let most = self.channel_max;
        if channel_max == 0 || channel_max > most {
            return Err(higher("channel_max", channel_max.into(), most.into()));
        }
        (self.channel_max, self.frame_max, self.heartbeat) = (channel_max, frame_max, heartbeat);
        Ok(())
    }

    pub(super) fn open(&mut self, directory: &Directory, vhost: &ShortString) -> Result<(), Error> {
        if !directory.vhosts.contains_key(vhost.as_str()) {
            return Err(Error::Vhost(vhost.clone()));
        }
        if directory.permissions_of(&self.user, vhost).is_none() {
            return Err(Error::VhostRefused { vhost: vhost.clone(), user: self.user.clone() });
        }
        self.vhost = vhost.detached();
        Ok(())
    }
}

/// `[authorization] NUL user NUL password`
fn plain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = response.split(|byte| *byte == 0).skip(1);
    let (user, password) = (parts.next()?, parts.next()?);
    parts.next().is_none().then(|| (user.to_vec(), password.to_vec()))
}

/// The content of a table with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let table = TableView::parse(response).ok()?.to_table();
    let field = |name| table.get(name).and_then(FieldValue::as_bytes).map(|bytes| bytes.to_vec());
    Some((field("LOGIN")?, field("PASSWORD")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_permissions_in_a_virtual_host_does_not_open_it() {
        let directory = Directory::default();
        let open = |user: &'static str, vhost: &'static str| {
            let mut about = About { user: ShortString::from_static(user), ..About::default() };
            about.open(&directory, &ShortString::from_static(vhost)).map_err(|error| error.to_string())
        };
        assert_eq!(open("guest", "/"), Ok(()));
        assert!(open("anna", "/").is_err() && open("guest", "other").is_err());
    }

    #[test]
    fn both_mechanisms_give_user_and_password() {
        let expected = Some((b"guest".to_vec(), b"pw".to_vec()));
        assert_eq!(plain(b"\0guest\0pw"), expected);
        assert_eq!(plain(b"guest\0guest\0pw"), expected);
        assert_eq!(plain(b"\0guest"), None);
        assert_eq!(plain(b"\0guest\0pw\0"), None);
        assert_eq!(amqplain(b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x02pw"), expected);
        assert_eq!(amqplain(b"\x05LOGINS\0\0\0\x05guest"), None);
        assert_eq!(amqplain(b"garbage"), None);
    }

    #[test]
    fn a_client_may_tune_lower_and_never_higher() {
        let tuned =
            |channel_max, frame_max| About::default().tuned(channel_max, frame_max, 5).map_err(|e| e.to_string());
        assert_eq!(tuned(2047, 131_072), Ok(()));
        assert_eq!(tuned(1, 8192), Ok(()));
        let too_large = "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)";
        assert_eq!(tuned(2047, 131_073), Err(too_large.to_owned()));
        assert!(tuned(2047, 0).is_err() && tuned(0, 8192).is_err() && tuned(2048, 8192).is_err());
        let too_small = "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)";
        assert_eq!(tuned(2047, 4095), Err(too_small.to_owned()));
        assert_eq!(tuned(2047, 4096), Ok(()));
    }

    #[test]
    fn a_certificate_opens_the_account_of_its_name_and_no_nodes() {
        let Ok(crate::config::Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else {
            panic!("defaults")
        };
        let identity = |name: &str| crate::node::Identity {
            name: name.into(),
            node_id: crate::node::random_id(),
            incarnation: crate::node::random_id(),
        };
        let log_in = |node: &Node, certificate: Option<&str>| {
            let (mut about, peer) = (About::default(), "10.0.0.1:1".parse().unwrap());
            let (properties, mechanism) = (FieldTable::new(), ShortString::from_static("EXTERNAL"));
            about.log_in(node, peer, &properties, &mechanism, b"", certificate).map(|()| about.user.to_string())
        };
        let node = Node::new((*config).clone(), identity("n1"));
        assert_eq!(log_in(&node, Some("guest")).ok().as_deref(), Some("guest"));
        assert!(matches!(log_in(&node, Some("nobody")), Err(Error::Login(_))));
        assert!(
            matches!(log_in(&node, None), Err(Error::Mechanism(_))),
            "without a certificate there is none to go by"
        );
        let node = Node::new(*config, identity("guest"));
        assert!(matches!(log_in(&node, Some("guest")), Err(Error::Login(_))), "it is how a node is called");
    }
}
