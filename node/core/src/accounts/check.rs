//! Logging in: one function a protocol, all over the same users.

use subtle::ConstantTimeEq;

use super::password::{is_equal, sha256};
use super::{Directory, INITIAL_AMQP_USER, User};

/// Where somebody logs in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The same machine.
    Loopback,
    Elsewhere,
}

/// Why somebody may not log in. Clients are told no difference between the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("wrong user or password")]
    Credentials,
    #[error("the user is switched off")]
    Off,
    #[error("the password that everybody knows opens nothing from another machine")]
    NotLoopback,
}

impl Directory {
    /// RESP's AUTH. `setting` is the password of the setting `requirepass`, or empty.
    ///
    /// # Errors
    /// No such user, a wrong password, or a user that RESP's rules switch off.
    pub fn check_resp(&self, setting: &str, name: &[u8], password: &[u8]) -> Result<&User, Refused> {
        let user = std::str::from_utf8(name).ok().and_then(|name| self.users.get(name));
        let user = user.filter(|user| !user.rules.is_empty()).ok_or(Refused::Credentials)?;
        if !user.has_rule("on") {
            return Err(Refused::Off);
        }
        let is_open = user.has_rule("nopass") || user.credentials.of_setting && setting.is_empty();
        if is_open || user.has_password(setting, password) { Ok(user) } else { Err(Refused::Credentials) }
    }

    /// Whether a RESP client is this user without AUTH: so is `default` while it needs no password.
    #[must_use]
    pub fn is_open_to_resp(&self, setting: &str, name: &str) -> bool {
        self.check_resp(setting, name.as_bytes(), b"").is_ok()
    }

    /// AMQP's PLAIN and HTTP's Basic. A user that still has the password of the beginning, `guest`, logs in from the same
    /// machine only.
    ///
    /// # Errors
    /// No such user, or a wrong password.
    pub fn check_password(
        &self,
        setting: &str,
        name: &[u8],
        password: &[u8],
        origin: Origin,
    ) -> Result<&User, Refused> {
        let user = std::str::from_utf8(name).ok().and_then(|name| self.users.get(name)).ok_or(Refused::Credentials)?;
        if user.credentials.of_setting && setting.is_empty() {
            // The password that everybody knows.
            if user.name != INITIAL_AMQP_USER || !is_equal(password, INITIAL_AMQP_USER.as_bytes()) {
                return Err(Refused::Credentials);
            }
            return if origin == Origin::Loopback { Ok(user) } else { Err(Refused::NotLoopback) };
        }
        // As RabbitMQ: nobody logs in with an empty password.
        if !password.is_empty() && user.has_password(setting, password) { Ok(user) } else { Err(Refused::Credentials) }
    }
}

impl User {
    fn has_password(&self, setting: &str, password: &[u8]) -> bool {
        let digest = sha256(password);
        let credentials = &self.credentials;
        credentials.of_setting && is_equal(password, setting.as_bytes())
            || credentials.sha256.iter().any(|expected| expected.ct_eq(&digest).into())
            || credentials.salted.as_ref().is_some_and(|hash| hash.matches(password))
    }
}
