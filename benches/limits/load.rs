//! Paced senders, and the results of a receiver.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::bare;
use crate::peer::{Bare, Service, cpu_ns};

/// A stream of datagrams to send.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) groups: Vec<SocketAddr>,
    pub(crate) payload: Vec<u8>,
    /// Datagrams in one send; more than one uses GSO.
    pub(crate) segments: usize,
    pub(crate) duration: Duration,
}

impl Load {
    /// Sends at this rate of datagrams per second; gives how many were sent.
    pub(crate) fn send(&self, socket: &Socket, rate: f64) -> u64 {
        /// Sends between two looks at the clock.
        const STEP: usize = 32;
        let begun = Instant::now();
        let mut sends = 0_usize;
        while begun.elapsed() < self.duration {
            let due = (begun.elapsed().as_secs_f64() * rate / self.segments as f64) as usize;
            if due <= sends {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            let now = (due - sends).min(STEP);
            let groups = &self.groups[sends % self.groups.len()..];
            let first = groups.len().min(now);
            bare::send(socket, &groups[..first], &self.payload, self.segments, first);
            if first < now {
                bare::send(socket, &self.groups, &self.payload, self.segments, now - first);
            }
            sends += now;
        }
        (sends * self.segments) as u64
    }
}

impl Load {
    /// How many were sent, and the rate that was reached.
    pub(crate) fn timed(&self, socket: &Socket, rate: f64) -> (u64, f64) {
        let begun = Instant::now();
        let sent = self.send(socket, rate);
        (sent, sent as f64 / begun.elapsed().as_secs_f64())
    }
}

/// A receiver: the service or a bare loop.
pub(crate) trait Receiver {
    fn pid(&self) -> u32;
    /// Datagrams received, and buffers dropped.
    fn counts(&mut self) -> (u64, u64);

    /// The counts once they no longer change.
    fn wait_until_settled(&mut self) -> (u64, u64) {
        let mut last = self.counts();
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.counts();
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

impl Receiver for Bare {
    fn pid(&self) -> u32 {
        Self::pid(self)
    }

    fn counts(&mut self) -> (u64, u64) {
        Self::counts(self)
    }
}

impl Receiver for Service {
    fn pid(&self) -> u32 {
        Self::pid(self)
    }

    fn counts(&mut self) -> (u64, u64) {
        let (mut datagrams, mut dropped) = (0, 0);
        let mut after = String::new();
        loop {
            let page = self.client.get(&format!("/v1/groups?limit=1000{after}"));
            for group in page["items"].as_array().into_iter().flatten() {
                datagrams += group["datagrams"].as_u64().unwrap_or(0);
                dropped += group["dropped_buffers"].as_u64().unwrap_or(0);
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => after = format!("&after={cursor}"),
                None => return (datagrams, dropped),
            }
        }
    }
}

/// One trial: nanoseconds of the receiver's CPU per datagram, and how many datagrams were lost.
pub(crate) fn trial(receiver: &mut dyn Receiver, socket: &Socket, load: &Load, rate: f64) -> (f64, u64) {
    let (received, _) = receiver.wait_until_settled();
    let cpu = cpu_ns(receiver.pid());
    let sent = load.send(socket, rate);
    // Only the cost of reading the last datagrams, without the request for the counts.
    std::thread::sleep(Duration::from_millis(30));
    let cpu = cpu_ns(receiver.pid()) - cpu;
    let (after, _) = receiver.wait_until_settled();
    let kept = after - received;
    (cpu as f64 / kept.max(1) as f64, sent.saturating_sub(kept))
}

/// The highest rate of datagrams per second that the receiver takes without loss.
pub(crate) fn lossless_rate(receiver: &mut dyn Receiver, socket: &Socket, load: &Load, ceiling: f64) -> f64 {
    highest(ceiling, |rate| {
        let before = receiver.wait_until_settled().0;
        let (sent, achieved) = load.timed(socket, rate);
        (receiver.wait_until_settled().0 - before == sent).then_some(achieved)
    })
}

/// The highest rate at which the attempt succeeds, found by halving; it returns the rate that the sender reached.
pub(crate) fn highest(ceiling: f64, mut attempt: impl FnMut(f64) -> Option<f64>) -> f64 {
    if let Some(achieved) = attempt(ceiling) {
        return achieved;
    }
    let (mut low, mut high, mut best) = (0.0, ceiling, 0.0);
    for _ in 0..6 {
        let middle = f64::midpoint(low, high);
        match attempt(middle) {
            Some(achieved) => (low, best) = (middle, achieved),
            None => high = middle,
        }
    }
    best
}
