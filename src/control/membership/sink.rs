//! A membership's sink: appends received datagrams to the log, and has the responder reply to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::control::responder::Responder;
use crate::control::views::ReceivedOn;
use crate::model::{DatagramMeta, Group, Timestamp};
use crate::net::{Batch, RegisteredSocket, Sink};
use crate::store::{Log, RecordBatch};

/// Takes the datagrams of one interface.
pub(super) struct MembershipSink {
    pub(super) log: Arc<Log>,
    pub(super) interface: Arc<str>,
    pub(super) index: u32,
    pub(super) group: Group,
    pub(super) counters: Arc<InterfaceCounters>,
    pub(super) responder: Option<Arc<Responder>>,
    /// The number of joined interfaces: with only one, there are no duplicates to suppress.
    pub(super) joined: Arc<AtomicUsize>,
}

impl Sink for MembershipSink {
    fn deliver(&mut self, socket: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        let destination = self.group.socket_addr(self.index);
        let mut counted = ReceivedOn::default();
        self.log.append(batch.iter().map(|received| {
            let received_at = received.received_at.unwrap_or_else(Timestamp::now);
            counted.datagrams += received.datagrams().count() as u64;
            counted.bytes += received.bytes.len() as u64;
            counted.last_received_at = counted.last_received_at.max(Some(received_at));
            RecordBatch {
                metadata: DatagramMeta {
                    received_at,
                    source: received.source,
                    destination,
                    interface: &self.interface,
                    hop_limit: received.hop_limit,
                    truncated: received.truncated,
                },
                response: None,
                segment: received.segment,
                bytes: received.bytes,
            }
        }));
        self.counters.add(counted);
        if let Some(responder) = &self.responder {
            let is_only_interface = self.joined.load(Ordering::Relaxed) < 2;
            responder.reply_to_batch(socket, self.index, is_only_interface, batch);
        }
    }
}

/// The counters of one interface.
#[derive(Default)]
pub(super) struct InterfaceCounters {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds since 1970; 0 before the first datagram.
    last_received_at: AtomicI64,
}

impl From<ReceivedOn> for InterfaceCounters {
    fn from(received: ReceivedOn) -> Self {
        Self {
            datagrams: AtomicU64::new(received.datagrams),
            bytes: AtomicU64::new(received.bytes),
            last_received_at: AtomicI64::new(received.last_received_at.map_or(0, |Timestamp(last)| last)),
        }
    }
}

impl InterfaceCounters {
    fn add(&self, received: ReceivedOn) {
        self.datagrams.fetch_add(received.datagrams, Ordering::Relaxed);
        self.bytes.fetch_add(received.bytes, Ordering::Relaxed);
        if let Some(Timestamp(last)) = received.last_received_at {
            self.last_received_at.fetch_max(last, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> ReceivedOn {
        let last = self.last_received_at.load(Ordering::Relaxed);
        ReceivedOn {
            datagrams: self.datagrams.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_received_at: (last != 0).then_some(Timestamp(last)),
        }
    }
}
