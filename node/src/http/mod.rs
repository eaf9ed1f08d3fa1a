//! The management API and page on the port of `--http-port`: RabbitMQ's HTTP API, so that its tools work, and our own below
//! `/api/cluster`, `/api/failovers`, `/api/keyspace`, `/api/slowlog`.
//!
//! ```text
//! listen.rs -> handle -> page.rs                    the page's files
//!                    '-> routes.rs (a row a route) -> auth.rs -> forward.rs    on a replica: to the master
//!                                                            '-> a function of a file beside -> reply, once it is committed
//! history.rs   samples the counters every second, for rates and charts
//! ```
//!
//! Everything here runs on one thread of its own: nothing that it does keeps a client of another protocol waiting for more
//! than a short lock.

mod answer;
mod auth;
mod bindings;
mod broker;
mod cluster;
mod commands;
mod connections;
mod definitions;
mod exchanges;
mod forward;
mod health;
mod history;
mod json;
mod keys;
mod limits;
mod listen;
mod listing;
mod messages;
mod overview;
mod page;
mod parameters;
mod permissions;
mod policies;
mod queues;
mod request;
mod routes;
mod shared;
mod streams;
mod users;
mod values;
mod vhosts;

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};

use bytes::Bytes;
use tercet_edge::accept::Door;

use crate::clock;
use crate::console::Console;
use crate::node::Shared;
use crate::role::{Role, Verdict};
use answer::{Answer, Error};
use history::History;
use request::Request;
use routes::{Access, Place, Route};
use shared::{Attempts, Http};

/// Serves the API and the page until the listener fails.
///
/// # Errors
/// The listener is broken.
pub(crate) async fn serve(node: Shared, doors: Vec<Door>, console: Console) -> std::io::Result<()> {
    let history = Arc::new(History::of(&(console.commands)()));
    let _sampling = crate::task::spawn("history", history::run(Arc::clone(&node), Arc::clone(&history)));
    let http = Arc::new(Http {
        node,
        history,
        console,
        attempts: Attempts::default(),
        bodies: tokio::sync::Semaphore::new(limits::BODIES),
    });
    let handler = move |ConnectInfo(listen::Peer(peer)): ConnectInfo<listen::Peer>,
                        request: axum::http::Request<Body>| {
        let http = Arc::clone(&http);
        async move { handle(&http, peer, request).await }
    };
    let service = Router::new().fallback(handler).into_make_service_with_connect_info::<listen::Peer>();
    let room = Arc::new(tokio::sync::Semaphore::new(limits::CONNECTIONS));
    let ports = doors.into_iter().map(Door::sockets).collect::<std::io::Result<Vec<_>>>()?;
    let serving = ports
        .into_iter()
        .map(|sockets| axum::serve(listen::Bounded::new(sockets, Arc::clone(&room)), service.clone()).into_future());
    futures::future::try_join_all(serving).await.map(|_| ())
}

async fn handle(http: &Arc<Http>, peer: SocketAddr, request: axum::http::Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let path = parts.uri.path();
    let mut response = if path == "/api" || path.starts_with("/api/") || health::is_probe(path) {
        let quiet = parts.headers.contains_key(auth::PAGE_HEADER);
        match api(http, peer, &parts, body).await {
            Ok(response) => response,
            Err(error) => error.response(quiet),
        }
    } else {
        page::file(path, &parts.headers)
    };
    secure(response.headers_mut());
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// Headers of everything: nothing from elsewhere runs in the page, and nobody frames it.
fn secure(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}

async fn api(
    http: &Arc<Http>,
    peer: SocketAddr,
    parts: &axum::http::request::Parts,
    body: Body,
) -> Result<Response<Body>, Error> {
    let segments = request::segments(parts.uri.path())?;
    let (route, captures) = match routes::find(&parts.method, &segments) {
        routes::Found::Route(route, captures) => (route, captures),
        routes::Found::Options(allowed) => return Ok(answer::options(&allowed)),
        routes::Found::OtherMethod(allowed) => return Err(Error::Method(allowed)),
        routes::Found::Nothing => return Err(Error::NotFound),
    };
    let origin = crate::clients::origin(peer.ip());
    let user = match route.access {
        Access::Anybody => None,
        Access::Tag(tag) => {
            auth::check_same_site(parts)?;
            Some(auth::user(http, &parts.headers, origin, tag)?)
        }
    };
    // Nobody sends anything large who has not logged in.
    let body = if user.is_some() { body_of(http, body).await? } else { Bytes::new() };
    if route.place != Place::Local && http.node.authority.standing().role != Role::Master {
        match forward::to_master(http, peer, parts, body.clone()).await {
            Err(Error::Unavailable(_)) if route.place == Place::MasterIfAny => {}
            answer => return answer,
        }
    }
    let directory = http.node.engine.accounts.directory();
    let request = Request {
        http: Arc::clone(http),
        user: user.unwrap_or_default(),
        directory,
        captures,
        query: request::query(parts.uri.query().unwrap_or_default()),
        body,
        headers: parts.headers.clone(),
        peer,
    };
    answer_of(http, route, request).await
}

async fn body_of(http: &Http, body: Body) -> Result<Bytes, Error> {
    let late = |_| Error::BadRequest("the body does not come".to_owned());
    let reading = async {
        // The semaphore is never closed.
        let _place = http.bodies.acquire().await;
        axum::body::to_bytes(body, limits::BODY_BYTES).await
    };
    tokio::time::timeout(limits::BODY_WAIT, reading).await.map_err(late)?.map_err(|_| Error::BodyTooLarge)
}

/// Executes a request under one permit, and answers once what it depends on is committed.
async fn answer_of(http: &Arc<Http>, route: &Route, request: Request) -> Result<Response<Body>, Error> {
    let node = &http.node;
    if route.place != Place::Master {
        return (route.run)(&request).map(Answer::response);
    }
    let mut changes = node.authority.subscribe();
    let deadline = tokio::time::Instant::now() + limits::PERMIT_WAIT;
    loop {
        // Before the look at the door, so that a change in between is not missed.
        changes.mark_unchanged();
        let done = {
            let permit = node.authority.enter(clock::boot_now());
            let term = node.gate.term();
            match (permit.verdict, route.writes()) {
                (Verdict::Master, _) | (Verdict::TooFewReplicas | Verdict::DiskFailed, false) => {
                    Some(((route.run)(&request), term))
                }
                (Verdict::TooFewReplicas, true) => {
                    return Err(Error::Unavailable("not enough in-sync replicas to take writes".to_owned()));
                }
                (Verdict::DiskFailed, true) => {
                    return Err(Error::Unavailable("the disk is full or fails: writes are refused".to_owned()));
                }
                (Verdict::Loading, _) => return Err(Error::Unavailable("the data is being loaded".to_owned())),
                (Verdict::Wait | Verdict::Replica, _) => None,
            }
        };
        if let Some((result, term)) = done {
            node.publish();
            let answer = result?;
            let committed = tokio::time::timeout(limits::COMMIT_WAIT, node.gate.wait(answer.depends_on, term)).await;
            return match committed {
                Ok(Ok(())) => Ok(answer.response()),
                Ok(Err(deposed)) => Err(Error::Unavailable(deposed.to_string())),
                Err(_) => Err(Error::Unavailable("the change is made and not committed yet".to_owned())),
            };
        }
        let wait = tokio::time::timeout_at(deadline, changes.changed()).await;
        if !matches!(wait, Ok(Ok(()))) {
            return Err(Error::Unavailable("this node may not execute anything now".to_owned()));
        }
        // The role may have gone elsewhere; the client asks again, here or there.
        if node.authority.standing().role == Role::Replica {
            return Err(Error::Unavailable("the master has changed".to_owned()));
        }
    }
}
