//! An interface that a message is sent on. One that the message names is tracked by name: repeats are sent on it as long
//! as it exists, from its current address. If the message names none, each copy is sent by the interface that a new
//! message would take.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::collection::{EgressResult, PortKey};
use super::opening::{InterfaceSockets, OpenedSockets, SocketsWithPorts};
use super::state::{Message, MessageContext};
use crate::control::error::ControlError;
use crate::model::{Family, Interface, InterfaceTable, Interfaces, MessageSpec, NotHearing};

pub(in crate::control) struct EgressInterface {
    pub(super) name: Arc<str>,
    /// Its index in the message's results.
    pub(super) result_index: usize,
    pub(super) loopback: bool,
    /// The source address that was chosen together with the interface: the kernel may choose another one if the query
    /// names that interface.
    chosen_source: Option<IpAddr>,
    /// The open sockets; none if they could not be opened.
    pub(super) sockets: Option<InterfaceSockets>,
    /// The interface table for which `sockets` was last found to fit.
    seen: Option<Arc<InterfaceTable>>,
    /// Sockets that still receive responses to a previous address, the oldest first.
    retired: VecDeque<Retired>,
    pub(super) last_send_succeeded: bool,
}

struct Retired {
    source: IpAddr,
    ports: Vec<PortKey>,
}

impl EgressInterface {
    /// Previous addresses of an interface at which responses are still received.
    const MAX_RETIRED: usize = 4;

    pub(super) fn new(result_index: usize, interface: &Interface) -> Self {
        Self {
            name: interface.name.clone(),
            result_index,
            loopback: interface.loopback,
            chosen_source: None,
            sockets: None,
            seen: None,
            retired: VecDeque::new(),
            last_send_succeeded: true,
        }
    }

    /// The interface of a message that names none.
    pub(super) fn chosen(interface: &Interface, chosen_source: Option<IpAddr>) -> Self {
        Self { chosen_source, ..Self::new(0, interface) }
    }

    /// Opens sockets that send by the interface as it is now.
    pub(in crate::control) fn open(
        &self,
        spec: &MessageSpec,
        context: &MessageContext,
    ) -> Result<OpenedSockets, ControlError> {
        let table = context.sockets.interfaces();
        let interface = usable(&table, &self.name, spec.group.family())?;
        let source = match self.chosen_source {
            Some(source) => source,
            None => context.source(spec, interface)?,
        };
        context.open(spec, interface, source)
    }

    /// Makes the next copy leave by the interface as it is now. If nothing has changed, this costs a comparison of two
    /// pointers, and for a message that names no interface a look-up.
    pub(super) fn refresh_sockets(
        &mut self,
        message: &Arc<Message>,
    ) -> Result<&InterfaceSockets, ControlError> {
        let (spec, context) = (&message.spec, &message.context);
        let table = context.sockets.interfaces();
        let is_first_copy = self.seen.is_none() && self.last_send_succeeded;
        if spec.interfaces == Interfaces::Default && !is_first_copy {
            self.choose_again(message, &table)?;
        }
        if self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &table)) {
            // Not set until `sockets` is found to fit.
            self.seen = None;
            let interface = usable(&table, &self.name, spec.group.family())?;
            let source = self.source(spec, context, interface)?;
            if let Some(sockets) =
                self.sockets.as_mut().filter(|sockets| sockets.suits(spec, interface, source))
            {
                sockets.interface = interface.clone();
            } else {
                self.close_conflicting(message, source);
                let opened = context.open(spec, interface, source);
                let opened = opened.inspect_err(|error| drop(context.end_lingering_for(error)))?;
                let with_ports =
                    message.with_collection(|collection| opened.enter_ports(self.result_index, collection));
                let registered = with_ports.register_all(message);
                let sockets =
                    registered.map_err(|error| context.cause(error, spec, &self.name, Some(source)))?;
                self.replace(message, sockets, &table);
            }
            self.seen = Some(table);
        }
        self.sockets.as_ref().ok_or_else(|| ControlError::InterfaceGone { interface: self.name.clone() })
    }

    /// Registers the sockets that were opened before the message was created. If that fails, the first copy retries.
    pub(in crate::control) fn register_sockets(
        &mut self,
        sockets: Option<SocketsWithPorts>,
        message: &Arc<Message>,
    ) {
        self.sockets = sockets.and_then(|sockets| sockets.register_all(message).ok());
    }

    /// The interface's result before anything was sent.
    pub(in crate::control) fn result(&self, spec: &MessageSpec) -> EgressResult {
        EgressResult::new(self.name.clone(), self.loopback && !spec.loopback)
    }

    /// Takes the interface and source address that a new message would take.
    fn choose_again(&mut self, message: &Message, table: &InterfaceTable) -> Result<(), ControlError> {
        let (spec, context) = (&message.spec, &message.context);
        let (interface, source) = match context.choose(spec, table) {
            Ok(chosen) => chosen,
            Err(error @ ControlError::RouteRefused { .. }) => return Err(error),
            Err(error) => {
                // What is wrong with the interface so far explains more than that there is no other.
                let interface = usable(table, &self.name, spec.group.family())?;
                if spec.source.is_none() {
                    context.source(spec, interface)?;
                }
                return Err(error);
            }
        };
        if interface.name != self.name {
            (self.name, self.loopback) = (interface.name.clone(), interface.loopback);
            let result = self.result(spec);
            self.result_index = message.with_collection(|collection| collection.add_result(result));
            self.seen = None;
        }
        if source != self.chosen_source {
            self.chosen_source = source;
            self.seen = None;
        }
        Ok(())
    }

    fn source(
        &self,
        spec: &MessageSpec,
        context: &MessageContext,
        interface: &Arc<Interface>,
    ) -> Result<IpAddr, ControlError> {
        if let Some(source) = self.chosen_source {
            return Ok(source);
        }
        match &self.sockets {
            Some(sockets)
                if Arc::ptr_eq(&sockets.interface, interface) && interface.can_send_from(sockets.source) =>
            {
                Ok(sockets.source)
            }
            _ => context.source(spec, interface),
        }
    }

    /// With a fixed source port, only one socket can be bound to an address: earlier ones are released first.
    fn close_conflicting(&mut self, message: &Message, source: IpAddr) {
        if message.spec.source_port.is_none() {
            return;
        }
        if let Some(sockets) = self.sockets.take_if(|sockets| sockets.source == source) {
            message.release(sockets.ports());
        }
        self.release_retired_if(message, |retired| retired.source == source);
    }

    /// Sends from other sockets from now on. The previous ones receive as long as the host has their address.
    fn replace(&mut self, message: &Message, sockets: InterfaceSockets, table: &InterfaceTable) {
        if let Some(before) = self.sockets.replace(sockets) {
            self.retired.push_back(Retired { source: before.source, ports: before.ports().to_vec() });
        }
        let is_here = |source| table.interfaces.iter().any(|interface| interface.can_send_from(source));
        self.release_retired_if(message, |retired| !is_here(retired.source));
        while self.retired.len() > Self::MAX_RETIRED
            && let Some(oldest) = self.retired.pop_front()
        {
            message.release(&oldest.ports);
        }
    }

    fn release_retired_if(&mut self, message: &Message, which: impl Fn(&Retired) -> bool) {
        self.retired.retain(|retired| {
            let ends = which(retired);
            if ends {
                message.release(&retired.ports);
            }
            !ends
        });
    }
}

/// The interface of this name, if a copy can be sent there according to the kernel's last announcement.
pub(super) fn usable<'t>(
    table: &'t InterfaceTable,
    name: &Arc<str>,
    family: Family,
) -> Result<&'t Arc<Interface>, ControlError> {
    let interface = || name.clone();
    let found = table.by_name(name).ok_or_else(|| ControlError::InterfaceGone { interface: interface() })?;
    if !found.up {
        return Err(ControlError::InterfaceDown { interface: interface() });
    }
    if !found.running {
        return Err(ControlError::Unusable(NotHearing::NoCarrier(interface())));
    }
    found.carries(family).map(|()| found).map_err(ControlError::Unusable)
}

impl InterfaceSockets {
    /// Whether further copies can be sent by these sockets.
    fn suits(&self, spec: &MessageSpec, interface: &Interface, source: IpAddr) -> bool {
        // With hop limit 0 the socket is a member of the group, and the kernel may have forgotten that membership.
        let family = spec.group.family();
        let is_member = spec.hop_limit.0 == 0 && !interface.loopback;
        let forgotten =
            is_member && self.interface.list_generation(family) != interface.list_generation(family);
        let is_same = self.interface.index == interface.index && self.interface.name == interface.name;
        is_same && self.source == source && !forgotten
    }
}

impl MessageContext {
    /// Ends the lingering of messages that hold the scarce resource that the error names; returns them.
    pub(in crate::control) fn end_lingering_for(&self, error: &ControlError) -> Vec<Arc<Message>> {
        match error {
            ControlError::Descriptors(_) => self.closed.end_lingering(|_| true),
            // Messages whose linger time is over, but which the timers' task has not handled yet.
            ControlError::PortInUse { .. } => self.closed.end_lingering(Message::has_lingered),
            _ => Vec::new(),
        }
    }
}
