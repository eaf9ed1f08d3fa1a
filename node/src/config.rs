//! Settings of the node: flags, environment, file and defaults, in this order of precedence.
//!
//! What is read once, at the start, is a row of the table here; what changes at run time is a row of `live.rs` and a cell
//! that its owner reads. Each row gives a field of `Config`, the flag `--like-this`, the variable `TERCET_LIKE_THIS` and the key `like-this` of
//! the TOML file. A secret has a second form, `--requirepass-file` and so on, that names a file with the value.

mod bytes;
mod cell;
mod file;
mod import;
pub mod live;
pub mod special;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Command};
use tercet_edge::token::Token;
use tercet_edge::{name, tls};

pub use cell::{Kind, Value};
pub use file::{replace_file, rewrite};
pub use import::Import;
use live::{LIVE, Live, LiveSetting};

/// A setting that cannot be used: one line that says what, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{flag}: {value:?} is not {expected}; {hint}")]
    Value { flag: String, value: String, expected: String, hint: String },
    #[error("{path}: {reason}; check the path or leave {flag} out")]
    File { path: String, reason: String, flag: String },
    #[error("{path}: unknown setting {key:?}; --help lists the settings")]
    UnknownKey { path: String, key: String },
    #[error("--{name}: {value:?} cannot be used: {reason}")]
    Live { name: &'static str, value: String, reason: String },
    #[error("{0}")]
    Insecure(String),
}

/// What the program is to do.
#[derive(Debug)]
pub enum Action {
    Serve(Box<Config>),
    /// Ask the node on the configured RESP port whether it serves.
    Healthcheck(Box<Config>),
    /// Ask the node on the configured management port how the cluster is.
    Status(Box<Config>),
    /// Show the busiest commands and queues.
    Top {
        config: Box<Config>,
        times: Times,
        every: Duration,
    },
    /// Let the node on the configured RESP port write a copy of its data.
    Backup {
        config: Box<Config>,
        directory: PathBuf,
    },
    /// Fill the configured data directory from a copy.
    Restore {
        config: Box<Config>,
        directory: PathBuf,
        over: Over,
    },
    /// Copy what a Redis, a file of one, or a RabbitMQ has to the running node.
    Import {
        config: Box<Config>,
        import: Import,
    },
}

impl Action {
    /// The settings with which it is to be done.
    #[must_use]
    pub fn into_config(self) -> Box<Config> {
        match self {
            Self::Serve(config)
            | Self::Healthcheck(config)
            | Self::Status(config)
            | Self::Backup { config, .. }
            | Self::Restore { config, .. }
            | Self::Top { config, .. }
            | Self::Import { config, .. } => config,
        }
    }
}

/// How often `top` draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once, for scripts.
    Once,
    UntilStopped,
}

/// What may be where data is copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Nothing,
    /// It is removed first.
    Anything,
}

macro_rules! settings {
    ($( $field:ident : $type:ty, $flag:literal, $default:expr, $secret:ident, $help:literal; )*) => {
        /// All settings, with their values.
        #[derive(Debug, Clone)]
        pub struct Config {
            $( #[doc = $help] pub $field: $type, )*
            /// What changes at run time.
            pub live: Arc<Live>,
            /// The file of `--config`.
            pub file: Option<PathBuf>,
            /// Settings of `live` that a flag or a variable gives: a reload of the file leaves them alone.
            pub pinned: Vec<&'static str>,
        }

        /// The table.
        pub const SETTINGS: &[Setting] = &[ $( Setting {
            flag: $flag, default: $default, secret: Secret::$secret, help: $help,
        }, )* ];

        impl Config {
            fn resolve(mut value: impl FnMut(&Setting) -> Result<String, Error>) -> Result<Self, Error> {
                let mut rows = SETTINGS.iter();
                $( let $field = {
                    let setting = rows.next().expect("one row a field");
                    <$type as Parse>::parse(&value(setting)?).map_err(|(value, expected)| Error::Value {
                        flag: format!("--{}", setting.flag), value, expected,
                        hint: format!("the default is {:?}", setting.default),
                    })?
                }; )*
                Ok(Self { $($field,)* live: Arc::default(), file: None, pinned: Vec::new() })
            }

            /// The value of a setting of the start as text, for CONFIG GET.
            #[must_use]
            pub fn text(&self, flag: &str) -> Option<String> {
                $( if flag == $flag { return Some(self.$field.show()); } )*
                None
            }
        }
    };
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    pub flag: &'static str,
    pub default: &'static str,
    pub secret: Secret,
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    Open,
    Secret,
}

settings! {
    name: String, "name", "n1", Open, "Name of the node: unique in the cluster, and the same after a restart";
    data: PathBuf, "data", "./data", Open, "Directory of the node's data";
    bind: IpAddr, "bind", "127.0.0.1", Open, "Address to listen on";
    announce_host: String, "announce-host", "", Open, "Host that others reach this node by; the bind address if empty";
    resp_port: u16, "resp-port", "6379", Open, "Port of the Redis protocol";
    amqp_port: u16, "amqp-port", "5672", Open, "Port of AMQP 0-9-1";
    gateway_port: u16, "gateway-port", "50051", Open, "Port of the gRPC stream gateway";
    http_port: u16, "http-port", "15672", Open, "Port of the management page and of RabbitMQ's HTTP API";
    metrics_port: u16, "metrics-port", "15692", Open, "Port of the metrics: GET /metrics, in the text format of Prometheus";
    peer_port: u16, "peer-port", "7379", Open, "Port for other nodes and for sentinels";
    resp_tls_port: u16, "resp-tls-port", "0", Open, "Port of the Redis protocol under TLS, e.g. 6380; 0 = none (then --resp-port 0 closes the plain port)";
    amqp_tls_port: u16, "amqp-tls-port", "0", Open, "Port of AMQP under TLS, e.g. 5671; 0 = none (then --amqp-port 0 closes the plain port)";
    gateway_tls_port: u16, "gateway-tls-port", "0", Open, "Port of the gRPC stream gateway under TLS; 0 = none (then --gateway-port 0 closes the plain port)";
    http_tls_port: u16, "http-tls-port", "0", Open, "Port of the management page and API under TLS, e.g. 15671; 0 = none (then --http-port 0 closes the plain port)";
    metrics_tls_port: u16, "metrics-tls-port", "0", Open, "Port of the metrics under TLS, e.g. 15691; 0 = none (then --metrics-port 0 closes the plain port)";
    tls_cert_file: String, "tls-cert-file", "", Open, "Certificate chain of this node, PEM; read again at SIGHUP";
    tls_key_file: String, "tls-key-file", "", Open, "Its key, PEM";
    tls_ca_file: String, "tls-ca-file", "", Open, "Who signs the certificates of clients, nodes and sentinels, PEM";
    tls_auth_clients: AuthClients, "tls-auth-clients", "no", Open, "Whether clients under TLS show a certificate: no, optional or yes";
    tls_peers: YesNo, "tls-peers", "no", Open, "TLS on the port for peers and towards nodes and sentinels: yes or no, the same at all of them; without a token they have to show certificates";
    sentinels: Vec<Endpoint>, "sentinels", "", Open, "Peer addresses of all sentinels, host:port,...; none = a node of its own";
    aclfile: String, "aclfile", "", Open, "File of users that ACL LOAD reads and ACL SAVE writes";
    requirepass: String, "requirepass", "", Secret, "Password of RESP clients, and of the AMQP user guest";
    cluster_token: Option<Token>, "cluster-token", "", Secret, "Secret by which nodes and sentinels of a cluster know each other; the same at all of them";
    allow_insecure: YesNo, "allow-insecure", "no", Open, "Start even if the node listens beyond this machine without a password, or in a cluster without a token: yes or no";
    ack: Ack, "ack", "", Open, "When a write is acknowledged: local (this node has written it: a kill of the process loses nothing), memory (faster: a kill loses the last milliseconds) or replicated (the default as soon as there are sentinels)";
    persistence: Switch, "persistence", "on", Open, "Keep the data on disk: on or off (a restarted node is then empty, and loaded by its master)";
    fsync: Fsync, "fsync", "everysec", Open, "When the disk is synced: always (before a write is acknowledged), everysec or no";
    io_threads: usize, "io-threads", "0", Open, "Threads that serve clients; 0 = half of the cores, one at least";
    memory_high_watermark: Bytes, "memory-high-watermark", "0", Open, "Bytes of messages in queues, unsent output and half-read input beyond which AMQP publishers are blocked; 0 = 40 % of the memory of the machine or the cgroup";
    max_message_size: Bytes, "max-message-size", "16mb", Open, "Largest AMQP message; 512mb at most";
    channel_max: u16, "channel-max", "2047", Open, "Channels of an AMQP connection at most";
    lease_ms: u64, "lease-ms", "400", Open, "Length of the master's lease in milliseconds; the same at all nodes and sentinels";
    enable_debug_command: Protection, "enable-debug-command", "no", Open, "Who may call DEBUG: no, local (clients of this machine) or yes";
    log_format: LogFormat, "log-format", "auto", Open, "Format of the log: auto, text or json";
}

/// `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A number of bytes with a unit, as redis.conf writes it: 1gb = 1024^3, 1g = 1000^3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $( $variant:ident = $text:literal ),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $variant ),* }
        impl Parse for $name {
            fn parse(text: &str) -> Result<Self, (String, String)> {
                match text { $( $text => Ok(Self::$variant), )*
                    other => Err((other.to_owned(), [$($text),*].join(", ").replacen(", ", " or ", 0)))
                }
            }
            fn show(&self) -> String { match self { $( Self::$variant => $text.to_owned() ),* } }
        }
    };
}

choice! {
    /// When a write is acknowledged.
    Ack { Automatic = "", Local = "local", Memory = "memory", Replicated = "replicated" }
}
choice! {
    /// Whether clients have to show a certificate.
    AuthClients { No = "no", Optional = "optional", Yes = "yes" }
}
choice! {
    /// Yes or no, as redis.conf says it.
    YesNo { No = "no", Yes = "yes" }
}
choice! {
    /// Who may call what helps nobody but testers.
    Protection { No = "no", Yes = "yes", Local = "local" }
}
choice! {
    /// On or off.
    Switch { On = "on", Off = "off" }
}
choice! {
    /// When the disk is synced.
    Fsync { Always = "always", EverySecond = "everysec", Never = "no" }
}
choice! {
    /// How log lines look.
    LogFormat { Auto = "auto", Text = "text", Json = "json" }
}

/// From and to the text of a flag, a variable or a file.
trait Parse: Sized {
    /// Err: the value, and what would have been right.
    fn parse(text: &str) -> Result<Self, (String, String)>;
    fn show(&self) -> String;
}

macro_rules! parse_from_str {
    ($($type:ty, $expected:literal;)*) => { $(
        impl Parse for $type {
            fn parse(text: &str) -> Result<Self, (String, String)> {
                <$type>::from_str(text.trim()).map_err(|_| (text.to_owned(), $expected.to_owned()))
            }
            fn show(&self) -> String { self.to_string() }
        }
    )* };
}

parse_from_str! {
    u16, "a port number (0 to 65535)";
    u64, "a whole number";
    usize, "a whole number";
    IpAddr, "an IP address";
    String, "text";
}

impl Parse for Option<Token> {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        // The value is not repeated: it is a secret.
        Token::parse(text).map_err(|error| ("the given text".to_owned(), format!("a cluster token: {error}")))
    }

    /// Nobody is shown it.
    fn show(&self) -> String {
        String::new()
    }
}

impl Parse for PathBuf {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() { Err((String::new(), "a path".into())) } else { Ok(Self::from(text)) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Parse for Vec<Endpoint> {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                let wrong = || (part.to_owned(), "host:port".to_owned());
                let (host, port) = part.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().map_err(|_| wrong())?;
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                if name::is_host(bare) { Ok(Endpoint { host: bare.to_owned(), port }) } else { Err(wrong()) }
            })
            .collect()
    }

    fn show(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Parse for Bytes {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        let bytes = bytes::memory(text).and_then(|bytes| u64::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| (text.to_owned(), "a number of bytes like 100mb".to_owned()))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Config {
    /// Reads flags, environment and file of this process.
    ///
    /// # Errors
    /// A value or the file cannot be used. (`--help`, `--version` and unknown flags end the process in clap: 0 and 2.)
    pub fn from_process() -> Result<Action, Error> {
        Self::from_args(std::env::args_os(), |variable| std::env::var(variable).ok())
    }

    /// As `from_process`, from given arguments and variables.
    ///
    /// # Errors
    /// A value or the file cannot be used.
    pub fn from_args(
        args: impl IntoIterator<Item = std::ffi::OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Action, Error> {
        let matches = command().try_get_matches_from(args).unwrap_or_else(|error| {
            if error.use_stderr() {
                // One line that says what is wrong and how to mend it.
                let text = error.to_string();
                let line = text.lines().next().unwrap_or("error: wrong arguments");
                eprintln!("{}; --help lists the flags", line.trim_end_matches('.'));
                std::process::exit(2);
            }
            error.exit()
        });
        if matches.get_flag("print-default-config") {
            print!("{}", default_file());
            std::process::exit(0);
        }
        let path = matches.get_one::<String>("config").cloned().or_else(|| variable("TERCET_CONFIG"));
        let file = path.as_ref().map(|path| file::read(path)).transpose()?.unwrap_or_default();
        let pinned = |flag: &str| {
            let flagged = matches.try_get_one::<String>(flag).ok().flatten().cloned();
            flagged.or_else(|| variable(&format!("TERCET_{}", flag.to_uppercase().replace('-', "_"))))
        };
        let given = |flag: &str| pinned(flag).or_else(|| file.get(flag).cloned());
        let mut config = Self::resolve(|setting| {
            let file_flag = format!("{}-file", setting.flag);
            let file = given(&file_flag).filter(|path| setting.secret == Secret::Secret && !path.is_empty());
            // An empty secret beside a file with one: a container's environment can only be emptied, not taken away.
            if let Some(value) = given(setting.flag).filter(|value| !value.is_empty() || file.is_none()) {
                return Ok(value);
            }
            match file {
                None => Ok(setting.default.to_owned()),
                Some(path) => std::fs::read_to_string(&path)
                    .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                    .map_err(|error| Error::File { path, reason: error.to_string(), flag: format!("--{file_flag}") }),
            }
        })?;
        for setting in LIVE {
            if let Some(value) = setting.names().find_map(pinned) {
                setting.set(&config.live, &value)?;
                config.pinned.push(setting.name);
            } else if let Some(value) = setting.names().find_map(given) {
                setting.set(&config.live, &value)?;
            }
        }
        config.file = path.map(PathBuf::from);
        config.check_names()?;
        config.check_tls()?;
        if matches.get_flag("check-config") {
            config.check_trust()?;
            if let Some(files) = config.tls_files() {
                tls::Tls::load(files).map_err(|error| Error::Insecure(error.to_string()))?;
            }
            println!("the settings are right");
            std::process::exit(0);
        }
        let config = Box::new(config);
        Ok(match matches.subcommand() {
            Some(("healthcheck", _)) => Action::Healthcheck(config),
            Some(("status", _)) => Action::Status(config),
            Some(("top", given)) => {
                let times = if given.get_flag("once") { Times::Once } else { Times::UntilStopped };
                let seconds = given.get_one::<f64>("interval").copied().unwrap_or(2.0);
                Action::Top { config, times, every: Duration::from_secs_f64(seconds.clamp(0.1, 3600.0)) }
            }
            Some(("backup", given)) => Action::Backup { config, directory: path_of(given) },
            Some(("restore", given)) => {
                let over = if given.get_flag("force") { Over::Anything } else { Over::Nothing };
                Action::Restore { config, directory: path_of(given), over }
            }
            Some(("import", given)) => Action::Import { config, import: Import::of(given)? },
            _ => {
                config.check_trust()?;
                Action::Serve(config)
            }
        })
    }

    /// Reads the file again, and sets what changes at run time to what it says now. Says which settings have changed.
    ///
    /// # Errors
    /// The file or a value in it cannot be used; nothing has changed.
    pub fn reload(&self) -> Result<Vec<&'static LiveSetting>, Error> {
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        let file = file::read(&path.to_string_lossy())?;
        let mut changes = Vec::new();
        for setting in LIVE.iter().filter(|setting| !self.pinned.contains(&setting.name)) {
            let Some(text) = setting.names().find_map(|name| file.get(name)) else { continue };
            let value = setting.read(text)?;
            changes.push((setting, setting.show(&self.live), value));
        }
        let changed = changes.into_iter().filter_map(|(setting, before, value)| {
            setting.put(&self.live, value);
            (setting.show(&self.live) != before).then_some(setting)
        });
        Ok(changed.collect())
    }

    /// What others are told goes into their settings, logs and replies.
    fn check_names(&self) -> Result<(), Error> {
        let wrong = |flag: &str, value: &str, expected: &str, hint: &str| Error::Value {
            flag: flag.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
            hint: hint.to_owned(),
        };
        if !name::is_name(&self.name) {
            return Err(wrong("--name", &self.name, "a name", "give letters, digits, - _ . such as n1"));
        }
        if !self.announce_host.is_empty() && !name::is_host(&self.announce_host) {
            return Err(wrong("--announce-host", &self.announce_host, "a host", "give a host name or an address"));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), Error> {
        let ports =
            [self.resp_tls_port, self.amqp_tls_port, self.gateway_tls_port, self.http_tls_port, self.metrics_tls_port];
        let has_port = ports.iter().any(|port| *port != 0);
        let wants_tls = has_port || self.tls_peers == YesNo::Yes;
        let has_pair = !self.tls_cert_file.is_empty() && !self.tls_key_file.is_empty();
        let needs_authority = self.tls_auth_clients != AuthClients::No || self.tls_peers == YesNo::Yes;
        let wrong = |text: &str| Err(Error::Insecure(text.to_owned()));
        if wants_tls && !has_pair {
            return wrong("TLS needs --tls-cert-file and --tls-key-file");
        }
        if wants_tls && needs_authority && self.tls_ca_file.is_empty() {
            return wrong("--tls-auth-clients and --tls-peers need --tls-ca-file");
        }
        Ok(())
    }

    /// Where the certificates are, if there is TLS on any port.
    #[must_use]
    pub fn tls_files(&self) -> Option<tls::Files> {
        if self.tls_cert_file.is_empty() {
            return None;
        }
        let clients = match self.tls_auth_clients {
            AuthClients::No => tls::Certificates::Unasked,
            AuthClients::Optional => tls::Certificates::Optional,
            AuthClients::Yes => tls::Certificates::Required,
        };
        let peers = match (self.tls_peers, &self.cluster_token) {
            (YesNo::No, _) => tls::Certificates::Unasked,
            (YesNo::Yes, Some(_)) => tls::Certificates::Optional,
            (YesNo::Yes, None) => tls::Certificates::Required,
        };
        Some(tls::Files {
            certificate: self.tls_cert_file.clone().into(),
            key: self.tls_key_file.clone().into(),
            authority: (!self.tls_ca_file.is_empty()).then(|| self.tls_ca_file.clone().into()),
            clients,
            peers,
        })
    }

    /// Whoever can reach a port may use it, unless something keeps strangers out.
    fn check_trust(&self) -> Result<(), Error> {
        if self.bind.is_loopback() || self.allow_insecure == YesNo::Yes {
            return Ok(());
        }
        let mut missing = Vec::new();
        if self.requirepass.is_empty() {
            missing.push("--requirepass-file (a password for clients)");
        }
        if self.is_clustered() && self.cluster_token.is_none() && self.tls_peers == YesNo::No {
            missing.push("--cluster-token-file (a secret of the cluster) or --tls-peers yes");
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (bind, missing) = (self.bind, missing.join(" and "));
        Err(Error::Insecure(format!(
            "--bind {bind}: whoever reaches this machine could use the node; give {missing}, or say --allow-insecure yes"
        )))
    }

    /// What nobody should see in a list of processes.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let token = self.cluster_token.as_ref().map(|token| token.reveal().to_owned());
        token.into_iter().chain([self.requirepass.clone()]).collect()
    }

    /// Whether sentinels decide who is master.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        !self.sentinels.is_empty()
    }

    /// The host that others reach this node by.
    #[must_use]
    pub fn announced_host(&self) -> String {
        match (self.announce_host.as_str(), self.bind) {
            ("", bind) if bind.is_unspecified() => hostname(),
            ("", bind) => bind.to_string(),
            (host, _) => host.to_owned(),
        }
    }

    #[must_use]
    pub fn is_ack_replicated(&self) -> bool {
        match self.ack {
            Ack::Automatic => self.is_clustered(),
            Ack::Local | Ack::Memory => false,
            Ack::Replicated => true,
        }
    }

    /// Whether an acknowledgement waits until the kernel has what was written.
    #[must_use]
    pub fn is_ack_written(&self) -> bool {
        match self.ack {
            Ack::Automatic => !self.is_clustered(),
            Ack::Local => true,
            Ack::Memory | Ack::Replicated => false,
        }
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "localhost".into(), |name| name.trim().into())
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(clap::ArgAction::SetTrue).help(help)
}

fn directory() -> Arg {
    Arg::new("directory").value_name("DIR").required(true).help("Directory of the backup")
}

fn path_of(given: &clap::ArgMatches) -> PathBuf {
    given.get_one::<String>("directory").map(PathBuf::from).unwrap_or_default()
}

/// A file for `--config` with all settings, each as a comment with its default.
fn default_file() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("# Settings of a Tercet node; flags and TERCET_... variables come before them.\n");
    for Setting { flag, default, secret, help } in SETTINGS {
        // Writing to a string does not fail.
        _ = write!(text, "\n# {help}\n#{flag} = {default:?}\n");
        if *secret == Secret::Secret {
            _ = writeln!(text, "#{flag}-file = \"\"");
        }
    }
    for LiveSetting { name, default, help, .. } in LIVE.iter().filter(|setting| setting.used == live::Use::Read) {
        _ = write!(text, "\n# {help}\n#{name} = {default:?}\n");
    }
    text
}

fn command() -> Command {
    let mut command = Command::new("tercet-node")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Tercet node: RESP, AMQP 0-9-1 and a gRPC stream gateway over one replicated state")
        .arg(Arg::new("config").long("config").value_name("FILE").global(true).help("TOML file with settings"))
        .arg(switch("check-config", "Says whether the settings are right, and starts nothing"))
        .arg(switch("print-default-config", "Prints a file for --config with all settings and their defaults"))
        .subcommand(Command::new("healthcheck").about("Asks the node on the RESP port whether it serves; exit 0 or 1"))
        .subcommand(Command::new("status").about("Shows the cluster as the node on --http-port sees it, in ten lines"))
        .subcommand(
            Command::new("top")
                .about("Shows the busiest commands and queues of the master, until it is stopped")
                .arg(switch("once", "Shows them once, for scripts"))
                .arg(
                    Arg::new("interval")
                        .long("interval")
                        .value_name("SECONDS")
                        .value_parser(clap::value_parser!(f64))
                        .help("Between two looks [2]"),
                ),
        )
        .subcommand(
            Command::new("backup")
                .about("Lets the running node write a copy of its data to a new directory on its machine")
                .arg(directory()),
        )
        .subcommand(
            Command::new("restore").about("Fills --data from a backup, while no node runs on it").arg(directory()).arg(
                Arg::new("force").long("force").action(clap::ArgAction::SetTrue).help("Replace what is in --data"),
            ),
        )
        .subcommand(import::command());
    for setting in SETTINGS {
        let arg = |flag: String| Arg::new(flag.clone()).long(flag).global(true).allow_hyphen_values(true);
        let default = if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        command = command.arg(arg(setting.flag.to_owned()).help(format!("{}{default}", setting.help)));
        if setting.secret == Secret::Secret {
            command = command.arg(arg(format!("{}-file", setting.flag)).help("File that holds the value"));
        }
    }
    for setting in LIVE {
        let default = if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        for name in setting.names() {
            let arg = Arg::new(name).long(name).global(true).allow_hyphen_values(true);
            let is_shown = setting.used == live::Use::Read && name == setting.name;
            let heading = "Settings that CONFIG SET changes at run time";
            command = command.arg(arg.help(format!("{}{default}", setting.help)).help_heading(heading).hide(!is_shown));
        }
    }
    command
}

impl LiveSetting {
    fn read(&self, text: &str) -> Result<Value, Error> {
        self.kind.read(text).map_err(|reason| Error::Live { name: self.name, value: text.to_owned(), reason })
    }

    fn set(&self, live: &Live, text: &str) -> Result<(), Error> {
        self.read(text).map(|value| self.put(live, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, Error> {
        let args = std::iter::once("tercet-node").chain(args.iter().copied()).map(Into::into);
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Config::from_args(args, variable).map(|action| *action.into_config())
    }

    #[test]
    fn no_arguments_at_all_is_a_standalone_node_on_loopback() {
        let config = config(&[], &[]).unwrap();
        assert_eq!((config.resp_port, config.is_clustered(), config.is_ack_replicated()), (6379, false, false));
        assert_eq!(config.announced_host(), "127.0.0.1");
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "resp-port = 1\namqp-port = 2\nname = 'f'\nsentinels = ['a:1', 'b:2']\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config =
            config(&["--config", path, "--resp-port", "3"], &[("TERCET_AMQP_PORT", "4"), ("TERCET_RESP_PORT", "5")])
                .unwrap();
        assert_eq!((config.resp_port, config.amqp_port, config.name.as_str()), (3, 4, "f"));
        assert_eq!(config.sentinels.len(), 2);
        assert!(config.is_ack_replicated());
    }

    #[test]
    fn a_wrong_value_says_what_would_be_right() {
        let error = config(&["--resp-port", "many"], &[]).unwrap_err().to_string();
        assert_eq!(error, "--resp-port: \"many\" is not a port number (0 to 65535); the default is \"6379\"");
        assert!(config(&["--sentinels", "nowhere"], &[]).unwrap_err().to_string().contains("host:port"));
        assert!(config(&["--config", "/nowhere"], &[]).unwrap_err().to_string().contains("check the path"));
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let config = config(&["--requirepass-file", file.path().to_str().unwrap()], &[]).unwrap();
        assert_eq!(config.requirepass, "s3cret");
    }

    #[test]
    fn what_changes_at_run_time_comes_from_the_same_places() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "maxmemory = '1gb'\nlua-time-limit = 7\ntimeout = 9\n").unwrap();
        let path = file.path().to_str().unwrap();
        let error = config(&["--maxmemory", "5 apples"], &[]).unwrap_err().to_string();
        assert_eq!(error, "--maxmemory: \"5 apples\" cannot be used: argument must be a memory value");
        let config = config(&["--config", path, "--timeout", "3"], &[("TERCET_HZ", "20")]).unwrap();
        assert_eq!((config.live.maxmemory.load(), config.live.timeout.load()), (1 << 30, 3));
        assert_eq!((config.live.busy_reply_threshold.load(), config.live.hz.load()), (7, 20));
        // Again, with another file: what a flag gives stays.
        std::fs::write(file.path(), "maxmemory = 5\ntimeout = 11\n").unwrap();
        let changed: Vec<_> = config.reload().unwrap().iter().map(|setting| setting.name).collect();
        assert_eq!((changed, config.live.timeout.load()), (vec!["maxmemory"], 3));
        std::fs::write(file.path(), "maxmemory = 6\nmaxclients = 'x'\n").unwrap();
        assert!(config.reload().is_err());
        assert_eq!(config.live.maxmemory.load(), 5, "nothing has changed");
    }

    #[test]
    fn a_node_that_strangers_could_use_does_not_start_unless_told_so() {
        let refused = |args: &[&str]| config(args, &[]).err().map(|error| error.to_string()).unwrap_or_default();
        let open = ["--bind", "0.0.0.0"];
        let cluster = ["--bind", "0.0.0.0", "--sentinels", "s1:1"];
        let password = ["--requirepass", "p"];
        let token = ["--cluster-token", "0123456789abcdef"];
        assert!(refused(&open).contains("--requirepass-file") && !refused(&open).contains("--cluster-token-file"));
        assert_eq!(refused(&[&open[..], &password].concat()), "");
        assert!(refused(&[&cluster[..], &password].concat()).contains("--cluster-token-file"));
        assert!(refused(&[&cluster[..], &token].concat()).contains("--requirepass-file"));
        assert_eq!(refused(&[&cluster[..], &token, &password].concat()), "");
        assert_eq!(refused(&[&cluster[..], &["--allow-insecure", "yes"]].concat()), "");
        assert_eq!(refused(&["--bind", "127.0.0.2", "--sentinels", "s1:1"]), "");
    }

    #[test]
    fn a_name_or_host_that_others_could_not_use_is_refused_here() {
        let error = config(&["--announce-host", "my node"], &[]).unwrap_err().to_string();
        assert_eq!(error, "--announce-host: \"my node\" is not a host; give a host name or an address");
        for args in [["--name", "my node"], ["--name", ""], ["--sentinels", "my node:1"]] {
            assert!(config(&args, &[]).is_err(), "{args:?}");
        }
        assert_eq!(config(&["--sentinels", "[::1]:7"], &[]).unwrap().sentinels[0].host, "::1");
    }

    #[test]
    fn tls_needs_its_files_and_mutual_tls_may_stand_for_a_token() {
        let pair = ["--tls-cert-file", "c", "--tls-key-file", "k"];
        let refused = |args: &[&str]| config(&[&pair[..], args].concat(), &[]).is_err();
        assert!(config(&["--resp-tls-port", "6380"], &[]).is_err());
        assert!(!refused(&["--resp-tls-port", "6380"]));
        assert!(refused(&["--resp-tls-port", "6380", "--tls-auth-clients", "yes"]));
        assert!(refused(&["--tls-peers", "yes"]));
        let mutual = ["--tls-peers", "yes", "--tls-ca-file", "a"];
        assert!(!refused(&[&mutual[..], &["--bind", "0.0.0.0", "--sentinels", "s:1", "--requirepass", "p"]].concat()));
        let files = |args: &[&str]| config(&[&pair[..], &mutual, args].concat(), &[]).unwrap().tls_files().unwrap();
        assert_eq!(files(&[]).peers, tls::Certificates::Required);
        assert_eq!(files(&["--cluster-token", "0123456789abcdef"]).peers, tls::Certificates::Optional);
    }

    #[test]
    fn the_default_file_is_one_that_can_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = default_file()
            .lines()
            .map(|line| line.strip_prefix('#').unwrap_or(line))
            .filter(|line| !line.starts_with(' '))
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(file.path(), text).unwrap();
        let read = config(&["--config", file.path().to_str().unwrap()], &[]);
        assert!(read.is_ok(), "{read:?}");
        let rows = default_file().lines().filter(|line| line.starts_with('#') && !line.starts_with("# ")).count();
        let live = LIVE.iter().filter(|setting| setting.used == live::Use::Read).count();
        assert_eq!(rows, SETTINGS.len() + 2 + live, "and two files for secrets");
    }

    #[test]
    fn a_token_is_checked_and_never_shown() {
        let error = config(&["--cluster-token", "short"], &[]).unwrap_err().to_string();
        assert!(error.contains("at least 16 characters") && !error.contains("short\""), "{error}");
        let config = config(&[], &[("TERCET_CLUSTER_TOKEN", "0123456789abcdef")]).unwrap();
        assert!(config.cluster_token.is_some());
        assert_eq!(config.text("cluster-token").as_deref(), Some(""));
        assert!(!format!("{:?}", config.cluster_token).contains("0123"));
    }
}
