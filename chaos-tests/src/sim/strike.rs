//! How a fault begins and ends. Until the network heals; then everything comes back.

use super::clock::{MS, Nanos};
use super::context::{Context, trace};
use super::fault::{Act, End, Fault};
use super::message::Host;

impl Fault {
    /// Lets it happen, and says what is left to do.
    pub(super) fn strike(self, context: &mut Context) -> Vec<Act> {
        let swarm = &context.swarm;
        let (nodes, sentinels, hosts) = (swarm.nodes, swarm.sentinels, swarm.nodes + swarm.sentinels);
        let random = &mut context.random;
        let node = random.index(nodes);
        let sentinel = nodes + random.index(sentinels);
        let anybody = random.index(hosts);
        // Some around the length of a lease, some much longer.
        let lasting = if random.chance(600) { random.between(20, 700) } else { random.between(300, 2500) } * MS;
        let back_after = if random.chance(600) { random.between(5, 300) } else { random.between(200, 2000) } * MS;
        let ways = random.below(4);
        trace!(context, "FAULT {self:?} node {node} sentinel {sentinel} anybody {anybody} for {} ms", lasting / MS);
        match self {
            Self::CutLink => {
                let other = (anybody + 1 + context.random.index(hosts - 1)) % hosts;
                cut(context, &[anybody], &[other], ways, lasting);
            }
            Self::IsolateNode => {
                let far: Vec<Host> = match context.random.below(3) {
                    0 => (nodes..hosts).collect(),
                    1 => (0..nodes).filter(|other| *other != node).collect(),
                    _ => (0..hosts).filter(|other| *other != node).collect(),
                };
                cut(context, &[node], &far, ways, lasting);
            }
            Self::IsolateSentinel => {
                let far: Vec<Host> = (0..hosts).filter(|other| *other != sentinel).collect();
                cut(context, &[sentinel], &far, ways, lasting);
            }
            Self::Partition => {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                (0..hosts).for_each(|host| if context.random.chance(500) { one.push(host) } else { other.push(host) });
                cut(context, &one, &other, ways, lasting);
            }
            Self::BreakStreams => {
                for id in 0..context.network.streams.len() {
                    if context.network.streams[id].ends.contains(&anybody) && context.random.chance(500) {
                        context.break_stream(id);
                    }
                }
            }
            Self::Pause | Self::Freeze => {
                context.coverage.pauses += 1;
                let until = context.now + lasting;
                let machine = &mut context.machines[anybody];
                machine.paused_until = machine.paused_until.max(until);
                machine.is_frozen = self == Self::Freeze;
            }
            Self::KillNode => return vec![Act::Stop { host: node, end: End::Killed, back_after }],
            Self::PowerCut => return vec![Act::Stop { host: node, end: End::PowerCut, back_after }],
            Self::WipeNode => return vec![Act::Stop { host: node, end: End::Wiped, back_after }],
            Self::KillAllNodes => {
                let end = if context.random.chance(500) { End::Killed } else { End::PowerCut };
                let stop = |host, context: &mut Context| {
                    let back_after = back_after + context.random.between(0, 500) * MS;
                    Act::Stop { host, end, back_after }
                };
                return (0..nodes).map(|host| stop(host, context)).collect();
            }
            Self::KillSentinel => {
                let end = if context.random.chance(500) { End::Killed } else { End::PowerCut };
                return vec![Act::Stop { host: sentinel, end, back_after }];
            }
            Self::HandOver => return vec![Act::HandOver(sentinel)],
            Self::StepDown => return (nodes..hosts).map(Act::StepDown).collect(),
            Self::SetWallClock => {
                let by = context.random.between(100, 3000) as i64 * MS as i64;
                let by = if context.random.chance(500) { by } else { -by };
                context.machines[node].clock.jump(by);
            }
        }
        Vec::new()
    }
}

/// `ways`: 0 what the first say, 1 what the others say, else both.
fn cut(context: &mut Context, one: &[Host], other: &[Host], ways: u64, lasting: Nanos) {
    context.coverage.partitions += 1;
    let until = context.now + lasting;
    for &a in one {
        for &b in other {
            if ways != 1 {
                context.network.cut(a, b, until);
            }
            if ways != 0 {
                context.network.cut(b, a, until);
            }
        }
    }
}
