//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR.

use std::sync::Arc;

use tercet_proto::resp::Encoder;

use super::number;
use crate::clients::state;
use crate::resp::error::{Error, shown};
use crate::resp::session::Session;
use crate::resp::table::{Args, Outcome};
use crate::tracking::{Mode, Tracker};

/// What was asked for.
#[derive(Default)]
struct Options {
    redirect: Option<u64>,
    is_broadcast: bool,
    is_opt_in: bool,
    is_opt_out: bool,
    is_no_loop: bool,
    prefixes: Vec<Box<[u8]>>,
}

impl Options {
    fn parse(session: &Session, args: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"redirect" => {
                    let id = rest.next().ok_or(Error::Syntax)?;
                    if options.redirect.is_some() {
                        return Err(Error::text("ERR A client can only redirect to a single other client"));
                    }
                    let id = number::parse_integer(id).ok_or(Error::text("ERR Invalid redirect client ID"))?;
                    let id = u64::try_from(id).ok().filter(|id| session.node.clients.find(*id).is_some());
                    let id = id.ok_or(Error::text("ERR The client ID you want redirect to does not exist"))?;
                    options.redirect = Some(id);
                }
                b"bcast" => options.is_broadcast = true,
                b"optin" => options.is_opt_in = true,
                b"optout" => options.is_opt_out = true,
                b"noloop" => options.is_no_loop = true,
                b"prefix" => options.prefixes.push((*rest.next().ok_or(Error::Syntax)?).into()),
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether they fit together, and what is tracked already.
    fn mode(&self, before: Option<&Tracker>) -> Result<Mode, Error> {
        if !self.is_broadcast && !self.prefixes.is_empty() {
            return Err(Error::text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if before.is_some_and(|before| (before.mode == Mode::Broadcast) != self.is_broadcast) {
            return Err(Error::text(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling \
                 it with a different mode.",
            ));
        }
        if self.is_broadcast && (self.is_opt_in || self.is_opt_out) {
            return Err(Error::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.is_opt_in && self.is_opt_out {
            return Err(Error::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let mode = match (self.is_broadcast, self.is_opt_in, self.is_opt_out) {
            (true, _, _) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (_, _, true) => Mode::OptOut,
            _ => Mode::Reads,
        };
        match (before.map(|before| before.mode), mode) {
            (Some(Mode::OptIn), Mode::OptOut) | (Some(Mode::OptOut), Mode::OptIn) => Err(Error::text(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            )),
            _ => Ok(mode),
        }
    }

    fn check_prefixes(&self, before: &[Box<[u8]>]) -> Outcome {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let refuse = |one: &[u8], what: &str, other: &[u8]| {
            let (one, other) = (shown(one), shown(other));
            Err(Error::text(format!(
                "ERR Prefix '{one}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not overlap."
            )))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = before.iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing", other);
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }
}

pub(super) fn tracking(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(session, &args[3..])?;
    if args[2].eq_ignore_ascii_case(b"off") {
        session.end_tracking();
    } else if args[2].eq_ignore_ascii_case(b"on") {
        if session.is_on_replica() {
            return Err(Error::text("ERR CLIENT TRACKING is for clients of the master; this node is a replica"));
        }
        let before = session.tracker();
        let mode = options.mode(before.as_deref())?;
        let mut prefixes = before.map_or_else(Vec::new, |before| before.prefixes.clone());
        options.check_prefixes(&prefixes)?;
        prefixes.extend(options.prefixes);
        if mode == Mode::Broadcast && prefixes.is_empty() {
            prefixes.push([].into());
        }
        let (client, redirect) = (Arc::clone(&session.client), options.redirect.unwrap_or(0));
        session.track(Tracker::new(client, mode, options.is_no_loop, redirect, prefixes));
    } else {
        return Err(Error::Syntax);
    }
    out.ok();
    Ok(())
}

pub(super) fn caching(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(tracker) = session.tracker() else {
        return Err(Error::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let (wanted, text) = match args[2] {
        word if word.eq_ignore_ascii_case(b"yes") => {
            (Mode::OptIn, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
        word if word.eq_ignore_ascii_case(b"no") => {
            (Mode::OptOut, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
        _ => return Err(Error::Syntax),
    };
    if tracker.mode != wanted {
        return Err(Error::text(text));
    }
    session.is_caching_said = true;
    out.ok();
    Ok(())
}

pub(super) fn getredir(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(session.tracker().map_or(-1, |tracker| tracker.redirect as i64));
    Ok(())
}

pub(super) fn trackinginfo(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let tracker = session.tracker();
    let mut flags = Vec::new();
    match &tracker {
        None => flags.push("off"),
        Some(tracker) => {
            flags.push("on");
            match tracker.mode {
                Mode::Reads => {}
                Mode::Broadcast => flags.push("bcast"),
                Mode::OptIn => flags.push("optin"),
                Mode::OptOut => flags.push("optout"),
            }
            if session.is_caching_said {
                flags.push(if tracker.mode == Mode::OptIn { "caching-yes" } else { "caching-no" });
            }
            if tracker.is_no_loop {
                flags.push("noloop");
            }
            if session.client.is(state::TRACKING_BROKEN) {
                flags.push("broken_redirect");
            }
        }
    }
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.integer(tracker.as_ref().map_or(-1, |tracker| tracker.redirect as i64));
    out.bulk(b"prefixes");
    let prefixes = tracker.as_ref().map_or(&[][..], |tracker| &tracker.prefixes);
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(())
}
