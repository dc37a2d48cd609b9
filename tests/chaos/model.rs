//! What must be there: what the service has accepted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::plan::Request;
use super::spec::{Message, Spec};

#[derive(Default)]
pub(super) struct Model {
    /// Memberships and responders by path.
    pub(super) resources: BTreeMap<String, Resource>,
    /// Messages by path.
    pub(super) messages: BTreeMap<String, Sent>,
    /// Requests without a final answer, by path: they are made again when all is well.
    pub(super) unfinished: BTreeMap<String, Request>,
    /// POST requests without an answer: each may have made something under an id that nobody knows.
    pub(super) unknown_posts: usize,
}

pub(super) struct Resource {
    pub(super) spec: Spec,
    /// The lease began before this.
    renewed_by: Instant,
    pub(super) reading: Reading,
}

/// How far the log has been read, and what was counted until then.
#[derive(Default, Clone)]
pub(super) struct Reading {
    pub(super) cursor: Option<String>,
    pub(super) last_seq: u64,
    pub(super) datagrams: u64,
    pub(super) dropped: u64,
    /// The number of the last datagram of the traffic that never ends.
    pub(super) last_steady: u64,
}

/// Why the service has something.
pub(super) enum Origin {
    /// A client keeps it under an id of its own, or it is a message, which all go in the end.
    Named,
    Posted,
    Nobody,
}

pub(super) struct Sent {
    pub(super) message: Message,
    pub(super) index: u64,
    /// Of the service that answered.
    pub(super) generation: u32,
    pub(super) answered_at: Instant,
    pub(super) is_cancelled: bool,
}

impl Model {
    /// Takes note of a membership or responder that the service has accepted.
    pub(super) fn accepted(&mut self, spec: Spec, is_new: bool) {
        let known =
            self.resources.remove(&spec.path).filter(|known| !is_new && known.spec.group == spec.group);
        let reading = known.map(|known| known.reading).unwrap_or_default();
        self.resources.insert(spec.path.clone(), Resource { spec, renewed_by: Instant::now(), reading });
    }

    /// Whether there is something at the path: none if that cannot be told.
    pub(super) fn has(&self, path: &str) -> Option<bool> {
        if self.unfinished.contains_key(path) {
            return None;
        }
        if let Some(sent) = self.messages.get(path) {
            // What was sent by POST may not have been on disk yet when the service was killed.
            return sent.message.id.as_ref().map(|_| true);
        }
        let Some(resource) = self.resources.get(path) else { return Some(false) };
        if resource.spec.lease.is_some() { None } else { Some(true) }
    }

    /// Why there is something at this path. What nobody knows is put down to a request that got no answer, if there is
    /// one left, and whether it is there is open from then on.
    pub(super) fn origin(&mut self, path: &str) -> Origin {
        if self.messages.contains_key(path) {
            return Origin::Named;
        }
        if self.resources.contains_key(path) {
            // Ids that the service gives are UUIDs of an age that begins with a digit.
            let id = path.rsplit('/').next().unwrap_or_default();
            let is_given = id.starts_with(|first: char| first.is_ascii_digit());
            return if is_given { Origin::Posted } else { Origin::Named };
        }
        if self.unknown_posts == 0 {
            return Origin::Nobody;
        }
        self.unknown_posts -= 1;
        self.unfinished.insert(path.to_owned(), Request::Delete(path.to_owned()));
        Origin::Posted
    }

    /// When the last of the leases has run out for sure.
    pub(super) fn last_lease(&self) -> Option<Instant> {
        let ends =
            self.resources.values().filter_map(|resource| Some(resource.renewed_by + resource.spec.lease?));
        ends.max()
    }
}

impl Sent {
    pub(super) fn new(message: Message, index: u64, generation: u32) -> Self {
        Self { message, index, generation, answered_at: Instant::now(), is_cancelled: false }
    }

    /// When it must be closed at the latest, if nothing was done to the service: none for those that go on.
    pub(super) fn closes_at(&self) -> Option<Instant> {
        let message = &self.message;
        let length = message.window.max(message.interval * message.count);
        (length < Duration::from_secs(30)).then(|| self.answered_at + length)
    }
}
