//! Reads of a log, with their failures as problems.

use std::sync::Arc;

use crate::contract::datagrams::ItemKind;
use crate::control::waiting::within;
use crate::control::{Control, ControlError, Done, DurabilityError, Membership, Message, ResourceKind};
use crate::http::problem::{Problem, ProblemKind};
use crate::model::Id;
use crate::store::{Cursor, DiskError, Log, Page, ReadError, ReadRange};

/// The most datagrams in one page.
pub(in crate::http) const MAX_PAGE: usize = 1_000;

/// A log and its owner, kept alive as long as the request reads.
pub(in crate::http) enum LogOwner {
    /// The log that a membership or responder had when reading began. If its group changes, it gets another log.
    Membership(Arc<Membership>, Arc<Log>),
    Message(Arc<Message>),
}

impl LogOwner {
    pub(in crate::http) fn find(
        control: &Control,
        kind: ResourceKind,
        id: &Id,
    ) -> Result<Self, ControlError> {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => {
                let membership = control.membership(kind, id)?;
                let log = membership.log();
                Ok(Self::Membership(membership, log))
            }
            ResourceKind::Message => control.message(id).map(Self::Message),
        }
    }

    /// Reads the log. `done`: what the request has done so far.
    pub(in crate::http) async fn read(
        &self,
        done: Done,
        after: Option<Cursor>,
        limit: usize,
        scope: ReadRange,
    ) -> Result<Page, Problem> {
        let read = within(done, self.log().read(after, limit, scope)).await?;
        read.map_err(|error| {
            let kind = match &error {
                ReadError::Closed => ProblemKind::NotFound,
                ReadError::Disk(_) => ProblemKind::Store,
            };
            Problem::new(kind, error.to_string())
        })
    }

    /// Waits until what the log has now is on disk.
    pub(super) async fn wait_durable(&self, control: &Control) -> Result<(), Problem> {
        control.wait_durable(self.log()).await.map_err(|error| match error {
            DurabilityError::NoStore => {
                let detail = "the service runs with --memory and has nothing on disk: leave this out";
                Problem::new(ProblemKind::InvalidParameter, detail).at("/durable")
            }
            DurabilityError::TimedOut(error) => Problem::from(*error),
            DurabilityError::Disk(DiskError::Closed) => {
                Problem::new(ProblemKind::Stopping, "the service is stopping")
            }
            DurabilityError::Disk(error) => Problem::new(ProblemKind::Store, error.to_string()),
        })
    }

    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Membership(membership, _) => membership.id(),
            Self::Message(message) => message.id(),
        }
    }

    pub(super) fn kind(&self) -> ResourceKind {
        match self {
            Self::Membership(membership, _) => membership.kind(),
            Self::Message(_) => ResourceKind::Message,
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        match self {
            Self::Membership(_, log) => log,
            Self::Message(message) => message.log(),
        }
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        match self {
            Self::Membership(membership, _) => membership.dropped_buffers(),
            Self::Message(message) => message.dropped_buffers(),
        }
    }

    pub(super) fn items(&self) -> ItemKind {
        ItemKind::of(self.kind())
    }
}
