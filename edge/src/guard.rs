//! Who may call a port for peers. Both sides of a call prove that they know the cluster's token, on the headers: what a
//! stranger sends is not read.
//!
//! ```text
//! --> tercet-proof: nonce . HMAC(token, "tercet call",   path, nonce)
//! <-- tercet-proof:         HMAC(token, "tercet answer", path, nonce)
//! ```
//!
//! Every call and every answer also says which version of the wire formats it is of (`version.rs`).
//!
//! Without a token nothing is proven and nothing asked for; then the port is open to whoever reaches it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service;
use tracing::warn;

use crate::seldom::SeldomByKind;
use crate::token::{self, Token};
use crate::version;

const HEADER: &str = "tercet-proof";
const CALL: &str = "tercet call";
const ANSWER: &str = "tercet answer";
/// FAILED_PRECONDITION of gRPC.
const PRECONDITION: &[u8] = b"9";

/// A service that answers those who know the token.
#[derive(Debug, Clone)]
pub struct Guard<S> {
    service: S,
    token: Option<Token>,
}

impl<S> Guard<S> {
    pub fn new(service: S, token: Option<Token>) -> Self {
        Self { service, token }
    }
}

impl<S: NamedService> NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Asked before the token: whoever is too old or too new is told so, and told nothing else.
        if let Err(refusal) = version::check(request.headers()) {
            complain_of_version(&request, &refusal);
            return Box::pin(std::future::ready(Ok(Status::failed_precondition(refusal.to_string()).into_http())));
        }
        let Some(token) = &self.token else { return Box::pin(versioned(self.service.call(request))) };
        let path = request.uri().path().to_owned();
        let Some(nonce) = proven_nonce(token, &path, request.headers().get(HEADER)) else {
            complain(&request, &path);
            let refusal = Status::unauthenticated("this call does not prove that it knows the cluster's token");
            return Box::pin(std::future::ready(Ok(refusal.into_http())));
        };
        let answer = token.prove(ANSWER, &[path.as_bytes(), &nonce]);
        let response = self.service.call(request);
        Box::pin(async move {
            let mut response = versioned(response).await?;
            if let Ok(value) = HeaderValue::from_str(&token::to_hex(&answer)) {
                response.headers_mut().insert(HEADER, value);
            }
            Ok(response)
        })
    }
}

/// An answer that says which version has given it.
async fn versioned<E>(response: impl Future<Output = Result<Response<Body>, E>>) -> Result<Response<Body>, E> {
    let mut response = response.await?;
    response.headers_mut().insert(version::HEADER, version::ours());
    Ok(response)
}

fn complain_of_version(request: &Request<Body>, refusal: &version::Refused) {
    static REFUSED: SeldomByKind = SeldomByKind::new();
    if let Some(left_out) = REFUSED.due(refusal) {
        let address = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        warn!(address, %refusal, left_out, "a call from another version was refused");
    }
}

/// The nonce of a call that knows the token.
fn proven_nonce(token: &Token, path: &str, header: Option<&HeaderValue>) -> Option<[u8; 16]> {
    let (nonce, proof) = header?.as_bytes().split_at_checked(32)?;
    let nonce = token::from_hex(nonce)?;
    let proof: token::Proof = token::from_hex(proof.strip_prefix(b".")?)?;
    token.is_proven(CALL, &[path.as_bytes(), &nonce], &proof).then_some(nonce)
}

fn complain(request: &Request<Body>, path: &str) {
    static REFUSED: SeldomByKind = SeldomByKind::new();
    let has_proof = request.headers().contains_key(HEADER);
    let why = if has_proof { "its token is another one" } else { "it has no token" };
    if let Some(left_out) = REFUSED.due(why) {
        let address = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let path: String = path.chars().take(100).collect();
        warn!(address, call = path, why, left_out, "a call from a stranger was refused; see --cluster-token");
    }
}

/// A channel to another process: every call proves that it knows the token, and every answer has to.
#[derive(Debug, Clone)]
pub struct Trusted {
    channel: Channel,
    token: Option<Token>,
}

impl Trusted {
    #[must_use]
    pub fn new(channel: Channel, token: Option<Token>) -> Self {
        Self { channel, token }
    }
}

impl Service<Request<Body>> for Trusted {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Answer<tonic::transport::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(version::HEADER, version::ours());
        let Some(token) = self.token.clone() else { return Box::pin(checked(self.channel.call(request))) };
        let (path, nonce) = (request.uri().path().to_owned(), token::nonce());
        let proof = token.prove(CALL, &[path.as_bytes(), &nonce]);
        if let Ok(value) = HeaderValue::from_str(&format!("{}.{}", token::to_hex(&nonce), token::to_hex(&proof))) {
            request.headers_mut().insert(HEADER, value);
        }
        let response = self.channel.call(request);
        Box::pin(async move {
            let response = checked(response).await?;
            if response.headers().get("grpc-status").is_some_and(|status| status.as_bytes() == PRECONDITION) {
                // It is told before anything is proven.
                return Ok(response);
            }
            let header = response.headers().get(HEADER).map_or(&b""[..], HeaderValue::as_bytes);
            let answer: Option<token::Proof> = token::from_hex(header);
            if answer.is_some_and(|answer| token.is_proven(ANSWER, &[path.as_bytes(), &nonce], &answer)) {
                return Ok(response);
            }
            let stranger = "the other side does not prove that it knows the cluster's token; see --cluster-token";
            Ok(Status::unauthenticated(stranger).into_http())
        })
    }
}

/// An answer of a version that we understand.
async fn checked<E>(response: impl Future<Output = Result<Response<Body>, E>>) -> Result<Response<Body>, E> {
    let response = response.await?;
    match version::check(response.headers()) {
        Ok(()) => Ok(response),
        Err(refusal) => Ok(Status::failed_precondition(refusal.to_string()).into_http()),
    }
}

#[cfg(test)]
mod tests {
    use tonic::codegen::http::HeaderMap;

    use super::*;

    const PATH: &str = "/tercet.peer.v1.Peer/Fence";

    fn token(text: &str) -> Option<Token> {
        Token::parse(text).unwrap()
    }

    #[derive(Clone)]
    struct Echo;

    impl Service<Request<Body>> for Echo {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Ok(Response::new(Body::empty())))
        }
    }

    async fn answer(server: Option<Token>, header: Option<&str>) -> HeaderMap {
        let mut request = Request::builder().uri(PATH).body(Body::empty()).unwrap();
        if let Some(header) = header {
            request.headers_mut().insert(HEADER, header.parse().unwrap());
        }
        Guard::new(Echo, server).call(request).await.unwrap().headers().clone()
    }

    fn call(token: &Token, path: &str) -> String {
        let nonce = [7; 16];
        format!("{}.{}", token::to_hex(&nonce), token::to_hex(&token.prove(CALL, &[path.as_bytes(), &nonce])))
    }

    fn is_refused(headers: &HeaderMap) -> bool {
        headers.get("grpc-status").is_some_and(|status| status == "16") && !headers.contains_key(HEADER)
    }

    #[tokio::test]
    async fn a_call_without_the_token_is_refused_and_learns_nothing() {
        let ours = token("the-token-of-this-cluster");
        let other = token("the-token-of-another-one").unwrap();
        let known = ours.clone().unwrap();
        for header in
            [None, Some(""), Some("x"), Some(&*"0".repeat(97)), Some(&call(&other, PATH)), Some(&call(&known, "/x"))]
        {
            assert!(is_refused(&answer(ours.clone(), header).await), "{header:?}");
        }
        let headers = answer(ours, Some(&call(&known, PATH))).await;
        let proof: token::Proof = token::from_hex(headers.get(HEADER).unwrap().as_bytes()).unwrap();
        assert!(known.is_proven(ANSWER, &[PATH.as_bytes(), &[7; 16]], &proof));
    }

    #[tokio::test]
    async fn a_call_of_a_version_that_is_too_new_is_told_why() {
        let call = async |version: &str| {
            let request = Request::builder().uri(PATH).header(version::HEADER, version).body(Body::empty()).unwrap();
            Guard::new(Echo, None).call(request).await.unwrap().headers().clone()
        };
        let headers = call("99/98").await;
        assert_eq!(headers.get("grpc-status").unwrap(), "9");
        assert!(headers.get("grpc-message").unwrap().to_str().unwrap().contains("99"), "{headers:?}");
        let headers = call("99/1").await;
        assert!(!headers.contains_key("grpc-status") && headers.contains_key(version::HEADER), "{headers:?}");
    }

    #[tokio::test]
    async fn without_a_token_everybody_is_answered() {
        assert!(!is_refused(&answer(None, None).await));
    }
}
