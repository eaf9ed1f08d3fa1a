//! What Raft holds, and the commands that change it: pure, every change a compare-and-set on (epoch, ISR version).

mod convert;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Where something listens, as it was announced: names are kept and resolved anew at each connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    /// `host:port` or `[ipv6]:port`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 { Err(wrong()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

/// A sentinel with a vote, as Raft's membership names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SentinelMember {
    pub raft_id: u64,
    pub sentinel_id: String,
    pub name: String,
    pub peer: Address,
}

/// A data process as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub node_id: String,
    pub peer: Address,
    pub resp: Address,
    pub amqp: Address,
    pub gateway: Address,
    pub http: Address,
}

/// A member of the ISR: a process, not a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IsrMember {
    pub name: String,
    pub incarnation: String,
}

/// How one change of the master went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failover {
    pub epoch: u64,
    pub kind: String,
    pub reason: String,
    pub from: String,
    pub to: String,
    /// When the master was first suspected, or the order came.
    pub began_unix_ms: u64,
    pub phases: Vec<FailoverPhase>,
}

/// A part of a failover.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailoverPhase {
    pub name: String,
    /// When it ended, since the beginning.
    pub at_ms: u64,
}

/// The state that Raft holds; the mirror of `tercet.cluster.v1.ClusterState`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterState {
    pub cluster_id: String,
    pub epoch: u64,
    pub isr_version: u64,
    pub master: String,
    pub isr: Vec<IsrMember>,
    pub members: Vec<Member>,
    pub min_isr: u32,
    pub log_index: u64,
    /// While the ISR is smaller than `min_isr`: who left it and holds everything that was ever acknowledged or shown.
    /// Nothing has been acknowledged since, so each of them may lead.
    #[serde(default)]
    pub witnesses: Vec<IsrMember>,
    /// Who grants leases; from Raft's own membership, not from a command.
    #[serde(default)]
    pub sentinels: Vec<SentinelMember>,
    /// Index of the entry that last changed who they are; 0 for the founders.
    #[serde(default)]
    pub sentinels_version: u64,
    /// The last changes of the master, the oldest first: for people.
    #[serde(default)]
    pub failovers: Vec<Failover>,
}

/// A change. Serialised into the Raft log: variants and fields are append-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Names the cluster, once.
    Bootstrap { cluster_id: String, min_isr: u32 },
    /// Adds a member or brings its addresses up to date.
    RegisterMember { member: Member },
    /// Begins the mastership of `epoch`.
    Promote { expect_epoch: u64, expect_isr_version: u64, epoch: u64, master: String, isr: Vec<IsrMember> },
    /// Changes who is in sync under the current mastership.
    ChangeIsr {
        expect_epoch: u64,
        expect_isr_version: u64,
        isr: Vec<IsrMember>,
        /// Of those that leave: who holds everything that the master has acknowledged or shown.
        #[serde(default)]
        witnesses: Vec<IsrMember>,
    },
    /// Forgets a node that is gone for good.
    RemoveMember { expect_isr_version: u64, name: String },
    /// Changes how many in-sync nodes a write needs.
    SetMinIsr { expect_isr_version: u64, min_isr: u32 },
    /// Notes how a change of the master went. It changes nothing else.
    RecordFailover { failover: Failover },
}

/// What became of a command. A conflict is an answer, not an error: the asker looks at the state and plans again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Conflict(String),
}

impl ClusterState {
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The process that is master of the current epoch.
    #[must_use]
    pub fn master_process(&self) -> Option<&IsrMember> {
        self.isr.iter().find(|member| member.name == self.master)
    }

    /// Whether this process holds everything that was ever acknowledged: the only ones that may lead.
    #[must_use]
    pub fn is_eligible(&self, name: &str, incarnation: &str) -> bool {
        self.eligible().any(|member| member.name == name && member.incarnation == incarnation)
    }

    /// The ISR, and the witnesses of one that has become too small.
    pub fn eligible(&self) -> impl Iterator<Item = &IsrMember> {
        self.isr.iter().chain(&self.witnesses)
    }

    #[must_use]
    pub fn sentinel(&self, sentinel_id: &str) -> Option<&SentinelMember> {
        self.sentinels.iter().find(|sentinel| sentinel.sentinel_id == sentinel_id)
    }

    /// Raft's membership has changed with log entry `index`: other sentinels, or other addresses of the same.
    pub fn set_sentinels(&mut self, sentinels: Vec<SentinelMember>, index: u64) {
        let ids = |sentinels: &[SentinelMember]| -> Vec<u64> { sentinels.iter().map(|one| one.raft_id).collect() };
        if self.sentinels == sentinels {
            return;
        }
        let is_founding = self.sentinels.is_empty();
        if !is_founding && ids(&self.sentinels) != ids(&sentinels) {
            self.sentinels_version = index;
        }
        self.sentinels = sentinels;
        self.log_index = index;
    }

    /// Applies the command of log entry `index`.
    pub fn apply(&mut self, command: &Command, index: u64) -> Answer {
        let before = self.clone();
        match self.try_apply(command) {
            Ok(()) => {
                if *self != before {
                    self.log_index = index;
                }
                Answer::Done
            }
            Err(conflict) => Answer::Conflict(conflict),
        }
    }

    fn try_apply(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::RecordFailover { failover } => {
                self.failovers.push(failover.clone());
                let more = self.failovers.len().saturating_sub(limits::FAILOVERS);
                self.failovers.drain(..more);
            }
            Command::Bootstrap { cluster_id, min_isr } => {
                if !self.cluster_id.is_empty() {
                    return Err(format!("the cluster is {} already", self.cluster_id));
                }
                self.cluster_id.clone_from(cluster_id);
                self.min_isr = *min_isr;
            }
            Command::RegisterMember { member } => {
                if member.name.is_empty() {
                    return Err("a member needs a name".into());
                }
                match self.members.iter_mut().find(|known| known.name == member.name) {
                    Some(known) => known.clone_from(member),
                    None => self.members.push(member.clone()),
                }
            }
            Command::Promote { expect_epoch, expect_isr_version, epoch, master, isr } => {
                self.expect(*expect_epoch, *expect_isr_version)?;
                if *epoch <= self.epoch {
                    return Err(format!("epoch {epoch} is not above {}", self.epoch));
                }
                self.check_isr(isr)?;
                if !isr.iter().any(|member| member.name == *master) {
                    return Err(format!("the new master {master} is not in its ISR"));
                }
                self.epoch = *epoch;
                self.master.clone_from(master);
                self.isr.clone_from(isr);
                self.isr_version += 1;
                // What the new master shows they may not hold.
                self.witnesses.clear();
            }
            Command::ChangeIsr { expect_epoch, expect_isr_version, isr, witnesses } => {
                self.expect(*expect_epoch, *expect_isr_version)?;
                self.check_isr(isr)?;
                if !self.master_process().is_some_and(|master| isr.contains(master)) {
                    return Err(format!("the ISR must hold the master {} itself", self.master));
                }
                if self.isr != *isr {
                    self.witnesses = self.witnesses_of(isr, witnesses);
                    self.isr.clone_from(isr);
                    self.isr_version += 1;
                }
            }
            Command::RemoveMember { expect_isr_version, name } => {
                self.expect(self.epoch, *expect_isr_version)?;
                if self.isr.iter().any(|member| member.name == *name) {
                    return Err(format!("{name} is in the ISR"));
                }
                let before = self.members.len();
                self.members.retain(|member| member.name != *name);
                if self.members.len() == before {
                    return Err(format!("{name} is no member of the cluster"));
                }
                self.witnesses.retain(|member| member.name != *name);
            }
            Command::SetMinIsr { expect_isr_version, min_isr } => {
                self.expect(self.epoch, *expect_isr_version)?;
                if *min_isr == 0 {
                    return Err("0 would acknowledge writes that nobody holds".into());
                }
                if self.min_isr != *min_isr {
                    self.min_isr = *min_isr;
                    // The master counts by the new number before it can change the ISR again; what it acknowledges
                    // until then, or acknowledges alone from now on, the witnesses do not hold.
                    self.isr_version += 1;
                    self.witnesses.clear();
                }
            }
        }
        Ok(())
    }

    /// Who bears witness once the ISR is `isr`: while it is too small nothing is acknowledged, so whoever held everything
    /// when it became so does still.
    fn witnesses_of(&self, isr: &[IsrMember], leaving: &[IsrMember]) -> Vec<IsrMember> {
        if isr.len() >= self.min_isr as usize {
            return Vec::new();
        }
        let was_large_enough = self.isr.len() >= self.min_isr as usize;
        let leaving = self.isr.iter().filter(|member| leaving.contains(member));
        let before = self.witnesses.iter().filter(|_| !was_large_enough);
        before.chain(leaving).filter(|member| !isr.contains(member)).cloned().collect()
    }

    fn expect(&self, epoch: u64, isr_version: u64) -> Result<(), String> {
        if self.epoch != epoch {
            return Err(format!("the epoch is {}, not {epoch}", self.epoch));
        }
        if self.isr_version != isr_version {
            return Err(format!("the ISR version is {}, not {isr_version}", self.isr_version));
        }
        Ok(())
    }

    fn check_isr(&self, isr: &[IsrMember]) -> Result<(), String> {
        for (at, member) in isr.iter().enumerate() {
            if member.incarnation.is_empty() {
                return Err(format!("member {} of the ISR has no incarnation", member.name));
            }
            if self.member(&member.name).is_none() {
                return Err(format!("{} is no member of the cluster", member.name));
            }
            if isr[..at].iter().any(|other| other.name == member.name) {
                return Err(format!("{} is twice in the ISR", member.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
