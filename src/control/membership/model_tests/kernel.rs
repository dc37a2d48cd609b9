//! A simulated kernel for the model tests: two interfaces that come, go and forget groups, and opens that fail.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures_util::future::BoxFuture;

use crate::model::{ClockReading, Family, Group, Interface, InterfaceTable, Ipv6Status, SourceFilter};
use crate::net::{
    Action, Batch, BufferSize, GroupSocket, KernelGroups, MessageSocketSpec, ReceiveOptions, Received,
    RegisteredSocket, Registration, Route, RouteQuery, SendScript, SharedSendSocket, Sink, Socket,
    SocketBackend, SocketError,
};

pub(super) const NAMES: [&str; 2] = ["eth0", "eth1"];
/// An address on eth0, while eth0 exists.
pub(super) const REPLY_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9));

#[derive(Debug, Clone, Copy)]
pub(super) enum LinkChange {
    Up(usize),
    Down(usize),
    Gone(usize),
    /// The interface is created again, with another index.
    MadeAgain(usize),
    /// The MTU is too small for IPv6: the kernel forgets the groups.
    SmallMtu(usize),
    LargeMtu(usize),
    /// The kernel forgets the groups, and announces nothing.
    Forget(usize),
    AddressLeaves,
    AddressReturns,
}

pub(super) struct SimulatedKernel {
    state: Mutex<KernelState>,
    /// Makes the next sink that is called panic.
    pub(super) panics: Arc<AtomicBool>,
}

pub(super) struct KernelState {
    pub(super) links: [Option<Arc<Interface>>; 2],
    made: u32,
    /// Like `Users` in /proc/net/igmp6.
    pub(super) users: HashMap<(u32, IpAddr), u32>,
    /// The errors of the next opens.
    pub(super) open_errors: VecDeque<i32>,
    /// A change that happens during the next open.
    pub(super) between: Option<LinkChange>,
    /// Each open: its interface, and whether it succeeded.
    pub(super) opens: Vec<(usize, Result<u32, i32>)>,
    /// The clock changes only when the test sets it.
    pub(super) clock: ClockReading,
    sockets: Vec<Open>,
    ports: u16,
}

struct Open {
    joined: Option<(u32, IpAddr)>,
    port: u16,
    /// Dropped with the socket.
    token: Weak<GroupUser>,
    registered: Weak<RegisteredSocket>,
}

/// The kernel's state of a joined socket: closing the socket subtracts one user from the group, no matter whose.
struct GroupUser {
    kernel: Weak<SimulatedKernel>,
    joined: Option<(u32, IpAddr)>,
}

impl Drop for GroupUser {
    fn drop(&mut self) {
        let Some((kernel, joined)) = self.kernel.upgrade().zip(self.joined) else { return };
        if let Some(users) = kernel.state().users.get_mut(&joined) {
            *users = users.saturating_sub(1);
        }
    }
}

impl SimulatedKernel {
    pub(super) fn new() -> Arc<Self> {
        let links = [0, 1].map(|nth| Some(Arc::new(link(nth, 1_000 + u32::from(nth == 1)))));
        let state = KernelState {
            links,
            made: 2_000,
            users: HashMap::new(),
            open_errors: VecDeque::new(),
            between: None,
            opens: Vec::new(),
            clock: ClockReading::now(),
            sockets: Vec::new(),
            ports: 0,
        };
        Arc::new(Self { state: Mutex::new(state), panics: Arc::default() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, KernelState> {
        self.state.lock().unwrap()
    }

    pub(super) fn table(&self) -> Arc<InterfaceTable> {
        Arc::new(InterfaceTable { interfaces: self.state().links.iter().flatten().cloned().collect() })
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.state().sockets.iter().filter(|open| open.token.strong_count() > 0).count()
    }

    /// The interfaces on which sockets were opened since the last call, and the results.
    pub(super) fn take_opens(&self) -> Vec<(usize, Result<u32, i32>)> {
        std::mem::take(&mut self.state().opens)
    }

    /// The index of the interface, if the kernel would deliver a datagram to the group's members there.
    pub(super) fn would_deliver(&self, nth: usize, group: Group) -> Option<u32> {
        let state = self.state();
        let index = state.links[nth].as_ref().filter(|link| link.up)?.index;
        state.users.get(&(index, group.ip())).is_some_and(|users| *users > 0).then_some(index)
    }

    pub(super) fn deliver(&self, nth: usize, group: Group) {
        let Some(index) = self.would_deliver(nth, group) else { return };
        let received = Received {
            // Port 0: no reply can be sent to it.
            source: (Ipv6Addr::LOCALHOST, 0).into(),
            received_at: None,
            interface_index: None,
            hop_limit: None,
            truncated: false,
            segment: None,
            bytes: b"x",
        };
        let registered: Vec<_> = {
            let state = self.state();
            let members = state.sockets.iter().filter(|open| open.joined == Some((index, group.ip())));
            members.filter_map(|open| open.registered.upgrade()).collect()
        };
        for socket in registered {
            let _panics_on_purpose = socket.deliver(&Batch::of(&[received]));
        }
    }

    fn socket(self: &Arc<Self>, joined: Option<(u32, IpAddr)>) -> Result<Socket, SocketError> {
        let token = Arc::new(GroupUser { kernel: Arc::downgrade(self), joined });
        let mut state = self.state();
        state.ports += 1;
        let open = Open { joined, port: state.ports, token: Arc::downgrade(&token), registered: Weak::new() };
        let local = SocketAddr::from((Ipv6Addr::LOCALHOST, open.port));
        state.sockets.push(open);
        drop(state);
        Socket::scripted(SendScript::new(local, move |copies| {
            let _open = &token;
            Ok(copies)
        }))
    }
}

/// Shared between a membership and the test, which owns it.
impl SocketBackend for Arc<SimulatedKernel> {
    fn clock(&self) -> ClockReading {
        self.state().clock
    }

    fn interfaces(&self) -> Arc<InterfaceTable> {
        self.table()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<Arc<InterfaceTable>, SocketError>> {
        Box::pin(async { Ok(self.table()) })
    }

    fn route(&self, _: &RouteQuery) -> Result<Route, SocketError> {
        unreachable!("there are no messages")
    }

    fn open_group_socket(
        &self,
        group: &Group,
        interface: &Interface,
        _: &SourceFilter,
        options: ReceiveOptions,
    ) -> Result<GroupSocket, SocketError> {
        let nth = NAMES.iter().position(|name| *name == &*interface.name).expect("one of them");
        let joined = {
            let mut state = self.state();
            if let Some(change) = state.between.take() {
                state.apply(change);
            }
            let joined = state.join(nth, interface);
            state.opens.push((nth, joined));
            joined.map(|index| (index, group.ip())).inspect(|key| *state.users.entry(*key).or_default() += 1)
        };
        let of = |error| match error {
            libc::ENODEV => Action::Configure,
            libc::EINVAL => Action::Join,
            _ => Action::Bind,
        };
        let joined = joined.map_err(|error| socket_error(of(error), error))?;
        let size = options.receive_buffer;
        let buffer = BufferSize { requested: size, granted: size };
        Ok(GroupSocket { socket: self.socket(Some(joined))?, buffer })
    }

    fn open_reply_socket(&self, _: u32, source: IpAddr, _: u16) -> Result<Socket, SocketError> {
        assert_eq!(source, REPLY_ADDRESS);
        if !self.state().has_address() {
            return Err(socket_error(Action::Bind, libc::EADDRNOTAVAIL));
        }
        self.socket(None)
    }

    fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError> {
        let port = socket.local_addr()?.port();
        let sink = MayPanic { sink, panics: self.panics.clone() };
        let registration = Registration::unread(socket, Box::new(sink))?;
        let mut state = self.state();
        let open = state.sockets.iter_mut().find(|open| open.port == port).expect("it was opened");
        open.registered = Arc::downgrade(registration.socket());
        drop(state);
        Ok(registration)
    }

    fn kernel_groups(&self) -> Result<KernelGroups, SocketError> {
        Ok(KernelGroups::of(self.state().users.clone()))
    }

    fn open_message_socket(&self, _: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
        unreachable!("there are no messages")
    }

    fn open_shared_send_socket(&self, _: Family, _: bool) -> Result<SharedSendSocket, SocketError> {
        unreachable!("there are no messages")
    }
}

fn socket_error(action: Action, error: i32) -> SocketError {
    SocketError { action, source: io::Error::from_raw_os_error(error) }
}

/// A sink that panics if the test requests it.
struct MayPanic {
    sink: Box<dyn Sink>,
    panics: Arc<AtomicBool>,
}

impl Sink for MayPanic {
    fn deliver(&mut self, socket: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a sink that panics on purpose");
        self.sink.deliver(socket, batch);
    }
}

impl KernelState {
    pub(super) fn apply(&mut self, change: LinkChange) {
        match change {
            LinkChange::Up(nth) => self.change(nth, |link| (link.up, link.running) = (true, true)),
            LinkChange::Down(nth) => self.change(nth, |link| (link.up, link.running) = (false, false)),
            LinkChange::Gone(nth) => {
                self.forget(nth);
                self.links[nth] = None;
            }
            LinkChange::MadeAgain(nth) => {
                self.forget(nth);
                self.made += 1;
                self.links[nth] = Some(Arc::new(link(nth, self.made)));
            }
            LinkChange::SmallMtu(nth) => {
                self.forget(nth);
                self.change(nth, |link| (link.mtu, link.ipv6) = (1200, Ipv6Status::Absent));
            }
            LinkChange::LargeMtu(nth) => self.change(nth, |link| {
                link.list_generation[1] += u32::from(link.ipv6 == Ipv6Status::Absent);
                (link.mtu, link.ipv6) = (1500, Ipv6Status::On);
            }),
            LinkChange::Forget(nth) => self.forget(nth),
            LinkChange::AddressLeaves => self.change(0, |link| link.addresses.clear()),
            LinkChange::AddressReturns => self.change(0, |link| link.addresses = vec![(REPLY_ADDRESS, 64)]),
        }
    }

    fn change(&mut self, nth: usize, change: impl FnOnce(&mut Interface)) {
        if let Some(link) = &mut self.links[nth] {
            change(Arc::make_mut(link));
        }
    }

    fn forget(&mut self, nth: usize) {
        let index = self.links[nth].as_ref().map(|link| link.index);
        self.users.retain(|(known, _), _| Some(*known) != index);
    }

    pub(super) fn has_address(&self) -> bool {
        self.links.iter().flatten().any(|link| link.has(REPLY_ADDRESS))
    }

    fn join(&mut self, nth: usize, interface: &Interface) -> Result<u32, i32> {
        if let Some(error) = self.open_errors.pop_front() {
            return Err(error);
        }
        let link =
            self.links[nth].as_ref().filter(|link| link.index == interface.index).ok_or(libc::ENODEV)?;
        if link.ipv6 == Ipv6Status::Absent { Err(libc::EINVAL) } else { Ok(link.index) }
    }
}

fn link(nth: usize, index: u32) -> Interface {
    Interface {
        name: NAMES[nth].into(),
        index,
        mtu: 1500,
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
        addresses: if nth == 0 { vec![(REPLY_ADDRESS, 64)] } else { Vec::new() },
    }
}
