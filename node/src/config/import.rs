//! What `tercet-node import` is told.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use tercet_edge::tls::outside;

use super::{Error, Over, switch};

/// What to copy, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub from: String,
    /// Of keys: what may be in their place.
    pub over: Over,
    /// Of a RabbitMQ: a file of its definitions, or where its management API is.
    pub definitions: Option<PathBuf>,
    pub management: Option<String>,
    /// For rediss://, amqps:// and https://.
    pub tls: outside::Files,
}

impl Import {
    pub(super) fn of(given: &ArgMatches) -> Result<Self, Error> {
        let text = |name: &str| given.get_one::<String>(name).cloned();
        let path = |name: &str| text(name).map(PathBuf::from);
        let pair = match (path("source-cert-file"), path("source-key-file")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Error::Insecure("--source-cert-file and --source-key-file go together".to_owned())),
        };
        Ok(Self {
            from: text("from").unwrap_or_default(),
            over: if given.get_flag("replace") { Over::Anything } else { Over::Nothing },
            definitions: path("definitions"),
            management: text("management"),
            tls: outside::Files { authority: path("source-ca-file"), pair },
        })
    }
}

pub(super) fn command() -> Command {
    let given = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("import")
        .about("Copies the keys of a Redis or of an RDB file, or queues and messages of a RabbitMQ, to the running node")
        .arg(given("from", "URL|FILE").required(true).help(
            "redis://[user[:password]@]host[:port][/database], all databases if none is named; or a dump.rdb; or \
             amqp://[user[:password]@]host[:port][/vhost], all virtual hosts if none is named; rediss:// and amqps:// under TLS",
        ))
        .arg(switch("replace", "Replace keys that are there"))
        .arg(given("management", "URL").help(
            "Management API of the RabbitMQ [http://HOST:15672, with amqps:// https://HOST:15671], whose definitions are \
             copied first",
        ))
        .arg(given("definitions", "FILE").help(
            "File of definitions that the RabbitMQ has exported, in place of its management API",
        ))
        .arg(given("source-ca-file", "FILE").help(format!(
            "Who has signed the certificate of the source [{}]",
            outside::SYSTEM_AUTHORITIES
        )))
        .arg(given("source-cert-file", "FILE").help("Certificate to show to a source that asks for one"))
        .arg(given("source-key-file", "FILE").help("Its key"))
}
