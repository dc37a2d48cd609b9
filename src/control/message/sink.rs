//! The sink of a message's sockets: classifies the datagrams and appends responses to the log.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::collection::{Disposition, PortKey};
use super::state::Message;
use crate::model::{CloseReason, DatagramMeta};
use crate::net::{Batch, RegisteredSocket, Sink};
use crate::store::RecordBatch;

/// Takes the datagrams of one of a message's sockets.
pub(super) struct ResponseSink {
    /// Weak: the message owns the registration that owns this sink.
    pub(super) message: Weak<Message>,
    pub(super) port: PortKey,
    pub(super) local: SocketAddr,
    /// The interface that the message is sent by.
    pub(super) egress_interface: (u32, Arc<str>),
}

impl Sink for ResponseSink {
    fn deliver(&mut self, _: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        let Some(message) = self.message.upgrade() else {
            return;
        };
        let now = message.context.sockets.clock();
        let names = self.interface_names(&message, batch);
        let mut collection = message.collection();
        let mut next = message.log.next_sequence();
        let mut batches = Vec::new();
        for received in batch.iter() {
            let received_at = received.received_at.unwrap_or(now.real);
            match collection.classify(self.port, received.source, received_at, next, &now) {
                Disposition::Stray => {}
                Disposition::Keep(response) => {
                    next += 1;
                    if let Some(rtt_us) = response.rtt_us {
                        message.context.totals.rtt.note(Duration::from_micros(rtt_us));
                    }
                    let meta = DatagramMeta {
                        received_at,
                        source: received.source,
                        destination: self.local,
                        interface: name_of(&names, received.interface_index),
                        hop_limit: received.hop_limit,
                        truncated: received.truncated,
                    };
                    batches.push(RecordBatch {
                        metadata: meta,
                        response: Some(response),
                        segment: None,
                        bytes: received.bytes,
                    });
                    if let Some(reason @ CloseReason::Expected) =
                        collection.due_close_reason(&message.spec, now.monotonic)
                        && collection.close(reason, now.real)
                    {
                        message.after_close(reason, &collection.counters(), now.monotonic);
                    }
                }
            }
        }
        // Still under the collection's lock, so that the log has the order in which datagrams were classified.
        message.log.append(batches);
    }
}

impl ResponseSink {
    /// The interfaces on which a batch arrived; the egress interface comes first.
    fn interface_names(&self, message: &Message, batch: &Batch<'_>) -> Vec<(u32, Arc<str>)> {
        let mut names = vec![self.egress_interface.clone()];
        for index in batch.iter().filter_map(|received| received.interface_index) {
            if names.iter().all(|(known, _)| *known != index) {
                let table = message.context.sockets.interfaces();
                let name = table.by_index(index).map(|interface| interface.name.clone());
                names.push((index, name.unwrap_or_else(|| format!("if{index}").into())));
            }
        }
        names
    }
}

/// Without an index, the first name.
fn name_of(names: &[(u32, Arc<str>)], index: Option<u32>) -> &str {
    let named = index.and_then(|index| names.iter().find(|(known, _)| *known == index));
    &named.unwrap_or(&names[0]).1
}
