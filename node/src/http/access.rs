//! What a user may do with a resource of a virtual host: its permissions there, as for AMQP.

use super::answer::Error;
use super::request::Request;
use crate::permission;

pub(super) use crate::permission::Right;

/// # Errors
/// The user has no permissions in the virtual host, or none for this name.
pub(super) fn check(request: &Request, right: Right, vhost: &str, name: &str) -> Result<(), Error> {
    let permissions = request.directory.permissions_of(&request.user.name, vhost).ok_or(Error::AccessRefused)?;
    if permission::allows(permissions, right, name) { Ok(()) } else { Err(Error::AccessRefused) }
}
