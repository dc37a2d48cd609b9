//! The receiving end of a message's sockets: judges what comes and puts it into the log.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Message;
use super::collection::Verdict;
use crate::model::{ClockReading, CloseReason, Heard, Timestamp};
use crate::net::{Batch, InterfaceWatch, RegisteredSocket, Sink};
use crate::store::Run;

/// Takes what one of a message's sockets hears.
pub(in crate::control) struct AnswerSink {
    /// Weak: the message owns the registration that owns this sink.
    pub(in crate::control) message: Weak<Message>,
    /// Which of the message's source ports this is.
    pub(in crate::control) port: usize,
    pub(in crate::control) local: SocketAddr,
    pub(in crate::control) egress: (u32, Arc<str>),
    pub(in crate::control) interfaces: InterfaceWatch,
}

impl Sink for AnswerSink {
    fn deliver(&mut self, _: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        let Some(message) = self.message.upgrade() else {
            return;
        };
        let now = ClockReading::now();
        let names = self.interface_names(batch);
        let mut collection = message.collection();
        let mut next = message.log.next_sequence();
        let mut runs = Vec::new();
        for received in batch.iter() {
            let received_at = received.received_at.unwrap_or(now.real);
            match collection.hear(self.port, received.source, received_at, next, &now) {
                Verdict::Stray => {}
                Verdict::Keep(answer) => {
                    next += 1;
                    if let Some(rtt_us) = answer.rtt_us {
                        message.clockwork.ledger.rtt.note(Duration::from_micros(rtt_us));
                    }
                    let heard = Heard {
                        received_at,
                        source: received.source,
                        destination: self.local,
                        interface: name_of(&names, received.interface_index),
                        hop_limit: received.hop_limit,
                        truncated: received.truncated,
                    };
                    runs.push(Run { heard, answer: Some(answer), segment: None, bytes: received.bytes });
                    if let Some(reason @ CloseReason::Expected) =
                        collection.is_done(&message.spec, now.monotonic)
                        && collection.close(reason, Timestamp::now())
                    {
                        message.after_close(reason, &collection.counters());
                    }
                }
            }
        }
        // Still under the collection's lock, so that the log's order is the order of judgement.
        message.log.append(runs);
    }
}

impl AnswerSink {
    /// The interfaces that a batch came in by, the egress first.
    fn interface_names(&self, batch: &Batch<'_>) -> Vec<(u32, Arc<str>)> {
        let mut names = vec![self.egress.clone()];
        for index in batch.iter().filter_map(|received| received.interface_index) {
            if names.iter().all(|(known, _)| *known != index) {
                let table = self.interfaces.table();
                let name = table.by_index(index).map(|interface| interface.name.clone());
                names.push((index, name.unwrap_or_else(|| format!("if{index}").into())));
            }
        }
        names
    }
}

/// Without an index, the name of the first.
fn name_of(names: &[(u32, Arc<str>)], index: Option<u32>) -> &str {
    let named = index.and_then(|index| names.iter().find(|(known, _)| *known == index));
    &named.unwrap_or(&names[0]).1
}
