//! Sockets whose memberships the kernel has forgotten, for as long as it would harm others to close them.
//!
//! A socket that is closed takes one user off its group on its interface. The kernel does not know that it has forgotten
//! this one: if another program has joined the group there since, it is that program's membership that ends. So such a
//! socket stays open, and drops what comes, until nobody else is listed or the interface loses its list again.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::logging::rarely;
use crate::model::{Family, InterfaceTable};
use crate::net::{RegisteredSocket, Registration, SocketBackend};

/// A socket that was joined on an interface which is there, and has another list of groups since.
pub(super) struct Orphan {
    pub(super) registration: Registration,
    pub(super) interface_index: u32,
    pub(super) group: IpAddr,
}

#[derive(Default)]
pub(super) struct Orphans(VecDeque<OrphanSocket>);

struct OrphanSocket {
    socket: Arc<RegisteredSocket>,
    interface_index: u32,
    group: IpAddr,
}

impl Orphans {
    /// Descriptors that they take at most; beyond that, the oldest is closed all the same.
    const MOST: usize = 256;

    /// Ends what these sockets deliver, and closes those whose end harms nobody.
    pub(super) fn take_in(
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
            // Otherwise its buffer would fill. If it cannot be had, that is all.
            let _ = socket.drop_all_input();
            let _closed = registration.close();
            self.0.push_back(OrphanSocket { socket, interface_index, group });
        }
        self.close_harmless(table, sockets);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Closes those whose end harms nobody any more.
    pub(super) fn close_harmless(&mut self, table: &InterfaceTable, sockets: &dyn SocketBackend) {
        if self.0.is_empty() {
            return;
        }
        match sockets.kernel_groups() {
            Ok(kernel) => self.0.retain(|kept| {
                let interface = table.by_index(kept.interface_index);
                let has_list = interface.is_some_and(|known| known.takes_part_in(Family::of(kept.group)));
                has_list && kernel.users(kept.interface_index, kept.group) > 0
            }),
            Err(error) => rarely!(WARN, %error, "the kernel's lists of groups cannot be read"),
        }
        self.0.drain(..self.0.len().saturating_sub(Self::MOST)).for_each(|oldest| drop(oldest.socket));
    }
}
