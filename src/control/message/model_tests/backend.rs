//! The world as a [`SocketBackend`]: the results of each call, and the points at which scripted events happen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::world::{Becomes, World, WorldState};
use crate::model::{ClockReading, Family, Group, Interface, InterfaceTable, Ipv6Status, SourceFilter};
use crate::net::{
    Action, GroupSocket, KernelGroups, MessageSocketSpec, ReceiveOptions, Registration, Route, RouteQuery,
    SharedSendSocket, Sink, Socket, SocketBackend, SocketError,
};

impl SocketBackend for World {
    fn clock(&self) -> ClockReading {
        self.step();
        self.tick().0
    }

    fn interfaces(&self) -> Arc<InterfaceTable> {
        self.step();
        let mut state = self.state();
        state.shown = state.table.clone();
        state.table.clone()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<Arc<InterfaceTable>, SocketError>> {
        Box::pin(async { Ok(self.interfaces()) })
    }

    fn route(&self, query: &RouteQuery) -> Result<Route, SocketError> {
        self.step();
        let state = self.state();
        let index = query.interface.expect("all interfaces are named");
        let interface = state.table.by_index(index).ok_or_else(|| socket_error(libc::ENODEV))?;
        if !interface.up {
            return Err(socket_error(libc::ENETUNREACH));
        }
        let source = interface.addresses.first().map(|(source, _)| *source);
        Ok(Route { interface_index: index, source })
    }

    fn open_group_socket(
        &self,
        _: &Group,
        _: &Interface,
        _: &SourceFilter,
        _: ReceiveOptions,
    ) -> Result<GroupSocket, SocketError> {
        unreachable!("messages join no group")
    }

    fn kernel_groups(&self) -> Result<KernelGroups, SocketError> {
        Ok(KernelGroups::default())
    }

    fn open_message_socket(&self, spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
        self.step();
        let mut state = self.state();
        if let Some(error) = state.bind_error.take() {
            return Err(SocketError { action: Action::Bind, source: io::Error::from_raw_os_error(error) });
        }
        let port = spec.port.unwrap_or_else(|| 40_000 + u16::try_from(state.sockets.len()).expect("few"));
        let local = SocketAddr::new(spec.source, port);
        let bind_error =
            |error| SocketError { action: Action::Bind, source: io::Error::from_raw_os_error(error) };
        if !state.table.interfaces.iter().any(|interface| interface.has(spec.source)) {
            return Err(bind_error(libc::EADDRNOTAVAIL));
        }
        if state.sockets.iter().any(|socket| socket.is_open() && socket.local == local) {
            return Err(bind_error(libc::EADDRINUSE));
        }
        drop(state);
        let socket = Socket::scripted(self.script(local, spec.interface.index, true))?;
        self.step();
        Ok(socket)
    }

    fn open_shared_send_socket(&self, _: Family, _: bool) -> Result<SharedSendSocket, SocketError> {
        self.step();
        SharedSendSocket::scripted(self.script((Ipv4Addr::UNSPECIFIED, 50_000).into(), 0, false))
    }

    fn open_reply_socket(&self, _: u32, _: IpAddr, _: u16) -> Result<Socket, SocketError> {
        unreachable!("messages send no replies")
    }

    fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError> {
        self.step();
        let local = socket.local_addr()?;
        let registration = Registration::unread(socket, sink)?;
        let mut state = self.state();
        let open = state.sockets.iter_mut().rev().find(|open| open.local == local);
        open.expect("it was opened").registered = Arc::downgrade(registration.socket());
        drop(state);
        self.step();
        Ok(registration)
    }
}

impl WorldState {
    pub(super) fn change(&mut self, nth: usize, becomes: Becomes) {
        let nth = nth % 2;
        let name = &*interface(nth, 0, 0).name;
        // An address that it has not had before.
        let serial = u8::try_from(self.ticks / 2 % 200).expect("a byte") + 10;
        let index = u32::try_from(self.ticks).expect("few") * 2 + u32::from(nth == 1);
        let mut interfaces = self.table.interfaces.clone();
        let position = interfaces.iter().position(|interface| &*interface.name == name);
        let before = position.map(|position| interfaces.remove(position));
        let change = |change: &dyn Fn(&mut Interface)| {
            let mut interface = before.as_deref().cloned()?;
            change(&mut interface);
            Some(interface)
        };
        let after = match becomes {
            Becomes::Gone => None,
            Becomes::MadeAgain => Some(interface(nth, index, 1)),
            Becomes::Up => change(&|interface| (interface.up, interface.running) = (true, true)),
            Becomes::Down => change(&|interface| (interface.up, interface.running) = (false, false)),
            Becomes::WithoutCarrier => change(&|interface| interface.running = false),
            Becomes::Renumbered => change(&|interface| {
                interface.addresses = vec![(address(nth, serial), 24)];
            }),
            Becomes::WithoutAddress => change(&|interface| interface.addresses.clear()),
        };
        interfaces.extend(after.map(Arc::new));
        self.table = Arc::new(InterfaceTable { interfaces });
    }
}

pub(super) fn first_table() -> InterfaceTable {
    let interfaces = [0, 1].map(|nth| Arc::new(interface(nth, 2 + u32::from(nth == 1), 1)));
    InterfaceTable { interfaces: interfaces.into() }
}

fn interface(nth: usize, index: u32, host: u8) -> Interface {
    Interface {
        name: format!("eth{nth}").into(),
        index,
        mtu: 1_500,
        up: true,
        running: true,
        loopback: false,
        ipv4: true,
        ipv6: Ipv6Status::On,
        list_generation: [0, 0],
        ups: 0,
        multicast: true,
        master: None,
        receives_for_ports: false,
        addresses: vec![(address(nth, host), 24)],
    }
}

fn address(nth: usize, host: u8) -> IpAddr {
    [10, 0, u8::try_from(nth).expect("few"), host].into()
}

fn socket_error(error: i32) -> SocketError {
    SocketError { action: Action::Send, source: io::Error::from_raw_os_error(error) }
}
