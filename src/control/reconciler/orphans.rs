//! Sockets whose memberships the kernel has forgotten, kept open as long as closing them would harm other programs.
//!
//! Closing a socket subtracts one user from its group on its interface. The kernel does not know that it has forgotten
//! this user: if another program has joined the group there since, that program's membership ends. So such a socket
//! stays open, and drops its input, until no other user is listed or the interface loses its list again.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::logging::log_throttled;
use crate::model::{Family, InterfaceTable};
use crate::net::{RegisteredSocket, Registration, SocketBackend};

/// A socket that was joined on an interface which still exists, but has had a new list of groups since.
pub(in crate::control) struct Orphan {
    pub(in crate::control) registration: Registration,
    pub(in crate::control) interface_index: u32,
    pub(in crate::control) group: IpAddr,
}

#[derive(Default)]
pub(in crate::control) struct Orphans(VecDeque<OrphanSocket>);

struct OrphanSocket {
    socket: Arc<RegisteredSocket>,
    interface_index: u32,
    group: IpAddr,
}

impl Orphans {
    /// How many orphans stay open; if there are more, the oldest is closed all the same.
    const MAX_ORPHANS: usize = 256;

    /// Stops these sockets from delivering, and closes those that harm nobody when closed.
    pub(in crate::control) fn take_in(
        &mut self,
        orphans: Vec<Orphan>,
        table: &InterfaceTable,
        sockets: &dyn SocketBackend,
    ) {
        if orphans.is_empty() {
            return;
        }
        for Orphan { registration, interface_index, group } in orphans {
            let socket = registration.socket().clone();
            // Otherwise its buffer fills, which is the only harm if this fails.
            let _ = socket.drop_all_input();
            let _closing = registration.release();
            self.0.push_back(OrphanSocket { socket, interface_index, group });
        }
        self.close_harmless(table, sockets);
    }

    #[cfg(test)]
    pub(in crate::control) fn len(&self) -> usize {
        self.0.len()
    }

    /// Closes the sockets that harm nobody any more when closed.
    pub(in crate::control) fn close_harmless(&mut self, table: &InterfaceTable, sockets: &dyn SocketBackend) {
        if self.0.is_empty() {
            return;
        }
        match sockets.kernel_groups() {
            Ok(kernel) => self.0.retain(|orphan| {
                let interface = table.by_index(orphan.interface_index);
                let has_list = interface.is_some_and(|known| known.takes_part_in(Family::of(orphan.group)));
                has_list && kernel.users(orphan.interface_index, orphan.group) > 0
            }),
            Err(error) => log_throttled!(WARN, %error, "the kernel's lists of groups cannot be read"),
        }
        self.0.drain(..self.0.len().saturating_sub(Self::MAX_ORPHANS)).for_each(|oldest| drop(oldest.socket));
    }
}
