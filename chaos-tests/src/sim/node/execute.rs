//! What clients want: executed at once within the lease, answered once the commit offset has reached it.

use tercet_node::ids::Offset;
use tercet_node::limits;
use tercet_node::role::Verdict;

use super::super::clock::Nanos;
use super::super::context::Context;
use super::super::message::{KEYS, Message, Record, partition_of};
use super::super::mutation::Mutation;
use super::Process;
use super::command::{Command, Unanswered, What};

impl Process {
    pub(super) fn command(&mut self, context: &Context, command: Command) {
        self.commands.push(Command { since: self.now(context), ..command });
    }

    pub(super) fn try_commands(&mut self, context: &mut Context, now: Nanos) {
        for command in std::mem::take(&mut self.commands) {
            let verdict = self.authority.enter(context.lease_clock(self.host)).verdict;
            let may_write =
                verdict == Verdict::Master || verdict == Verdict::TooFewReplicas && context.is(Mutation::MinIsrIgnored);
            let is_patient = now < command.since + limits::AUTHORITY_WAIT.as_nanos() as u64;
            match (verdict, command.what) {
                (Verdict::Wait, _) if is_patient => self.commands.push(command),
                (Verdict::Wait, _) => context.call(self.host, command.client, Message::NoAnswer { id: command.id }),
                (_, What::Write) if may_write => self.write(context, command),
                (Verdict::Master | Verdict::TooFewReplicas, What::Read { .. }) => self.read(command),
                _ => context.call(self.host, command.client, Message::Elsewhere { id: command.id }),
            }
        }
    }

    fn write(&mut self, context: &mut Context, command: Command) {
        let epoch = self.authority.standing().epoch.0;
        // The first byte of a record is a tag: this is none of a part.
        let mut bytes = vec![0];
        bytes.extend(command.id.to_le_bytes());
        bytes.push(command.key);
        let offset = self.journal.append(&bytes).0;
        let record = Record { epoch, id: command.id, key: command.key };
        self.log.push(record);
        context.invariants.appended(offset, record);
        self.copy.values[usize::from(command.key)] = (offset, command.id);
        self.copy.applied = offset;
        self.tracker.appended(&self.journal, &self.gate);
        self.journal.publish();
        let term = self.gate.term();
        self.unanswered.push(Unanswered { command, term, depends_on: offset, record: Some(record), value: (0, 0) });
    }

    fn read(&mut self, command: Command) {
        let values = &self.copy.values;
        let of_partition = (0..KEYS).filter(|key| partition_of(*key as u8) == partition_of(command.key));
        let depends_on = of_partition.map(|key| values[key].0).max().unwrap_or(0);
        let value = values[usize::from(command.key)];
        self.unanswered.push(Unanswered { command, term: self.gate.term(), depends_on, record: None, value });
    }

    /// Answers whoever may be answered by now.
    pub(super) fn answer(&mut self, context: &mut Context) {
        for waiting in std::mem::take(&mut self.unanswered) {
            let Unanswered { command, term, depends_on, record, value } = &waiting;
            let message = match self.gate.is_committed(Offset(*depends_on), *term) {
                None => {
                    self.unanswered.push(waiting);
                    continue;
                }
                Some(Err(_)) => Message::NoAnswer { id: command.id },
                Some(Ok(())) => Message::Done { id: command.id },
            };
            if matches!(message, Message::Done { .. }) {
                match (command.what, record) {
                    (What::Read { asked }, _) => {
                        context.coverage.master_reads += 1;
                        context.invariants.answered(command.key, *value, asked);
                    }
                    (What::Write, Some(record)) => {
                        context.coverage.acknowledged_writes += 1;
                        context.has_acknowledged |= context.is_healed && command.id > context.healed_id;
                        context.invariants.acknowledged(*depends_on, *record);
                    }
                    (What::Write, None) => {}
                }
            }
            context.call(self.host, command.client, message);
        }
    }

    /// Clients are closed: what waits is not executed.
    pub(super) fn close_clients(&mut self, context: &mut Context) {
        for command in std::mem::take(&mut self.commands) {
            context.call(self.host, command.client, Message::NoAnswer { id: command.id });
        }
    }
}
