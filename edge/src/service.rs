//! What the service manager is told (systemd, `Type=notify`): that the process serves, reads its settings again, stops.
//! Without one nothing is told.

use sd_notify::NotifyState;
use tracing::warn;

/// It serves, or has read its settings again.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its settings again; `ready` follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager cannot be told of the reload"),
    }
}

/// It was told to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NOTIFY_SOCKET` is the process's own: this test runs as a process of its own.
    #[test]
    #[expect(unsafe_code, reason = "variables of the environment are changed while no other thread reads them")]
    fn the_manager_is_told_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        ready();
        // SAFETY: nextest gives each test a process; with cargo test nothing else here looks at the environment.
        unsafe { std::env::set_var("NOTIFY_SOCKET", &path) };
        let mut told = [0; 128];
        let mut next = || {
            let count = manager.recv(&mut told).unwrap();
            String::from_utf8(told[..count].to_vec()).unwrap()
        };
        ready();
        assert_eq!(next().trim(), "READY=1");
        reloading();
        assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        stopping();
        assert_eq!(next().trim(), "STOPPING=1");
    }
}
