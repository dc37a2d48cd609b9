//! A simulated kernel for the model tests: interfaces that come and go, sockets that send nothing, a clock that jumps.
//! At each call of the bookkeeping the next events of the script happen, and the world keeps true records of them.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::control::shared::Shared;
use crate::control::{Control, Message};
use crate::model::{ClockReading, Id, Interface, InterfaceTable, Timestamp};
use crate::net::{Batch, Received, RegisteredSocket, SendScript};

/// An event between two calls of the bookkeeping.
#[derive(Debug, Clone, Copy)]
pub(super) enum WorldEvent {
    /// A datagram from this host arrives at one of the open sockets.
    Arrive {
        socket: usize,
        host: u8,
    },
    /// The receive threads deliver the waiting datagrams.
    Deliver,
    Interface {
        nth: usize,
        becomes: Becomes,
    },
    SendBuffers {
        full: bool,
    },
    FailBind(i32),
    /// The next send panics.
    Panic,
    /// The time of day is set.
    SetClock {
        hours: i64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Becomes {
    Up,
    Down,
    WithoutCarrier,
    Gone,
    /// The interface gets another address.
    Renumbered,
    /// The interface is created again as it was at first, with another index.
    MadeAgain,
    WithoutAddress,
}

pub(super) struct World {
    state: Mutex<WorldState>,
    pub(super) control: OnceLock<Weak<Shared>>,
    pub(super) id: Id,
    start: Instant,
    this: Weak<Self>,
}

pub(super) struct WorldState {
    script: VecDeque<Vec<WorldEvent>>,
    /// An event is happening now; no other starts.
    is_applying: bool,
    pub(super) table: Arc<InterfaceTable>,
    /// The table that the bookkeeping read last.
    pub(super) shown: Arc<InterfaceTable>,
    pub(super) sockets: Vec<OpenSocket>,
    full: bool,
    pub(super) bind_error: Option<i32>,
    panics: bool,
    clock_offset: i64,
    pub(super) ticks: i64,
    records: Observations,
}

pub(super) struct OpenSocket {
    pub(super) local: SocketAddr,
    index: u32,
    /// Not shared by messages.
    own: bool,
    /// Dropped with the socket.
    open: Weak<()>,
    pub(super) registered: Weak<RegisteredSocket>,
    waiting: VecDeque<(SocketAddr, Timestamp, i64)>,
    /// The tick of the first send.
    first_sent: Option<i64>,
}

/// The world's records, independent of the bookkeeping.
#[derive(Debug, Default, Clone)]
pub(super) struct Observations {
    pub(super) sent: u32,
    pub(super) delivered: u64,
    /// Datagrams that arrived before the first send from their socket.
    pub(super) early: u64,
    /// Datagrams for which a step of the clock makes that undecidable.
    pub(super) unclear: u64,
    pub(super) late: u64,
    pub(super) answers: u64,
    pub(super) answered_by: HashSet<SocketAddr>,
    pub(super) answered_in_time: u64,
    /// Copies that the bookkeeping sent although its table showed that they cannot be sent.
    pub(super) violations: Vec<String>,
    /// The ticks at which the time of day was set.
    steps: Vec<i64>,
}

impl World {
    pub(super) fn new(script: Vec<Vec<WorldEvent>>) -> Arc<Self> {
        let table = Arc::new(super::backend::first_table());
        Arc::new_cyclic(|this| Self {
            state: Mutex::new(WorldState {
                script: script.into(),
                is_applying: false,
                shown: table.clone(),
                table,
                sockets: Vec::new(),
                full: false,
                bind_error: None,
                panics: false,
                clock_offset: 0,
                ticks: 0,
                records: Observations::default(),
            }),
            control: OnceLock::new(),
            id: Id::parse("one").expect("an id"),
            start: tokio::time::Instant::now().into_std(),
            this: this.clone(),
        })
    }

    pub(super) fn records(&self) -> Observations {
        self.state().records.clone()
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.state().sockets.iter().filter(|socket| socket.own && socket.is_open()).count()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().script.is_empty()
    }

    /// Applies the next events of the script.
    pub(super) fn step(&self) {
        let mut state = self.state();
        if state.is_applying {
            return;
        }
        state.is_applying = true;
        let events = state.script.pop_front().unwrap_or_default();
        drop(state);
        for event in events {
            self.apply(event);
        }
        self.state().is_applying = false;
    }

    fn apply(&self, event: WorldEvent) {
        let now = self.tick();
        let mut state = self.state();
        match event {
            WorldEvent::Arrive { socket, host } => {
                let mut open: Vec<_> =
                    state.sockets.iter_mut().filter(|socket| socket.own && socket.is_open()).collect();
                let count = open.len().max(1);
                if let Some(socket) = open.get_mut(socket % count) {
                    let source = SocketAddr::from(([192, 0, 2, host], 10_000));
                    socket.waiting.push_back((source, now.0.real, now.1));
                }
            }
            WorldEvent::Deliver => {
                drop(state);
                self.deliver();
            }
            WorldEvent::Interface { nth, becomes } => state.change(nth, becomes),
            WorldEvent::SendBuffers { full } => state.full = full,
            WorldEvent::FailBind(error) => state.bind_error = Some(error),
            WorldEvent::Panic => state.panics = true,
            WorldEvent::SetClock { hours } => {
                state.clock_offset += hours * 3_600_000_000_000;
                let ticks = state.ticks;
                state.records.steps.push(ticks);
            }
        }
    }

    /// Advances and returns both clocks, and the number of this tick.
    pub(super) fn tick(&self) -> (ClockReading, i64) {
        /// In 2027.
        const EPOCH: i64 = 1_800_000_000_000_000_000;
        let mut state = self.state();
        state.ticks += 1;
        let elapsed = tokio::time::Instant::now().into_std() - self.start;
        let elapsed = elapsed + Duration::from_nanos(state.ticks.unsigned_abs());
        let real = i64::try_from(elapsed.as_nanos()).expect("a short test") + state.clock_offset;
        let reading = ClockReading { real: Timestamp(EPOCH + real), monotonic: self.start + elapsed };
        (reading, state.ticks)
    }

    fn deliver(&self) {
        loop {
            let mut state = self.state();
            let next = state.sockets.iter_mut().find_map(|socket| {
                let registered = socket.registered.upgrade()?;
                let (source, received_at, order) = socket.waiting.pop_front()?;
                Some((registered, source, received_at, order, socket.first_sent))
            });
            drop(state);
            let Some((socket, source, received_at, order, first_sent)) = next else { return };
            self.record(source, order, first_sent);
            let received = Received {
                source,
                received_at: Some(received_at),
                interface_index: None,
                hop_limit: None,
                truncated: false,
                segment: None,
                bytes: b"here",
            };
            assert!(socket.deliver(&Batch::of(&[received])), "a sink panicked");
        }
    }

    /// Records whether a datagram is a response or a stray, before the bookkeeping classifies it.
    fn record(&self, source: SocketAddr, order: i64, first_sent: Option<i64>) {
        let closed = self.message().is_some_and(|message| message.is_closed());
        let mut state = self.state();
        let records = &mut state.records;
        records.delivered += 1;
        let stepped_since = |then| records.steps.iter().any(|step| *step >= then);
        let is_early = first_sent.is_none_or(|sent| order < sent);
        let unclear = match first_sent {
            Some(sent) => stepped_since(if is_early { sent } else { order }),
            None => false,
        };
        if unclear {
            records.unclear += 1;
        } else if is_early {
            records.early += 1;
        } else {
            records.answers += 1;
            records.late += u64::from(closed);
            let is_new = records.answered_by.insert(source);
            records.answered_in_time += u64::from(is_new && !closed);
        }
    }

    fn message(&self) -> Option<Arc<Message>> {
        let control = Control(self.control.get()?.upgrade()?);
        control.message(&self.id).ok()
    }

    fn send(&self, nth: usize, copies: usize) -> io::Result<usize> {
        let (_, order) = self.tick();
        let panics = std::mem::take(&mut self.state().panics);
        assert!(!panics, "a send that panics on purpose");
        let mut state = self.state();
        let WorldState { sockets, table, shown, full, records, .. } = &mut *state;
        let socket = &mut sockets[nth];
        if *full {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let mut sent = copies;
        if socket.own {
            let is_up = |table: &InterfaceTable| {
                table.by_index(socket.index).is_some_and(|interface| interface.up && interface.running)
            };
            let source = socket.local.ip();
            let is_elsewhere =
                |interface: &Arc<Interface>| interface.index != socket.index && interface.has(source);
            // An address that was not announced may be the one that the kernel chose just before; it refuses any other.
            if !is_up(shown) || shown.interfaces.iter().any(is_elsewhere) {
                records.violations.push(format!("{} sent, and {shown:?} was known", socket.local));
            }
            if !is_up(table) || !table.by_index(socket.index).is_some_and(|interface| interface.has(source)) {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            sent = copies.div_ceil(2);
        }
        socket.first_sent.get_or_insert(order);
        records.sent += u32::try_from(sent).expect("few");
        drop(state);
        self.step();
        Ok(sent)
    }

    /// The script of a socket: the world decides the result of each send.
    pub(super) fn script(&self, local: SocketAddr, index: u32, own: bool) -> SendScript {
        let (open, mut state) = (Arc::new(()), self.state());
        let nth = state.sockets.len();
        state.sockets.push(OpenSocket {
            local,
            index,
            own,
            open: Arc::downgrade(&open),
            registered: Weak::new(),
            waiting: VecDeque::new(),
            first_sent: None,
        });
        let world = self.this.clone();
        SendScript::new(local, move |copies| {
            // The socket counts as open as long as it has this script.
            debug_assert!(Arc::strong_count(&open) > 0);
            world.upgrade().map_or(Ok(copies), |world| world.send(nth, copies))
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().expect("no panic")
    }
}

impl OpenSocket {
    pub(super) fn is_open(&self) -> bool {
        self.open.strong_count() > 0
    }
}
