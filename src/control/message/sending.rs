//! Sending a message: once, at intervals, or as fast as an interface takes the copies.
//!
//! Each copy is counted just before it is sent, and taken back if it was not. There is no await in between, so the
//! counts are right if the task is cancelled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::collection::Collection;
use super::egress_interface::EgressInterface;
use super::state::Message;
use crate::control::error::ControlError;
use crate::net::SocketErrorKind;

/// The result of trying to send.
pub(in crate::control) enum SendOutcome {
    Sent(u32),
    /// The send buffer is full; nothing is counted.
    Full,
    /// Why this many copies cannot be sent; they are not counted yet.
    Refused(ControlError, u32),
}

impl EgressInterface {
    /// Copies handed to the kernel at once: as many as one call takes with GSO.
    const MAX_COPIES: u32 = 1_024;
    /// How long one copy waits for room in the send buffer. An interface that takes no copy for so long is stuck.
    const MAX_WAIT: Duration = Duration::from_secs(10);
    /// How soon a waiting send notices that its interface is gone.
    const LOOK_AGAIN: Duration = Duration::from_millis(250);

    /// Sends up to `max` copies by the interface as it is now, without waiting; the first of them is this attempt.
    pub(in crate::control) fn try_send(
        &mut self,
        message: &Arc<Message>,
        attempt: u32,
        max: u32,
    ) -> SendOutcome {
        let planned = max.min(Self::MAX_COPIES);
        let sockets = match self.refresh_sockets(message) {
            Ok(sockets) => sockets,
            Err(error) => return SendOutcome::Refused(error, planned),
        };
        let (spec, source) = (&message.spec, sockets.source);
        let sent = sockets.sender(attempt).and_then(|sender| {
            let (port, last) = (sockets.port(attempt), attempt + planned - 1);
            let now = message.context.sockets.clock();
            let counted = message.with_collection(|collection| collection.sending(port, last, planned, now));
            let sent = sender.send(spec, &sockets.interface, planned);
            let unsent = planned - sent.as_ref().unwrap_or(&0);
            if unsent > 0 {
                message.with_collection(|collection| collection.not_sent(&counted, unsent));
            }
            sent
        });
        match sent {
            Ok(sent) => {
                self.last_send_succeeded = true;
                SendOutcome::Sent(sent)
            }
            Err(error) if error.kind() == SocketErrorKind::Busy => SendOutcome::Full,
            Err(error) => {
                SendOutcome::Refused(message.context.cause(error, spec, &self.name, Some(source)), 1)
            }
        }
    }

    /// Counts copies that cannot be sent.
    pub(in crate::control) fn count_failed(&mut self, message: &Message, error: &ControlError, copies: u32) {
        self.last_send_succeeded = false;
        let text = error.to_string();
        message.with_collection(|collection| collection.send_failed(self.result_index, copies, text));
    }

    /// Sends the repeats, and before them the first attempt if that has to wait. Ends when the message is closed.
    async fn send_repeats(&mut self, message: &Arc<Message>, first_waits: bool) {
        let repeat = message.spec.repeat;
        let start = Instant::now();
        if first_waits {
            self.send(message, 1, 1).await;
            message.touch();
        }
        if repeat.interval.is_zero() && !message.spec.track_attempts {
            return self.burst(message).await;
        }
        for attempt in 2..=repeat.count {
            tokio::select! {
                () = sleep_until(start + repeat.interval * (attempt - 1)) => {}
                () = message.wait_closed() => return,
            }
            self.send(message, attempt, 1).await;
            message.touch();
        }
    }

    /// Sends all repeats as fast as the interface takes them.
    async fn burst(&mut self, message: &Arc<Message>) {
        /// Calls, of about 0.1 ms each, after which other tasks get a turn.
        const BEFORE_YIELD: u32 = 8;
        let count = message.spec.repeat.count;
        let (mut done, mut calls) = (1, 0);
        while done < count && !message.is_closed() {
            done += self.send(message, done + 1, count - done).await;
            message.touch();
            calls += 1;
            if calls % BEFORE_YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sends up to `max` copies. Waits for room in the send buffer, and after an interface's failure for a fresh
    /// interface table. Returns how many copies were sent or counted as failed.
    async fn send(&mut self, message: &Arc<Message>, attempt: u32, max: u32) -> u32 {
        let full_at = Instant::now() + Self::MAX_WAIT;
        while !message.is_closed() {
            match self.try_send(message, attempt, max) {
                SendOutcome::Sent(sent) => return sent,
                SendOutcome::Full if Instant::now() < full_at => self.wait_for_room(message, attempt).await,
                SendOutcome::Full => {
                    let error = ControlError::NoRoom { interface: self.name.clone(), after: Self::MAX_WAIT };
                    self.count_failed(message, &error, max);
                    return max;
                }
                // The interface may have changed just now.
                SendOutcome::Refused(error, _) if self.last_send_succeeded && error.is_of_interface() => {
                    self.last_send_succeeded = false;
                    let _ = timeout(Self::MAX_WAIT, message.context.sockets.refresh()).await;
                }
                SendOutcome::Refused(error, copies) => {
                    self.count_failed(message, &error, copies);
                    return copies;
                }
            }
        }
        0
    }

    async fn wait_for_room(&self, message: &Message, attempt: u32) {
        let Some(sockets) = &self.sockets else { return };
        tokio::select! {
            _ = timeout(Self::LOOK_AGAIN, sockets.writable(attempt)) => {}
            () = message.wait_closed() => {}
        }
    }
}

impl Message {
    /// Sends the first attempt by every interface, without waiting. Returns the indexes of interfaces whose send buffer
    /// is full; refused if nothing was sent and nothing will be.
    pub(in crate::control) fn send_first_attempt(
        self: &Arc<Self>,
        interfaces: &mut [EgressInterface],
    ) -> Result<Vec<usize>, ControlError> {
        let (mut waiting, mut first_error) = (Vec::new(), None);
        for (nth, interface) in interfaces.iter_mut().enumerate() {
            // Closed by a response to the first interface's copy, or on request.
            if self.is_closed() {
                break;
            }
            match interface.try_send(self, 1, 1) {
                SendOutcome::Sent(_) => {}
                SendOutcome::Full => waiting.push(nth),
                SendOutcome::Refused(error, copies) => {
                    interface.count_failed(self, &error, copies);
                    first_error.get_or_insert(error);
                }
            }
        }
        let any_sent = self.with_collection(|collection| collection.copies_sent() > 0);
        match first_error {
            Some(error) if !any_sent && waiting.is_empty() => Err(error),
            _ => Ok(waiting),
        }
    }

    /// Sends the remaining copies, by all interfaces at the same time, until the message is closed or the service
    /// stops.
    pub(in crate::control) async fn send_remaining(
        self: Arc<Self>,
        mut interfaces: Vec<EgressInterface>,
        waiting: Vec<usize>,
        stop: CancellationToken,
    ) {
        let interfaces = interfaces.iter_mut().enumerate();
        let all = interfaces.map(|(nth, interface)| interface.send_repeats(&self, waiting.contains(&nth)));
        let sending = AssertUnwindSafe(stop.run_until_cancelled(join_all(all))).catch_unwind();
        if sending.await.is_ok() {
            self.finish_sending();
        } else {
            self.sending_failed.store(true, Ordering::Release);
            self.context.failures.note_panic();
        }
    }

    pub(in crate::control) fn finish_sending(self: &Arc<Self>) {
        self.with_collection(Collection::sending_done);
        self.close_if_done();
    }
}
