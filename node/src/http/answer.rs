//! What a route answers, and how errors become JSON in RabbitMQ's words.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::broker::Refusal;
use crate::ids::Offset;

/// The answer of a route. It leaves once `depends_on` is committed.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Option<Value>,
    location: Option<String>,
    text: Option<(&'static str, String)>,
    pub(super) depends_on: Offset,
}

pub(super) type Outcome = Result<Answer, Error>;

impl Answer {
    fn new(status: StatusCode, body: Option<Value>) -> Self {
        Self { status, body, location: None, text: None, depends_on: Offset::ZERO }
    }

    /// 200 with JSON.
    pub(super) fn json(body: Value) -> Self {
        Self::new(StatusCode::OK, Some(body))
    }

    /// 201: something is there now that was not.
    pub(super) fn created() -> Self {
        Self::new(StatusCode::CREATED, None)
    }

    /// 204: done, and nothing to say.
    pub(super) fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    pub(super) fn created_or_done(is_new: bool) -> Self {
        if is_new { Self::created() } else { Self::done() }
    }

    /// 503 with JSON: a check that failed.
    pub(super) fn failed(body: Value) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some(body))
    }

    /// A file to save.
    pub(super) fn download(body: Value, name: String) -> Self {
        Self { text: Some(("attachment; filename=", name)), ..Self::json(body) }
    }

    pub(super) fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    pub(super) fn after(mut self, offset: Offset) -> Self {
        self.depends_on = self.depends_on.max(offset);
        self
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = match &self.body {
            Some(body) => json_response(self.status, body),
            None => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = self.status;
                response
            }
        };
        let mut put = |name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        };
        if let Some(location) = self.location {
            put(header::LOCATION, location);
        }
        if let Some((how, name)) = self.text {
            put(header::CONTENT_DISPOSITION, format!("{how}{name}"));
        }
        response
    }
}

/// OPTIONS: what may be done here.
pub(super) fn options(allowed: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    if let Ok(value) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Error {
    /// No login, or a wrong one.
    Login,
    /// Logged in, and not allowed: RabbitMQ answers 401, too.
    NotAllowed(&'static str),
    AccessRefused,
    /// A page of another site asks.
    OtherSite,
    BadRequest(String),
    BodyTooLarge,
    NotFound,
    /// With what is allowed.
    Method(String),
    Unavailable(String),
}

impl Error {
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::BadRequest(reason.into())
    }

    /// `quiet`: the page asks for the password itself, so that the browser need not.
    pub(super) fn response(self, quiet: bool) -> Response<Body> {
        let (status, error, reason) = match &self {
            Self::Login => (StatusCode::UNAUTHORIZED, "not_authorized", "Login failed".to_owned()),
            Self::NotAllowed(reason) => (StatusCode::UNAUTHORIZED, "not_authorised", (*reason).to_owned()),
            Self::AccessRefused => (StatusCode::UNAUTHORIZED, "not_authorised", "Access refused.".to_owned()),
            Self::OtherSite => {
                (StatusCode::FORBIDDEN, "not_authorised", "Requests of other sites are refused.".to_owned())
            }
            Self::BadRequest(reason) => (StatusCode::BAD_REQUEST, "bad_request", reason.clone()),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "bad_request", "the body is too large".to_owned()),
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found", "Not Found".to_owned()),
            Self::Method(allowed) => {
                (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", format!("allowed here: {allowed}"))
            }
            Self::Unavailable(reason) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason.clone()),
        };
        let mut response = json_response(status, &json!({ "error": error, "reason": reason }));
        match &self {
            // RabbitMQ's realm: tools send the password to that one alone.
            Self::Login if !quiet => {
                let realm = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
            }
            Self::Method(allowed) => {
                if let Ok(value) = HeaderValue::from_str(allowed) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
            }
            _ => {}
        }
        response
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::NotFound(_) => Self::NotFound,
            Refusal::ReservedName(_) | Refusal::DefaultExchange | Refusal::SystemExchange(_) => Self::AccessRefused,
            _ => Self::BadRequest(refusal.to_string()),
        }
    }
}

/// A status with a body of JSON.
fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
