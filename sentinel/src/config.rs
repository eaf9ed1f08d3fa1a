//! Settings: one table, read from flags, environment, file and defaults, in this order.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgAction, Command, error::ErrorKind};
use tercet_edge::{
    name::{is_host, is_name},
    tls,
    token::Token,
};

use crate::{limits, state::Address};

/// One row of the table. The environment variable is `TERCET_SENTINEL_` and the name in capitals, the key in the file is
/// the name itself.
struct Setting {
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting { name: "name", value: "NAME", default: "s1", help: "Name of this sentinel, unique among them" },
    Setting { name: "data", value: "DIR", default: "./data-sentinel", help: "Directory of votes, log and state" },
    Setting { name: "bind", value: "IP", default: "127.0.0.1", help: "Address to listen on" },
    Setting { name: "resp-port", value: "PORT", default: "26379", help: "Port of the Redis Sentinel protocol" },
    Setting {
        name: "metrics-port",
        value: "PORT",
        default: "28379",
        help: "Port of the metrics: GET /metrics, in the text format of Prometheus",
    },
    Setting { name: "peer-port", value: "PORT", default: "27379", help: "Port for nodes and other sentinels (gRPC)" },
    Setting {
        name: "sentinels",
        value: "HOST:PORT,...",
        default: "",
        help: "Peer addresses of all sentinels, this one included; the first one founds the cluster, one that is new joins it [default: this one alone]",
    },
    Setting {
        name: "nodes",
        value: "HOST:PORT,...",
        default: "127.0.0.1:7379",
        help: "Peer addresses of data nodes to begin with; the first one leads if all are empty",
    },
    Setting { name: "service", value: "NAME", default: "mymaster", help: "Name that clients ask for" },
    Setting {
        name: "announce",
        value: "HOST:PORT",
        default: "",
        help: "This sentinel's own entry in --sentinels, if it cannot be told by port and host",
    },
    Setting {
        name: "announce-host",
        value: "HOST",
        default: "",
        help: "Host that others reach this sentinel at [default: --bind, or the host name when that is 0.0.0.0]",
    },
    Setting { name: "requirepass", value: "PASSWORD", default: "", help: "Password of the Redis Sentinel protocol" },
    Setting { name: "requirepass-file", value: "FILE", default: "", help: "File that holds the password" },
    Setting {
        name: "cluster-token",
        value: "TOKEN",
        default: "",
        help: "Secret by which nodes and sentinels of a cluster know each other; the same at all of them",
    },
    Setting { name: "cluster-token-file", value: "FILE", default: "", help: "File that holds the cluster token" },
    Setting {
        name: "resp-tls-port",
        value: "PORT",
        default: "0",
        help: "Port of the Redis Sentinel protocol under TLS; 0 = none (then --resp-port 0 closes the plain port)",
    },
    Setting {
        name: "tls-cert-file",
        value: "FILE",
        default: "",
        help: "Certificate chain of this sentinel, PEM; read again at SIGHUP",
    },
    Setting { name: "tls-key-file", value: "FILE", default: "", help: "Its key, PEM" },
    Setting {
        name: "tls-ca-file",
        value: "FILE",
        default: "",
        help: "Who signs the certificates of clients, nodes and sentinels, PEM",
    },
    Setting {
        name: "tls-auth-clients",
        value: "no|optional|yes",
        default: "no",
        help: "Whether clients under TLS show a certificate",
    },
    Setting {
        name: "tls-peers",
        value: "yes|no",
        default: "no",
        help: "TLS on the peer port and towards nodes and sentinels, the same at all of them; without a token they have to show certificates",
    },
    Setting {
        name: "allow-insecure",
        value: "yes|no",
        default: "no",
        help: "Start even if the sentinel listens beyond this machine without a cluster token",
    },
    Setting { name: "min-isr", value: "N", default: "2", help: "In-sync nodes below which writes are refused" },
    Setting {
        name: "down-after-ms",
        value: "MS",
        default: "450",
        help: "Silence after which the master is suspected; above the lease and its margin",
    },
    Setting {
        name: "lease-ms",
        value: "MS",
        default: "400",
        help: "Validity of a lease; the same on nodes and sentinels",
    },
    Setting {
        name: "log-format",
        value: "auto|text|json",
        default: "auto",
        help: "auto: text on a terminal, else json",
    },
];

const ENVIRONMENT: &str = "TERCET_SENTINEL_";

/// What the command line asks for.
#[derive(Debug, Clone)]
pub enum Invocation {
    Run(Box<Config>),
    /// Ping the sentinel that runs with these settings.
    Healthcheck(Box<Config>),
    /// Ask it how the cluster is.
    Status(Box<Config>),
    /// `--help` or `--version`: print and end.
    Print(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub data: PathBuf,
    pub bind: IpAddr,
    pub resp_port: u16,
    /// Nothing listens there yet.
    pub metrics_port: u16,
    pub peer_port: u16,
    pub sentinels: Vec<Address>,
    /// This sentinel's place in `sentinels`.
    pub own_index: usize,
    pub nodes: Vec<Address>,
    pub service: String,
    pub announce_host: String,
    pub password: Option<String>,
    pub cluster_token: Option<Token>,
    pub resp_tls_port: u16,
    /// Where the certificates are, if there is TLS on any port.
    pub tls: Option<tls::Files>,
    pub tls_peers: bool,
    pub min_isr: u32,
    pub down_after: Duration,
    pub lease: Duration,
    pub log_format: LogFormat,
}

impl Config {
    /// What nobody should see in a list of processes.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let token = self.cluster_token.as_ref().map(|token| token.reveal().to_owned());
        token.into_iter().chain(self.password.clone()).collect()
    }
}

/// One line: what is wrong, where it was said, how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Reads the command line, the environment and the file.
///
/// # Errors
/// The first setting that is wrong.
pub fn read<I>(args: I, environment: impl Fn(&str) -> Option<String>) -> Result<Invocation, Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Invocation::Print(error.to_string()));
        }
        Err(error) => return Err(Error(first_line(&error))),
    };
    if matches.get_flag("print-default-config") {
        return Ok(Invocation::Print(default_file()));
    }
    let asked = matches.subcommand();
    let flags = asked.map_or(&matches, |(_, flags)| flags);
    let flag = |name: &str| {
        let below = flags.get_one::<String>(name);
        below.or_else(|| matches.try_get_one::<String>(name).ok().flatten()).cloned()
    };
    let file = match flag("config").or_else(|| environment(&variable("config"))) {
        Some(path) => read_file(Path::new(&path))?,
        None => BTreeMap::new(),
    };
    let values = Values { flag: &flag, environment: &environment, file: &file };
    let config = Box::new(values.config()?);
    if matches.get_flag("check-config") {
        if let Some(files) = config.tls.clone() {
            tls::Tls::load(files).map_err(|error| Error(error.to_string()))?;
        }
        return Ok(Invocation::Print("the settings are right\n".into()));
    }
    Ok(match asked {
        Some(("healthcheck", _)) => Invocation::Healthcheck(config),
        Some(_) => Invocation::Status(config),
        None => Invocation::Run(config),
    })
}

fn command() -> Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").help("TOML file with the same names as the flags");
    let flags = SETTINGS.iter().map(|setting| {
        let help = match setting.default {
            "" => setting.help.to_owned(),
            default => format!("{} [default: {default}]", setting.help),
        };
        Arg::new(setting.name).long(setting.name).value_name(setting.value).help(help).action(ArgAction::Set)
    });
    let flags: Vec<Arg> = flags.chain([config]).collect();
    Command::new("tercet-sentinel")
        .about("Grants leases, detects failure, decides who is master, and tells Redis clients")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(
            "Each flag can also be given as TERCET_SENTINEL_<NAME> or in the file of --config; flags come first.",
        )
        .args(flags.clone())
        .arg(switch("check-config", "Says whether the settings are right, and starts nothing"))
        .arg(switch("print-default-config", "Prints a file for --config with all settings and their defaults"))
        .subcommand(
            Command::new("healthcheck")
                .about("Pings the sentinel with these settings; exit 0 or 1")
                .args(flags.clone()),
        )
        .subcommand(
            Command::new("status").about("Shows the cluster as the sentinel with these settings sees it").args(flags),
        )
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A file for `--config` with all settings, each as a comment with its default.
fn default_file() -> String {
    use std::fmt::Write as _;
    let mut text =
        String::from("# Settings of a Tercet sentinel; flags and TERCET_SENTINEL_... variables come before them.\n");
    for Setting { name, default, help, .. } in SETTINGS {
        // Writing to a string does not fail.
        _ = write!(text, "\n# {help}\n#{name} = {default:?}\n");
    }
    text
}

/// clap explains itself over many lines; the first one says what is wrong.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    format!("{line}; see tercet-sentinel --help")
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let at = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error(format!("--config {at}: {error}; give a TOML file that can be read")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Error(format!(
            "{at}, line {line}: {}; write name = \"value\"",
            error.message().lines().next().unwrap_or_default()
        ))
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            return Err(Error(format!("{at}: {key} is no setting; there are {}", known.join(", "))));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => {
                return Err(Error(format!("{at}: {key} = {other} is neither text, a whole number nor a list of text")));
            }
        };
        values.insert(name, text);
    }
    Ok(values)
}

fn variable(name: &str) -> String {
    format!("{ENVIRONMENT}{}", name.to_uppercase().replace('-', "_"))
}

/// Where the values come from, the first one that has it first.
struct Values<'a> {
    flag: &'a dyn Fn(&str) -> Option<String>,
    environment: &'a dyn Fn(&str) -> Option<String>,
    file: &'a BTreeMap<String, String>,
}

impl Values<'_> {
    /// The value and how its source is called in an error.
    fn text(&self, name: &str) -> (String, String) {
        if let Some(value) = (self.flag)(name) {
            return (value, format!("--{name}"));
        }
        // What a node and a sentinel have in common may be called the same for both.
        let shared = name.starts_with("cluster-token").then(|| variable(name).replace(ENVIRONMENT, "TERCET_"));
        for variable in [Some(variable(name)), shared].into_iter().flatten() {
            if let Some(value) = (self.environment)(&variable) {
                return (value, variable);
            }
        }
        if let Some(value) = self.file.get(name) {
            return (value.clone(), format!("{name} in the file"));
        }
        let setting =
            SETTINGS.iter().find(|setting| setting.name == name).expect("only settings of the table are read");
        (setting.default.to_owned(), format!("--{name}"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T, Error> {
        let (text, source) = self.text(name);
        text.parse().map_err(|_| Error(format!("{source}: {text:?} is no {what}")))
    }

    fn port(&self, name: &str) -> Result<u16, Error> {
        self.number(name, "port; give a number from 0 to 65535")
    }

    fn millis(&self, name: &str) -> Result<Duration, Error> {
        self.number(name, "number of milliseconds; give a whole number such as 450").map(Duration::from_millis)
    }

    fn addresses(&self, name: &str) -> Result<Vec<Address>, Error> {
        let (text, source) = self.text(name);
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| parse_address(part).map_err(|why| Error(format!("{source}: {why}")))).collect()
    }

    /// A secret: the value itself, or what is in the file of its `-file` form, which comes first.
    fn secret(&self, name: &str) -> Result<(String, String), Error> {
        let (path, source) = self.text(&format!("{name}-file"));
        if path.is_empty() {
            return Ok(self.text(name));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error(format!("{source} {path}: {error}; give a file that can be read")))?;
        Ok((text.trim_end_matches(['\r', '\n']).to_owned(), format!("{source} {path}")))
    }

    fn password(&self) -> Result<Option<String>, Error> {
        let (password, _) = self.secret("requirepass")?;
        Ok(Some(password).filter(|password| !password.is_empty()))
    }

    fn cluster_token(&self, bind: IpAddr) -> Result<Option<Token>, Error> {
        let (text, source) = self.secret("cluster-token")?;
        let token = Token::parse(&text).map_err(|error| Error(format!("{source}: {error}")))?;
        let is_guarded = token.is_some() || bind.is_loopback() || self.is_yes("tls-peers")?;
        if !self.is_yes("allow-insecure")? && !is_guarded {
            return Err(Error(format!(
                "--bind {bind}: whoever reaches this machine could give orders to the cluster; give --cluster-token-file \
                 (a secret of the cluster) or --tls-peers yes, or say --allow-insecure yes"
            )));
        }
        Ok(token)
    }

    fn is_yes(&self, name: &str) -> Result<bool, Error> {
        match self.text(name) {
            (text, _) if text == "yes" => Ok(true),
            (text, _) if text == "no" => Ok(false),
            (text, source) => Err(Error(format!("{source}: {text:?} is not yes or no"))),
        }
    }

    fn tls(&self, has_token: bool) -> Result<Option<tls::Files>, Error> {
        let file = |name: &str| Some(self.text(name).0).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (certificate, key, authority) = (file("tls-cert-file"), file("tls-key-file"), file("tls-ca-file"));
        let clients = match self.text("tls-auth-clients") {
            (text, _) if text == "no" => tls::Certificates::Unasked,
            (text, _) if text == "optional" => tls::Certificates::Optional,
            (text, _) if text == "yes" => tls::Certificates::Required,
            (text, source) => return Err(Error(format!("{source}: {text:?} is not no, optional or yes"))),
        };
        let is_for_peers = self.is_yes("tls-peers")?;
        let peers = match (is_for_peers, has_token) {
            (false, _) => tls::Certificates::Unasked,
            (true, true) => tls::Certificates::Optional,
            (true, false) => tls::Certificates::Required,
        };
        let is_wanted = self.port("resp-tls-port")? != 0 || is_for_peers;
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                if authority.is_none() && (is_for_peers || clients != tls::Certificates::Unasked) {
                    return Err(Error("--tls-auth-clients and --tls-peers need --tls-ca-file".into()));
                }
                Ok(Some(tls::Files { certificate, key, authority, clients, peers }))
            }
            _ if is_wanted => Err(Error("TLS needs --tls-cert-file and --tls-key-file".into())),
            _ => Ok(None),
        }
    }

    /// A name that others are told.
    fn name(&self, setting: &str, example: &str) -> Result<String, Error> {
        let (name, source) = self.text(setting);
        if !is_name(&name) {
            return Err(Error(format!("{source}: {name:?} is no name; give letters, digits, - _ . such as {example}")));
        }
        Ok(name)
    }

    fn config(&self) -> Result<Config, Error> {
        let (bind, source) = self.text("bind");
        let bind: IpAddr = bind
            .parse()
            .map_err(|_| Error(format!("{source}: {bind:?} is no IP address; give one of this host, or 0.0.0.0")))?;
        let peer_port = self.port("peer-port")?;
        let announce_host = match self.text("announce-host") {
            (host, source) if !host.is_empty() && !is_host(&host) => {
                return Err(Error(format!("{source}: {host:?} is no host; give a host name or an address")));
            }
            (host, _) if !host.is_empty() => host,
            _ if bind.is_unspecified() => host_name(),
            _ => bind.to_string(),
        };
        let lease = self.millis("lease-ms")?;
        let down_after = self.millis("down-after-ms")?;
        let least = limits::lease_bound(lease);
        if lease < Duration::from_millis(50) {
            return Err(Error("--lease-ms: a lease under 50 ms cannot be renewed in time; give 400 or so".into()));
        }
        if down_after < least {
            let least = least.as_millis() + 1;
            return Err(Error(format!(
                "--down-after-ms must be at least {least} for this --lease-ms (lease, drift and margin)"
            )));
        }
        let sentinels = self.addresses("sentinels")?;
        let (sentinels, own_index) = self.own_entry(sentinels, &announce_host, bind, peer_port)?;
        let nodes = self.addresses("nodes")?;
        if nodes.is_empty() || nodes.len() > limits::MOST_NODES {
            return Err(Error(format!("--nodes: give 1 to {} addresses host:port", limits::MOST_NODES)));
        }
        let service = self.name("service", "mymaster")?;
        let name = self.name("name", "s1")?;
        let cluster_token = self.cluster_token(bind)?;
        let min_isr = self.number("min-isr", "number of nodes; give 1 or more")?;
        if min_isr as usize > limits::MOST_NODES {
            return Err(Error(format!("--min-isr: there are {} nodes at the most", limits::MOST_NODES)));
        }
        if min_isr == 0 {
            return Err(Error("--min-isr: 0 would acknowledge writes that nobody holds; give 1 or more".into()));
        }
        let log_format = match self.text("log-format") {
            (text, _) if text == "auto" => LogFormat::Auto,
            (text, _) if text == "text" => LogFormat::Text,
            (text, _) if text == "json" => LogFormat::Json,
            (text, source) => return Err(Error(format!("{source}: {text:?} is not auto, text or json"))),
        };
        Ok(Config {
            name,
            data: PathBuf::from(self.text("data").0),
            bind,
            resp_port: self.port("resp-port")?,
            metrics_port: self.port("metrics-port")?,
            peer_port,
            sentinels,
            own_index,
            nodes,
            service,
            announce_host,
            password: self.password()?,
            tls: self.tls(cluster_token.is_some())?,
            cluster_token,
            resp_tls_port: self.port("resp-tls-port")?,
            tls_peers: self.is_yes("tls-peers")?,
            min_isr,
            down_after,
            lease,
            log_format,
        })
    }

    /// Finds this sentinel in the list: by --announce, or by its port and a host that is ours.
    fn own_entry(
        &self,
        sentinels: Vec<Address>,
        announce_host: &str,
        bind: IpAddr,
        port: u16,
    ) -> Result<(Vec<Address>, usize), Error> {
        let (announce, source) = self.text("announce");
        if sentinels.is_empty() {
            let own = match announce.as_str() {
                "" => Address { host: announce_host.to_owned(), port },
                text => parse_address(text).map_err(|why| Error(format!("{source}: {why}")))?,
            };
            return Ok((vec![own], 0));
        }
        if sentinels.len() > limits::MOST_SENTINELS {
            return Err(Error(format!("--sentinels: at most {} are useful; give 3 or 5", limits::MOST_SENTINELS)));
        }
        if let Some(double) = (1..sentinels.len()).find(|&at| sentinels[..at].contains(&sentinels[at])) {
            return Err(Error(format!("--sentinels: {} is there twice; name each sentinel once", sentinels[double])));
        }
        let found = if announce.is_empty() {
            let same_host = |host: &str| host == announce_host || host == bind.to_string();
            let with_port = || sentinels.iter().enumerate().filter(|(_, entry)| entry.port == port);
            let named = with_port().find(|(_, entry)| same_host(&entry.host));
            named.or_else(|| with_port().find(|(_, entry)| is_local(&entry.host))).map(|(at, _)| at)
        } else {
            let own = parse_address(&announce).map_err(|why| Error(format!("{source}: {why}")))?;
            sentinels.iter().position(|entry| *entry == own)
        };
        match found {
            Some(at) => Ok((sentinels, at)),
            None => {
                let list: Vec<String> = sentinels.iter().map(ToString::to_string).collect();
                let own = if announce.is_empty() { format!("{announce_host}:{port}") } else { announce };
                Err(Error(format!(
                    "this sentinel ({own}) is not in --sentinels {}; add it, or say with --announce which one it is",
                    list.join(",")
                )))
            }
        }
    }
}

/// `host:port` or `[ipv6]:port`.
fn parse_address(text: &str) -> Result<Address, String> {
    let address: Address = text.parse()?;
    if is_host(&address.host) { Ok(address) } else { Err(format!("{text:?} is not host:port")) }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { Ipv4Addr::LOCALHOST.to_string() } else { name.to_owned() }
}

/// An address is ours if a socket can be bound to it.
fn is_local(host: &str) -> bool {
    let Ok(addresses) = (host, 0).to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| std::net::UdpSocket::bind(address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Config, Error> {
        with(args, &[])
    }

    fn with(args: &[&str], environment: &[(&str, &str)]) -> Result<Config, Error> {
        let environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args = std::iter::once("tercet-sentinel").chain(args.iter().copied());
        match read(args, |name| environment.get(name).cloned())? {
            Invocation::Run(config) | Invocation::Healthcheck(config) | Invocation::Status(config) => Ok(*config),
            Invocation::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn no_arguments_are_a_sentinel_alone_on_loopback() {
        let config = run(&[]).unwrap();
        assert_eq!(config.sentinels, [Address { host: "127.0.0.1".into(), port: 27379 }]);
        assert_eq!((config.own_index, config.data), (0, PathBuf::from("./data-sentinel")));
    }

    #[test]
    fn flags_come_before_environment_before_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "name = \"file\"\nservice = \"file\"\nresp_port = 1\nnodes = [\"a:1\", \"b:2\"]\n")
            .unwrap();
        let path = file.path().to_str().unwrap();
        let environment = [("TERCET_SENTINEL_NAME", "env"), ("TERCET_SENTINEL_SERVICE", "env")];
        let config = with(&["--config", path, "--name", "flag"], &environment).unwrap();
        assert_eq!((config.name.as_str(), config.service.as_str(), config.resp_port), ("flag", "env", 1));
        assert_eq!(config.nodes.len(), 2);
    }

    #[test]
    fn a_sentinel_finds_itself_by_port_and_host_or_by_announce() {
        let three = "127.0.0.1:27379,127.0.0.1:27380,10.255.255.1:27381";
        assert_eq!(run(&["--sentinels", three, "--peer-port", "27380"]).unwrap().own_index, 1);
        let announced = run(&["--sentinels", three, "--announce", "10.255.255.1:27381"]).unwrap();
        assert_eq!(announced.own_index, 2);
        let text = run(&["--sentinels", three, "--peer-port", "1"]).unwrap_err().to_string();
        assert!(text.starts_with("this sentinel (127.0.0.1:1) is not in --sentinels 127.0.0.1:27379,"), "{text}");
    }

    #[test]
    fn a_wrong_setting_is_one_line_that_names_its_source() {
        let cases: [(&[&str], &str); 7] = [
            (&["--prot", "1"], "unexpected argument '--prot' found; see tercet-sentinel --help"),
            (&["--resp-port", "x"], "--resp-port: \"x\" is no port; give a number from 0 to 65535"),
            (&["--nodes", "host"], "--nodes: \"host\" is not host:port"),
            (&["--bind", "here"], "--bind: \"here\" is no IP address; give one of this host, or 0.0.0.0"),
            (&["--log-format", "xml"], "--log-format: \"xml\" is not auto, text or json"),
            (
                &["--down-after-ms", "400"],
                "--down-after-ms must be at least 426 for this --lease-ms (lease, drift and margin)",
            ),
            (&["--sentinels", "a:1,a:1"], "--sentinels: a:1 is there twice; name each sentinel once"),
        ];
        for (args, text) in cases {
            assert_eq!(run(args).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_default_file_is_one_that_can_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows = default_file();
        let rows: Vec<_> =
            rows.lines().filter(|line| !line.starts_with("# ")).map(|line| line.trim_start_matches('#')).collect();
        std::fs::write(file.path(), rows.join("\n")).unwrap();
        assert!(run(&["--config", file.path().to_str().unwrap()]).is_ok());
        let checked = read(["tercet-sentinel", "--check-config"], |_| None).unwrap();
        assert!(matches!(checked, Invocation::Print(text) if text.contains("right")));
        assert!(read(["tercet-sentinel", "--check-config", "--name", "a b"], |_| None).is_err());
    }

    #[test]
    fn a_sentinel_that_strangers_could_order_does_not_start_unless_told_so() {
        let open = ["--bind", "0.0.0.0", "--announce-host", "s1"];
        let error = run(&open).unwrap_err().to_string();
        assert!(error.contains("--cluster-token-file") && error.contains("--allow-insecure yes"), "{error}");
        assert!(run(&[&open[..], &["--allow-insecure", "yes"]].concat()).is_ok());
        let config = with(&open, &[("TERCET_CLUSTER_TOKEN", "0123456789abcdef")]).unwrap();
        assert!(config.cluster_token.is_some());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert!(run(&[&open[..], &["--cluster-token-file", path]].concat()).unwrap().cluster_token.is_some());
        let error = run(&["--cluster-token", "s3cret"]).unwrap_err().to_string();
        assert!(error.contains("at least 16 characters") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_name_or_host_that_others_could_not_use_is_refused_here() {
        for args in [["--announce-host", "my node"], ["--name", "a b"], ["--service", "a/b"], ["--nodes", "my node:1"]]
        {
            assert!(run(&args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn a_wrong_file_is_one_line_that_names_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(file.path(), "name = \"a\"\nport = 1\n").unwrap();
        assert!(run(&["--config", path]).unwrap_err().to_string().contains("port is no setting; there are name, data"));
        std::fs::write(file.path(), "name = \"a\"\nservice = \n").unwrap();
        let text = run(&["--config", path]).unwrap_err().to_string();
        assert!(text.contains("line 2") && !text.contains('\n'), "{text}");
    }
}
