//! Failover rules as scripts.
//!
//! ```text
//! state <epoch> <master> <name:incarnation>...     the ISR; members are n1 n2 n3
//! seen <name> <incarnation> <last epoch>/<end>     a node that answers (+ lost, syncing, loading, diskfail, nolink,
//!                                                  promised=<n>)
//! witness <name:incarnation>...                    of an ISR that became too small
//! listed <name or ->...                            --nodes, and who answered
//! at <ms>                                          the time; the first answer came at 0
//! plan <what is expected>
//! fenced <name> <incarnation> <last epoch>/<end>   its answer (+ incomplete)
//! choose <rule> <what is expected>
//! handover <name or nobody>                        the target of a planned one
//! force <name or -> <what is expected>             the plan of an operator
//! stale <epoch or none>                            the highest promise above the current epoch
//! ```

use super::*;
use crate::state::Member;

#[derive(Default)]
struct Script {
    state: ClusterState,
    seen: Observations,
    now: Moment,
    fenced: Vec<Fenced>,
}

fn run(text: &str) {
    let mut script = Script::default();
    for name in ["n1", "n2", "n3"] {
        script.state.members.push(Member { name: name.into(), ..Member::default() });
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        script.step(line, words[0], &words[1..]);
    }
}

fn position(text: &str) -> (u64, u64) {
    let (epoch, offset) = text.split_once('/').expect("a position is <last epoch>/<end offset>");
    (epoch.parse().expect("an epoch"), offset.parse().expect("an offset"))
}

fn list(isr: &[IsrMember]) -> String {
    isr.iter().map(|member| format!("{}:{}", member.name, member.incarnation)).collect::<Vec<_>>().join(" ")
}

fn process(word: &&str) -> IsrMember {
    let (name, incarnation) = word.split_once(':').expect("name:incarnation");
    IsrMember { name: name.into(), incarnation: incarnation.into() }
}

fn text(plan: Plan) -> String {
    match plan {
        Plan::Wait(Waiting::ForNodes) => "wait for nodes".into(),
        Plan::Wait(Waiting::ForMembers(names)) => format!("wait for {}", names.join(" ")),
        Plan::Fence { epoch, targets, rule } => format!("{rule:?} {epoch} {}", targets.join(" ")),
    }
}

impl Script {
    fn step(&mut self, line: &str, verb: &str, words: &[&str]) {
        match verb {
            "state" => {
                self.state.epoch = words[0].parse().expect("an epoch");
                self.state.master = words[1].into();
                self.state.isr = words[2..].iter().map(process).collect();
            }
            "witness" => self.state.witnesses = words.iter().map(process).collect(),
            "seen" => {
                let (last_epoch, end_offset) = position(words[2]);
                let promised = words.iter().find_map(|word| word.strip_prefix("promised="));
                let seen = Seen {
                    incarnation: words[1].into(),
                    connected: !words.contains(&"lost"),
                    promised_epoch: promised.map_or(last_epoch, |epoch| epoch.parse().expect("an epoch")),
                    last_epoch,
                    end_offset,
                    syncing: words.contains(&"syncing"),
                    loading: words.contains(&"loading"),
                    disk_failed: words.contains(&"diskfail"),
                    link_up: !words.contains(&"nolink"),
                    at: self.now,
                    ..Seen::default()
                };
                let before = self.seen.nodes.insert(words[0].into(), seen);
                if let Some(before) = before {
                    self.seen.replaced.note(&before.incarnation, words[1]);
                }
            }
            "listed" => {
                self.seen.listed = words.iter().map(|word| (*word != "-").then(|| (*word).to_owned())).collect();
                self.seen.first_answer = self.seen.listed.iter().flatten().next().map(|_| Moment::default());
            }
            "at" => self.now = Moment::from_millis(words[0].parse().expect("milliseconds")),
            "plan" => {
                let came = text(plan(&self.state, &self.seen, self.now));
                assert_eq!(came, words.join(" "), "in: {line}");
            }
            "force" => {
                let node = Some(words[0]).filter(|name| *name != "-");
                let came = forced(&self.state, &self.seen, node).map_or_else(|why| why, text);
                assert_eq!(came, words[1..].join(" "), "in: {line}");
            }
            "fenced" => {
                let (last_epoch, end_offset) = position(words[2]);
                let complete = !words.contains(&"incomplete");
                let (name, incarnation) = (words[0].into(), words[1].into());
                self.fenced.push(Fenced { name, incarnation, last_epoch, end_offset, complete });
            }
            "choose" => {
                let rule = match words[0] {
                    "First" => Rule::First,
                    "Failover" => Rule::Failover,
                    "Recovery" => Rule::Recovery,
                    "Forced" => Rule::Forced,
                    other => panic!("no rule {other}"),
                };
                let came = match choose(&self.state, rule, &self.fenced) {
                    None => "nobody".into(),
                    Some(choice) => format!("{} isr {}", choice.master, list(&choice.isr)),
                };
                assert_eq!(came, words[1..].join(" "), "in: {line}");
            }
            "stale" => {
                let came =
                    stale_promise(&self.state, &self.seen).map_or_else(|| "none".into(), |epoch| epoch.to_string());
                assert_eq!(came, words.join(" "), "in: {line}");
            }
            "handover" => {
                let came = handover_target(&self.state, &self.seen).unwrap_or_else(|| "nobody".into());
                assert_eq!(came, words.join(" "), "in: {line}");
            }
            other => panic!("no such step: {other}"),
        }
    }
}

#[test]
fn the_first_master_is_the_first_listed_of_empty_nodes_once_all_answer() {
    run("listed - - -
         plan wait for nodes
         seen n2 b 0/0
         listed - n2 -
         at 1999
         plan wait for nodes
         seen n1 a 0/0
         seen n3 c 0/0
         listed n1 n2 n3
         plan First 1 n1");
}

#[test]
fn the_first_master_is_chosen_without_the_silent_after_two_seconds() {
    run("seen n3 c 0/0
         listed - - n3
         at 2000
         plan First 1 n3");
}

#[test]
fn a_node_with_data_comes_before_the_order_of_the_list() {
    run("seen n1 a 0/0
         seen n2 b 0/40
         seen n3 c 0/7
         listed n1 n2 n3
         plan First 1 n2");
}

#[test]
fn the_first_epoch_is_above_whatever_a_journal_holds() {
    run("seen n1 a 4/100
         seen n2 b 0/0
         listed n1 n2
         plan First 5 n1");
}

#[test]
fn a_failover_fences_the_isr_and_promotes_the_furthest() {
    run("state 3 n1 n1:a n2:b n3:c
         seen n1 a 3/150 lost
         seen n2 b 3/100
         seen n3 c 3/120
         plan Failover 4 n2 n3
         fenced n2 b 3/100
         fenced n3 c 3/120
         choose Failover n3 isr n2:b n3:c");
}

#[test]
fn the_epoch_of_the_last_record_comes_before_the_offset() {
    run("state 3 n1 n1:a n2:b n3:c
         fenced n2 b 3/100
         fenced n3 c 2/999
         choose Failover n2 isr n2:b n3:c");
}

#[test]
fn of_two_with_the_same_data_the_earlier_member_leads() {
    run("state 3 n1 n1:a n2:b n3:c
         fenced n3 c 3/100
         fenced n2 b 3/100
         choose Failover n2 isr n3:c n2:b");
}

#[test]
fn a_replica_outside_the_isr_is_not_even_asked() {
    run("state 3 n1 n1:a n2:b
         seen n2 b 3/100
         seen n3 c 3/900
         plan Failover 4 n2");
}

#[test]
fn a_process_that_took_the_place_of_an_isr_member_cannot_lead() {
    run("state 3 n1 n1:a n2:b n3:c
         seen n2 restarted 3/100
         seen n3 c 3/90
         plan Failover 4 n3
         fenced n3 c 3/90
         choose Failover n3 isr n3:c");
    // It restarted between the observation and the fence.
    run("state 3 n1 n1:a n2:b
         fenced n2 restarted 3/100
         choose Failover nobody");
}

#[test]
fn a_replica_in_the_middle_of_a_full_sync_cannot_lead() {
    run("state 3 n1 n1:a n2:b n3:c
         fenced n2 b 3/100 incomplete
         fenced n3 c 3/50
         choose Failover n3 isr n3:c");
}

#[test]
fn a_failover_that_did_not_end_is_repeated_under_the_promised_epoch() {
    run("state 3 n1 n1:a n2:b n3:c
         seen n2 b 3/100 promised=4
         seen n3 c 3/100
         plan Failover 4 n2 n3
         seen n3 c 3/100 promised=6
         plan Failover 6 n2 n3");
}

#[test]
fn without_an_isr_process_nobody_leads_until_all_of_its_nodes_have_reported() {
    run("state 3 n1 n1:a n2:b
         seen n1 a 3/100 lost
         seen n2 restarted 3/90
         seen n3 c 3/50
         plan wait for n1
         seen n1 restarted 3/100
         plan Recovery 4 n1 n2 n3
         fenced n3 c 3/50
         fenced n1 restarted 3/100
         choose Recovery nobody
         fenced n2 restarted 3/90
         choose Recovery n1 isr n1:restarted");
}

#[test]
fn a_master_that_is_there_and_that_nobody_could_replace_is_promoted_again() {
    run("state 3 n1 n1:a
         seen n1 a 2/100
         seen n2 b 2/100
         plan Failover 4 n1
         fenced n1 a 2/100
         choose Failover n1 isr n1:a");
    run("state 3 n1 n1:a n2:b
         seen n1 a 3/100
         seen n2 restarted 3/100
         plan Failover 4 n1
         seen n1 a 3/100 lost
         plan wait for n1");
}

#[test]
fn a_restarted_only_member_of_the_isr_leads_again() {
    run("state 3 n1 n1:a
         seen n1 a 3/100 lost
         seen n2 b 3/100
         plan wait for n1
         seen n1 restarted 3/100
         plan Recovery 4 n1 n2
         fenced n1 restarted 3/100
         fenced n2 b 3/100
         choose Recovery n1 isr n1:restarted");
}

#[test]
fn a_restarted_node_that_went_away_again_has_not_reported() {
    run("state 3 n1 n1:a
         seen n1 restarted 3/100 lost
         plan wait for n1");
}

#[test]
fn a_hand_over_goes_to_the_furthest_replica_in_sync() {
    run("state 3 n1 n1:a n2:b n3:c
         seen n1 a 3/100
         seen n2 b 3/90
         seen n3 c 3/95
         handover n3
         seen n3 c 3/95 lost
         handover n2
         seen n2 restarted 3/90
         handover nobody");
}

#[test]
fn a_promise_above_the_current_epoch_is_seen_while_its_node_is_there() {
    run("state 3 n1 n1:a n2:b
         seen n1 a 3/100
         seen n2 b 3/100
         stale none
         seen n2 b 3/100 promised=4
         stale 4
         seen n2 b 3/100 promised=4 lost
         stale none");
}

#[test]
fn a_node_that_reads_its_disk_is_waited_for_before_the_first_master_is_chosen() {
    run("seen n1 a 0/0
         seen n2 b 0/0 loading
         listed n1 n2 n3
         at 5000
         plan wait for nodes
         seen n2 b 4/90
         plan First 5 n2");
}

#[test]
fn a_node_that_reads_its_disk_has_not_reported_yet() {
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 3/100
         seen n2 restarted 0/0 loading
         plan wait for n2
         seen n2 restarted 3/120
         plan Recovery 4 n1 n2
         fenced n1 restarted 3/100
         fenced n2 restarted 3/120
         choose Recovery n2 isr n2:restarted");
}

#[test]
fn a_wiped_node_has_reported_that_it_holds_nothing() {
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 0/0
         seen n2 restarted 3/120
         plan Recovery 4 n1 n2
         fenced n1 restarted 0/0
         fenced n2 restarted 3/120
         choose Recovery n2 isr n2:restarted");
}

#[test]
fn a_copy_outside_of_the_isr_leads_if_those_in_it_came_back_with_less() {
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 0/0
         seen n2 restarted 0/0
         seen n3 c 3/90
         plan Recovery 4 n1 n2 n3
         fenced n1 restarted 0/0
         fenced n2 restarted 0/0
         fenced n3 c 3/90
         choose Recovery n3 isr n3:c");
}

#[test]
fn a_copy_outside_of_the_isr_is_not_waited_for_and_leads_nothing_if_it_is_not_whole() {
    for outside in ["lost", "syncing", "loading"] {
        run(&format!(
            "state 3 n1 n1:a n2:b
             seen n1 restarted 3/100
             seen n2 restarted 3/80
             seen n3 c 3/90 {outside}
             plan Recovery 4 n1 n2"
        ));
    }
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 3/100
         seen n2 restarted 3/80
         seen n3 c 3/90
         plan Recovery 4 n1 n2 n3
         fenced n1 restarted 3/100
         fenced n2 restarted 3/80
         choose Recovery n1 isr n1:restarted");
}

#[test]
fn a_copy_outside_of_the_isr_leads_nothing_while_a_process_of_the_isr_lives() {
    run("state 3 n1 n1:a n2:b
         fenced n1 restarted 0/0
         fenced n2 b 3/80
         fenced n3 c 3/90
         choose Recovery n2 isr n2:b");
}

#[test]
fn an_operator_goes_on_without_the_missing_from_the_furthest_that_has_reported() {
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 3/100
         seen n2 b 3/200 lost
         seen n3 c 3/90
         plan Failover 4 n2
         force - Forced 4 n1 n3
         fenced n1 restarted 3/100
         fenced n3 c 3/90
         choose Forced n1 isr n1:restarted");
}

#[test]
fn an_operator_may_name_who_leads_of_those_that_have_reported() {
    run("state 3 n1 n1:a n2:b
         seen n1 restarted 3/100
         seen n3 c 3/90 syncing
         force n1 Forced 4 n1
         force n2 n2 has not reported whole data
         force n3 n3 has not reported whole data
         force n9 n9 is no member of the cluster");
    run("state 3 n1 n1:a
         force - no node has reported whole data");
}

#[test]
fn a_witness_leads_where_an_isr_member_could() {
    run("state 3 n1 n1:a
         witness n2:b n3:c
         seen n2 b 3/100
         seen n3 restarted 3/100
         plan Failover 4 n2
         fenced n2 b 3/100
         choose Failover n2 isr n2:b");
}

#[test]
fn what_was_seen_of_a_node_that_is_not_there_says_nothing_of_a_later_process() {
    run("state 3 n1 n1:a
         witness n2:c
         seen n1 restarted 3/0
         seen n2 b 2/50 lost
         plan Failover 4 n2
         seen n2 c 3/100 lost
         plan Failover 4 n2
         seen n2 d 3/100 lost
         plan Recovery 4 n1 n2");
}

#[test]
fn a_witness_that_was_taken_for_gone_leads_where_it_answers() {
    run("state 3 n1 n1:a
         witness n2:c
         seen n1 restarted 3/0
         seen n2 b 2/50
         plan Recovery 4 n1 n2
         fenced n1 restarted 3/0
         fenced n2 c 3/100
         choose Recovery n2 isr n2:c");
}

#[test]
fn a_hand_over_avoids_a_failed_disk() {
    run("state 3 n1 n1:a n2:b n3:c
         seen n2 b 3/90
         seen n3 c 3/95 diskfail
         handover n2");
}
