//! Compares the joined sockets with the kernel's lists of groups, to find the memberships that the kernel has
//! forgotten.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::control::membership::{JoinedSocket, Membership, SocketId};
use crate::model::SourceFilter;
use crate::net::{KernelGroups, SocketBackend, SocketError};

/// A socket missing in the kernel's lists.
pub(in crate::control) struct MissingSocket {
    pub(in crate::control) id: SocketId,
    pub(in crate::control) interface_index: u32,
    pub(in crate::control) membership: Arc<Membership>,
}

/// Reads the kernel's lists and returns the sockets missing there: all of a group's sockets if the kernel counts fewer,
/// because it does not say which ones. A list that changes while it is read may lack a group once.
pub(in crate::control) fn lacking(
    sockets: &dyn SocketBackend,
    memberships: &[Arc<Membership>],
) -> Result<Vec<MissingSocket>, SocketError> {
    // A socket counts only if it is joined before the lists are read and after.
    let mut before = HashSet::new();
    for_each_joined(memberships, |_, socket| {
        before.insert(socket.id);
    });
    let kernel = sockets.kernel_groups()?;

    let mut ours = Counts::default();
    for_each_joined(memberships, |_, socket| {
        if before.contains(&socket.id) {
            ours.add(socket);
        }
    });
    let short = ours.beyond(&kernel);
    let mut lacking = Vec::new();
    if !short.is_empty() {
        for_each_joined(memberships, |membership, socket| {
            let &JoinedSocket { id, interface_index, group, .. } = socket;
            if before.contains(&id) && short.contains(&(interface_index, group)) {
                lacking.push(MissingSocket { id, interface_index, membership: membership.clone() });
            }
        });
    }
    Ok(lacking)
}

fn for_each_joined(
    memberships: &[Arc<Membership>],
    mut each: impl FnMut(&Arc<Membership>, &JoinedSocket<'_>),
) {
    for membership in memberships {
        membership.for_each_joined(|socket| each(membership, &socket));
    }
}

/// The service's sockets, by interface and group.
#[derive(Default)]
struct Counts {
    users: HashMap<(u32, IpAddr), u32>,
    including: HashMap<(u32, IpAddr, IpAddr), u32>,
    excluding: HashMap<(u32, IpAddr, IpAddr), u32>,
}

impl Counts {
    fn add(&mut self, socket: &JoinedSocket<'_>) {
        let (index, group) = (socket.interface_index, socket.group);
        *self.users.entry((index, group)).or_default() += 1;
        // While an interface is down, the kernel has the sources of INCLUDE filters in no list (`igmpv3_add_delrec`,
        // `mld_add_delrec`).
        if !socket.is_up {
            return;
        }
        let (counts, sources) = match socket.sources {
            SourceFilter::Any => return,
            SourceFilter::Include(sources) => (&mut self.including, sources),
            SourceFilter::Exclude(sources) => (&mut self.excluding, sources),
        };
        for source in sources {
            *counts.entry((index, group, *source)).or_default() += 1;
        }
    }

    /// The groups in which the service has more sockets than the kernel counts.
    fn beyond(&self, kernel: &KernelGroups) -> HashSet<(u32, IpAddr)> {
        let users = self.users.iter();
        let users = users.filter(|((index, group), ours)| **ours > kernel.users(*index, *group));
        let including = self.including.iter();
        let including = including
            .filter(|((index, group, source), ours)| kernel.lacks_included(*index, *group, *source, **ours));
        let excluding = self.excluding.iter();
        let excluding = excluding
            .filter(|((index, group, source), ours)| kernel.lacks_excluded(*index, *group, *source, **ours));
        let of_sources = including.chain(excluding).map(|((index, group, _), _)| (*index, *group));
        users.map(|(group, _)| *group).chain(of_sources).collect()
    }
}
