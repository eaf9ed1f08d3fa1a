//! Every route of the API: one row each. `:` in a pattern stands for any one part of the path.

use axum::http::Method;

use super::answer::Outcome;
use super::request::Request;
use super::{
    auth, bindings, cluster, commands, connections, definitions, exchanges, health, keys, messages, overview,
    parameters, permissions, policies, queues, streams, users, vhosts,
};
use crate::accounts::Tag;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Anybody,
    Tag(Tag),
}

/// Which node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The one that was asked.
    Local,
    /// The master, whoever was asked.
    Master,
    /// The master if it answers, and the one that was asked otherwise.
    MasterIfAny,
}

/// One row.
#[derive(Debug)]
pub(super) struct Route {
    method: Method,
    /// Below `/api/`.
    pattern: &'static str,
    pub(super) access: Access,
    pub(super) place: Place,
    pub(super) run: fn(&Request) -> Outcome,
}

impl Route {
    pub(super) fn writes(&self) -> bool {
        // The test puts a message into a queue.
        self.method != Method::GET || self.pattern.starts_with("aliveness")
    }
}

const fn row(method: Method, pattern: &'static str, tag: Tag, run: fn(&Request) -> Outcome) -> Route {
    Route { method, pattern, access: Access::Tag(tag), place: Place::Master, run }
}

const fn local(method: Method, pattern: &'static str, access: Access, run: fn(&Request) -> Outcome) -> Route {
    Route { method, pattern, access, place: Place::Local, run }
}

const fn either(method: Method, pattern: &'static str, tag: Tag, run: fn(&Request) -> Outcome) -> Route {
    Route { method, pattern, access: Access::Tag(tag), place: Place::MasterIfAny, run }
}

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

const USER: Tag = Tag::Management;
const POLICY: Tag = Tag::PolicyMaker;
const MONITOR: Tag = Tag::Monitoring;
const ADMIN: Tag = Tag::Administrator;

/// The first that matches counts.
static ROUTES: &[Route] = &[
    row(GET, "overview", USER, overview::overview),
    row(GET, "whoami", USER, auth::whoami),
    row(GET, "extensions", USER, overview::extensions),
    row(GET, "nodes", MONITOR, overview::nodes),
    row(GET, "nodes/:", MONITOR, overview::node),
    row(GET, "nodes/:/memory", MONITOR, overview::memory),
    row(GET, "cluster-name", USER, overview::cluster_name),
    row(PUT, "cluster-name", ADMIN, overview::set_cluster_name),
    row(GET, "feature-flags", USER, overview::feature_flags),
    row(GET, "deprecated-features", USER, overview::nothing),
    row(GET, "deprecated-features/used", USER, overview::nothing),
    row(GET, "history", USER, overview::history),
    row(GET, "history/:/:", USER, overview::queue_history),
    local(GET, "auth", Access::Anybody, auth::settings),
    row(GET, "auth/attempts/:", MONITOR, auth::attempts),
    row(GET, "auth/attempts/:/source", MONITOR, auth::attempts),
    row(GET, "auth/hash_password/:", ADMIN, auth::hash_password),
    row(GET, "definitions", ADMIN, definitions::export),
    row(POST, "definitions", ADMIN, definitions::import),
    row(GET, "all-configuration", ADMIN, definitions::export),
    row(POST, "all-configuration", ADMIN, definitions::import),
    row(GET, "definitions/:", POLICY, definitions::export_vhost),
    row(POST, "definitions/:", ADMIN, definitions::import_vhost),
    row(GET, "connections", USER, connections::list),
    row(GET, "connections/username/:", USER, connections::of_user),
    row(DELETE, "connections/username/:", USER, connections::close_of_user),
    row(GET, "connections/:", USER, connections::show),
    row(DELETE, "connections/:", USER, connections::close),
    row(GET, "connections/:/channels", USER, connections::channels_of),
    row(GET, "channels", USER, connections::channels),
    row(GET, "channels/:", USER, connections::channel),
    row(GET, "consumers", USER, connections::consumers),
    row(GET, "consumers/:", USER, connections::consumers_in),
    row(GET, "exchanges", USER, exchanges::list),
    row(GET, "exchanges/:", USER, exchanges::list_in),
    row(GET, "exchanges/:/:", USER, exchanges::show),
    row(PUT, "exchanges/:/:", USER, exchanges::declare),
    row(DELETE, "exchanges/:/:", USER, exchanges::delete),
    row(POST, "exchanges/:/:/publish", USER, messages::publish),
    row(GET, "exchanges/:/:/bindings/source", USER, bindings::of_source),
    row(GET, "exchanges/:/:/bindings/destination", USER, bindings::to_exchange),
    row(GET, "queues", USER, queues::list),
    row(GET, "queues/detailed", USER, queues::list),
    row(GET, "queues/:", USER, queues::list_in),
    row(GET, "queues/:/:", USER, queues::show),
    row(PUT, "queues/:/:", USER, queues::declare),
    row(DELETE, "queues/:/:", USER, queues::delete),
    row(DELETE, "queues/:/:/contents", USER, queues::purge),
    row(POST, "queues/:/:/get", USER, messages::get),
    row(POST, "queues/:/:/actions", USER, queues::action),
    row(GET, "queues/:/:/bindings", USER, bindings::to_queue),
    row(GET, "bindings", USER, bindings::list),
    row(GET, "bindings/:", USER, bindings::list_in),
    row(GET, "bindings/:/e/:/:/:", USER, bindings::between),
    row(POST, "bindings/:/e/:/:/:", USER, bindings::bind),
    row(GET, "bindings/:/e/:/:/:/:", USER, bindings::show),
    row(DELETE, "bindings/:/e/:/:/:/:", USER, bindings::unbind),
    row(GET, "vhosts", USER, vhosts::list),
    row(GET, "vhosts/:", USER, vhosts::show),
    row(PUT, "vhosts/:", ADMIN, vhosts::put),
    row(DELETE, "vhosts/:", ADMIN, vhosts::delete),
    row(POST, "vhosts/:/start/:", ADMIN, vhosts::start),
    row(GET, "vhosts/:/permissions", ADMIN, permissions::of_vhost),
    row(GET, "vhosts/:/topic-permissions", ADMIN, permissions::topics_of_vhost),
    row(GET, "vhosts/:/connections", USER, connections::list_in),
    row(GET, "vhosts/:/channels", USER, connections::channels_in),
    row(GET, "users", ADMIN, users::list),
    row(GET, "users/without-permissions", ADMIN, users::without_permissions),
    row(POST, "users/bulk-delete", ADMIN, users::delete_many),
    row(GET, "users/:", ADMIN, users::show),
    row(PUT, "users/:", ADMIN, users::put),
    row(DELETE, "users/:", ADMIN, users::delete),
    row(GET, "users/:/permissions", ADMIN, permissions::of_user),
    row(GET, "users/:/topic-permissions", ADMIN, permissions::topics_of_user),
    row(GET, "user-limits", ADMIN, users::limits),
    row(GET, "user-limits/:", ADMIN, users::limits_of),
    row(PUT, "user-limits/:/:", ADMIN, users::set_limit),
    row(DELETE, "user-limits/:/:", ADMIN, users::clear_limit),
    row(GET, "permissions", ADMIN, permissions::list),
    row(GET, "permissions/:/:", ADMIN, permissions::show),
    row(PUT, "permissions/:/:", ADMIN, permissions::put),
    row(DELETE, "permissions/:/:", ADMIN, permissions::delete),
    row(GET, "topic-permissions", ADMIN, permissions::topics),
    row(GET, "topic-permissions/:/:", ADMIN, permissions::show_topics),
    row(PUT, "topic-permissions/:/:", ADMIN, permissions::put_topic),
    row(DELETE, "topic-permissions/:/:", ADMIN, permissions::delete_topics),
    row(DELETE, "topic-permissions/:/:/:", ADMIN, permissions::delete_topic),
    row(GET, "policies", USER, policies::list),
    row(GET, "policies/:", USER, policies::list_in),
    row(GET, "policies/:/:", USER, policies::show),
    row(PUT, "policies/:/:", POLICY, policies::put),
    row(DELETE, "policies/:/:", POLICY, policies::delete),
    row(GET, "operator-policies", USER, policies::list_operator),
    row(GET, "operator-policies/:", USER, policies::list_operator_in),
    row(GET, "operator-policies/:/:", USER, policies::show_operator),
    row(PUT, "operator-policies/:/:", ADMIN, policies::put_operator),
    row(DELETE, "operator-policies/:/:", ADMIN, policies::delete_operator),
    row(GET, "parameters", POLICY, parameters::list),
    row(GET, "parameters/:", POLICY, parameters::of_component),
    row(GET, "parameters/:/:", POLICY, parameters::of_component_in),
    row(GET, "parameters/:/:/:", POLICY, parameters::show),
    row(PUT, "parameters/:/:/:", POLICY, parameters::put),
    row(DELETE, "parameters/:/:/:", POLICY, parameters::delete),
    row(GET, "global-parameters", POLICY, parameters::list_global),
    row(GET, "global-parameters/:", POLICY, parameters::show_global),
    row(PUT, "global-parameters/:", ADMIN, parameters::put_global),
    row(DELETE, "global-parameters/:", ADMIN, parameters::delete_global),
    row(GET, "vhost-limits", USER, parameters::vhost_limits),
    row(GET, "vhost-limits/:", USER, parameters::vhost_limits_of),
    row(PUT, "vhost-limits/:/:", ADMIN, parameters::set_vhost_limit),
    row(DELETE, "vhost-limits/:/:", ADMIN, parameters::clear_vhost_limit),
    row(POST, "rebalance/queues", ADMIN, overview::accepted),
    row(GET, "aliveness-test/:", USER, messages::aliveness),
    local(GET, "health/checks/alarms", Access::Tag(USER), health::alarms),
    local(GET, "health/checks/local-alarms", Access::Tag(USER), health::alarms),
    local(GET, "health/checks/virtual-hosts", Access::Tag(USER), health::ok),
    local(GET, "health/checks/port-listener/:", Access::Tag(USER), health::port_listener),
    local(GET, "health/checks/protocol-listener/:", Access::Tag(USER), health::protocol_listener),
    local(GET, "health/checks/node-is-mirror-sync-critical", Access::Tag(USER), health::node_is_critical),
    local(GET, "health/checks/node-is-quorum-critical", Access::Tag(USER), health::node_is_critical),
    local(GET, "health/checks/certificate-expiration/:/:", Access::Tag(USER), health::ok),
    local(GET, "health/checks/is-in-service", Access::Tag(USER), health::in_service),
    local(GET, "health/checks/ready-to-serve-clients", Access::Tag(USER), health::in_service),
    local(GET, "health/checks/below-node-connection-limit", Access::Tag(USER), health::below_connection_limit),
    either(GET, "cluster", USER, cluster::state),
    local(GET, "failovers", Access::Tag(USER), cluster::failovers),
    row(GET, "keyspace", MONITOR, cluster::keyspace),
    row(GET, "slowlog", MONITOR, commands::slowlog),
    row(GET, "commands", MONITOR, commands::list),
    row(GET, "keys", USER, keys::list),
    row(GET, "keys/:/:", USER, keys::show),
    row(POST, "keys/:/:", USER, keys::change),
    row(DELETE, "keys/:/:", USER, keys::delete),
    row(GET, "streams", MONITOR, streams::list),
    local(GET, "livez", Access::Anybody, health::live),
    local(GET, "readyz", Access::Anybody, health::ready),
    local(GET, "healthz", Access::Anybody, health::ready),
];

/// What a path and a method mean.
pub(super) enum Found {
    Route(&'static Route, Vec<String>),
    /// OPTIONS, with the methods that there are.
    Options(String),
    OtherMethod(String),
    Nothing,
}

/// `segments` begin with `api`, but for the probes of orchestrators.
pub(super) fn find(method: &Method, segments: &[String]) -> Found {
    let rest = match segments {
        [first, rest @ ..] if first == "api" => rest,
        all => all,
    };
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for route in ROUTES {
        if let Some(captures) = matches(route.pattern, rest) {
            if route.method == *wanted {
                return Found::Route(route, captures);
            }
            if !allowed.contains(&route.method.as_str()) {
                allowed.push(route.method.as_str());
            }
        }
    }
    if allowed.is_empty() {
        return Found::Nothing;
    }
    allowed.extend(["HEAD", "OPTIONS"]);
    let allowed = allowed.join(", ");
    if *method == Method::OPTIONS { Found::Options(allowed) } else { Found::OtherMethod(allowed) }
}

fn matches(pattern: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut captures = Vec::new();
    let mut parts = pattern.split('/');
    for segment in segments {
        match parts.next()? {
            ":" => captures.push(segment.clone()),
            part if part == segment => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(captures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Result<(&'static str, Vec<String>), String> {
        let Ok(segments) = super::super::request::segments(path) else { panic!("{path}") };
        match find(&method, &segments) {
            Found::Route(route, captures) => Ok((route.pattern, captures)),
            Found::Options(allowed) | Found::OtherMethod(allowed) => Err(allowed),
            Found::Nothing => Err(String::new()),
        }
    }

    #[test]
    fn a_route_is_found_by_its_path_and_its_method() {
        let captures = vec!["/".to_owned(), "q".to_owned()];
        assert_eq!(found(Method::GET, "/api/queues/%2F/q"), Ok(("queues/:/:", captures.clone())));
        assert_eq!(found(Method::DELETE, "/api/queues/%2F/q/contents/"), Ok(("queues/:/:/contents", captures)));
        assert_eq!(found(Method::GET, "/api/users/without-permissions"), Ok(("users/without-permissions", vec![])));
        assert_eq!(found(Method::HEAD, "/livez"), Ok(("livez", vec![])));
        assert_eq!(found(Method::PATCH, "/api/whoami"), Err("GET, HEAD, OPTIONS".to_owned()));
        assert_eq!(found(Method::GET, "/api/nothing"), Err(String::new()));
    }

    #[test]
    fn no_row_is_hidden_behind_another_one() {
        for route in ROUTES {
            let path = format!("/api/{}", route.pattern.replace(':', "x"));
            // `x` could be any name, so that only rows without a capture in this place can hide it.
            assert_eq!(found(route.method.clone(), &path).map(|(pattern, _)| pattern), Ok(route.pattern), "{path}");
        }
    }
}
