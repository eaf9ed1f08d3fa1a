//! Carries a client of the broker or of the gateway to the master, byte by byte, so that any address serves any client.

use std::sync::Arc;

use tercet_edge::socket::Socket;
use tercet_proto::grpc::cluster::v1::{Address, Member};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::time::timeout;
use tracing::debug;

use crate::clients::{Protocol, Registration};
use crate::leaving::Leave;
use crate::limits;
use crate::node::Shared;
use crate::role::Role;

/// Which port of the master the client means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Amqp,
    Gateway,
}

impl Port {
    fn of(self, master: &Member) -> Option<&Address> {
        match self {
            Self::Amqp => master.amqp.as_ref(),
            Self::Gateway => master.gateway.as_ref(),
        }
    }
}

/// Carries a client until one side ends or the master changes. The stream comes back if this node is master itself (or
/// becomes it before anybody else does): it is to be served here.
pub async fn carry(node: Shared, mut client: Socket, port: Port) -> Option<Socket> {
    let (address, local) = (client.peer(), client.local());
    let (mut standings, mut leaving) = (node.authority.subscribe(), node.leaving.subscribe());
    let place = timeout(limits::CARRY_WAIT, find_master(&node, &mut standings, port)).await;
    let master = match place {
        Ok(Some(Place::Here)) => return Some(client),
        Ok(Some(Place::At(master))) => master,
        // Nobody is known: the client comes again, or goes elsewhere.
        Ok(None) | Err(_) => return None,
    };
    let epoch = standings.borrow_and_update().epoch;
    let _registration = Registration::new(Arc::clone(&node.clients), Protocol::Carried, address, local);
    let plain_port = match port {
        Port::Amqp => node.config.amqp_port,
        Port::Gateway => node.config.gateway_port,
    };
    let port = u16::try_from(master.port).ok()?;
    // The connection to the master is a descriptor too.
    let _place = node.places.take_further().ok()?;
    let carrier = node.carrier(plain_port);
    let connected = timeout(limits::CONNECT_TIMEOUT, carrier.socket(&master.host, port));
    let mut upstream = match connected.await {
        Ok(Ok(upstream)) => upstream,
        Ok(Err(error)) => {
            debug!(%address, master = master.host, port = master.port, %error, "cannot carry a client");
            return None;
        }
        Err(_) => return None,
    };
    let size = limits::CARRY_BUFFER_BYTES;
    tokio::select! {
        // How the connection ends is the business of its two ends.
        _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, size, size) => {}
        _ = standings.wait_for(|standing| standing.epoch != epoch) => {}
        _ = leaving.wait_for(|leave| *leave == Leave::AtOnce) => {}
    }
    None
}

enum Place {
    Here,
    At(Address),
}

/// Waits until it is known who is master.
async fn find_master(
    node: &Shared,
    standings: &mut tokio::sync::watch::Receiver<crate::role::Standing>,
    port: Port,
) -> Option<Place> {
    loop {
        match standings.borrow_and_update().role {
            Role::Master => return Some(Place::Here),
            Role::Replica => {
                let master = node.link.read().master.clone();
                if let Some(address) = master.as_ref().and_then(|master| port.of(master)) {
                    return Some(Place::At(address.clone()));
                }
            }
            Role::Waiting | Role::Deposed => {}
        }
        standings.changed().await.ok()?;
    }
}
