//! One interface that a message leaves by, followed by its name: what repeats leaves by it for as long as it is there,
//! with whatever address and index it has by then.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::Message;
use super::MessageContext;
use super::collection::{EgressResult, PortId};
use super::egress::usable;
use super::opening::{Egress, NumberedSockets, OpenedSockets};
use crate::control::error::ControlError;
use crate::model::{Interface, InterfaceTable, MessageSpec};

pub(in crate::control) struct EgressInterface {
    pub(super) name: Arc<str>,
    /// Its place among the message's results.
    pub(super) place: usize,
    pub(super) loopback: bool,
    /// The kernel chose the interface, and with it an address.
    chosen_by_route: bool,
    /// That address, to open the first sockets with.
    routed_source: Option<IpAddr>,
    /// How it leaves; none where that could not be opened.
    pub(super) egress: Option<Egress>,
    /// The interfaces as they were when `egress` was found to be right.
    seen: Option<Arc<InterfaceTable>>,
    /// Sockets that still hear answers to an address from before, the oldest first.
    retired: VecDeque<Retired>,
    /// The latest copy was sent.
    pub(super) works: bool,
}

struct Retired {
    source: IpAddr,
    ports: Vec<PortId>,
}

impl EgressInterface {
    /// Addresses that an interface had before, and at which answers are still heard.
    const MOST_RETIRED: usize = 4;

    pub(super) fn new(place: usize, interface: &Interface) -> Self {
        Self {
            name: interface.name.clone(),
            place,
            loopback: interface.loopback,
            chosen_by_route: false,
            routed_source: None,
            egress: None,
            seen: None,
            retired: VecDeque::new(),
            works: true,
        }
    }

    pub(super) fn chosen_by_route(interface: &Interface, routed_source: Option<IpAddr>) -> Self {
        Self { chosen_by_route: true, routed_source, ..Self::new(0, interface) }
    }

    /// Opens sockets to send by it with, as it is now.
    pub(in crate::control) fn open(
        &self,
        spec: &MessageSpec,
        context: &MessageContext,
    ) -> Result<OpenedSockets, ControlError> {
        let table = context.sockets.interfaces();
        let interface = usable(&table, &self.name, spec.group.family())?;
        let source = match self.routed_source {
            Some(source) => source,
            None => context.source(spec, interface, self.chosen_by_route)?,
        };
        context.open(spec, interface, source)
    }

    /// Sees to it that the next copy leaves by the interface as it is now. Where nothing has changed, that takes a
    /// comparison of two pointers.
    pub(super) fn follow(&mut self, message: &Arc<Message>) -> Result<&Egress, ControlError> {
        let (spec, context) = (&message.spec, &message.context);
        let table = context.sockets.interfaces();
        if self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &table)) {
            // Until it is found to be right.
            self.seen = None;
            let interface = usable(&table, &self.name, spec.group.family())?;
            let source = self.source(spec, context, interface)?;
            if let Some(egress) = self.egress.as_mut().filter(|egress| egress.suits(spec, interface, source))
            {
                egress.interface = interface.clone();
            } else {
                self.close_conflicting(message, source);
                let opened = context.open(spec, interface, source);
                let opened = opened.inspect_err(|refusal| drop(context.make_room(refusal)))?;
                let numbered = message.with_collection(|collection| opened.number(self.place, collection));
                let registered = numbered.register(message);
                let egress =
                    registered.map_err(|fault| context.cause(fault, spec, &self.name, Some(source)))?;
                self.replace(message, egress, &table);
            }
            self.seen = Some(table);
        }
        self.egress.as_ref().ok_or_else(|| ControlError::InterfaceGone { interface: self.name.clone() })
    }

    /// Registers what was opened before the message was made. If that fails, the first copy tries it again.
    pub(in crate::control) fn register(&mut self, sockets: Option<NumberedSockets>, message: &Arc<Message>) {
        self.egress = sockets.and_then(|sockets| sockets.register(message).ok());
    }

    /// What has come of it before anything was sent.
    pub(in crate::control) fn result(&self, spec: &MessageSpec) -> EgressResult {
        EgressResult::new(self.name.clone(), self.loopback && !spec.loopback)
    }

    fn source(
        &self,
        spec: &MessageSpec,
        context: &MessageContext,
        interface: &Arc<Interface>,
    ) -> Result<IpAddr, ControlError> {
        match &self.egress {
            Some(egress)
                if Arc::ptr_eq(&egress.interface, interface) && interface.can_send_from(egress.source) =>
            {
                Ok(egress.source)
            }
            _ => context.source(spec, interface, self.chosen_by_route),
        }
    }

    /// A port that is the message's choice is one socket's at an address: those that have it are closed first.
    fn close_conflicting(&mut self, message: &Message, source: IpAddr) {
        if message.spec.source_port.is_none() {
            return;
        }
        if let Some(egress) = self.egress.take_if(|egress| egress.source == source) {
            message.give_up(egress.ports());
        }
        self.retire_if(message, |retired| retired.source == source);
    }

    /// Sends by other sockets from now on. Those before hear for as long as their address is one of this host.
    fn replace(&mut self, message: &Message, egress: Egress, table: &InterfaceTable) {
        if let Some(before) = self.egress.replace(egress) {
            self.retired.push_back(Retired { source: before.source, ports: before.ports().to_vec() });
        }
        let is_here = |source| table.interfaces.iter().any(|interface| interface.can_send_from(source));
        self.retire_if(message, |retired| !is_here(retired.source));
        while self.retired.len() > Self::MOST_RETIRED
            && let Some(oldest) = self.retired.pop_front()
        {
            message.give_up(&oldest.ports);
        }
    }

    fn retire_if(&mut self, message: &Message, which: impl Fn(&Retired) -> bool) {
        self.retired.retain(|retired| {
            let ends = which(retired);
            if ends {
                message.give_up(&retired.ports);
            }
            !ends
        });
    }
}

impl Egress {
    /// Whether copies can go on to leave by it.
    fn suits(&self, spec: &MessageSpec, interface: &Interface, source: IpAddr) -> bool {
        // With hop limit 0 the socket is a member of the group, which the kernel may have forgotten.
        let family = spec.group.family();
        let is_member = spec.hop_limit.0 == 0 && !interface.loopback;
        let forgotten = is_member && self.interface.forgotten(family) != interface.forgotten(family);
        self.interface.index == interface.index && self.source == source && !forgotten
    }
}

impl MessageContext {
    /// Lets messages that linger give up what there was too little of; gives them.
    pub(in crate::control) fn make_room(&self, refusal: &ControlError) -> Vec<Arc<Message>> {
        match refusal {
            ControlError::Descriptors(_) => self.closed.end_lingering(|_| true),
            // Their time is over, and only the timers' task has not come round to them.
            ControlError::PortInUse { .. } => self.closed.end_lingering(Message::has_lingered),
            _ => Vec::new(),
        }
    }
}
