//! The resources that must exist, because the service has accepted them.

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
    /// Requests without a final response, by path: they are repeated after the phase.
    pub(super) unfinished: BTreeMap<String, Request>,
    /// POST requests without a response: each may have created a resource under an unknown id.
    pub(super) unknown_posts: usize,
}

pub(super) struct Resource {
    pub(super) spec: Spec,
    /// The lease began before this.
    renewed_by: Instant,
    pub(super) reading: Reading,
}

/// How far the log has been read, and the counts until then.
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
    /// The process that responded.
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

    /// Whether there is a resource at the path; none if unknown.
    pub(super) fn has(&self, path: &str) -> Option<bool> {
        if self.unfinished.contains_key(path) {
            return None;
        }
        if let Some(sent) = self.messages.get(path) {
            // A message that was sent by POST may not have been on disk yet when the service was killed.
            return sent.message.id.as_ref().map(|_| true);
        }
        let Some(resource) = self.resources.get(path) else { return Some(false) };
        if resource.spec.lease.is_some() { None } else { Some(true) }
    }

    /// Why there is a resource at this path. An unknown resource is attributed to a request without a response, if one
    /// is left; from then on it may or may not exist.
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
