//! The core's state, and the parts of it that all operations use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::error::{ControlError, Done, DurabilityError};
use super::events::Events;
use super::membership::{Membership, MembershipContext};
use super::message::{Message, MessageContext};
use super::reconciler::ReconcilerHandle;
use super::registry::{ListEntry, Registry};
use super::resource_failures::ResourceFailures;
use super::resource_kind::ResourceKind;
use super::responder::ResponderContext;
use super::settings::Settings;
use super::timers::Timers;
use super::totals::TotalsAccumulator;
use super::waiting::within;
use super::watchdog::Watchdog;
use crate::model::{Id, InterfaceTable};
use crate::net::{InterfaceWatch, ReceiveThreads};
use crate::store::{Budget, DiskError, Log, Store};

/// The service's core; cheap to clone.
#[derive(Clone)]
pub struct Control(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) interfaces: InterfaceWatch,
    pub(super) receive_threads: Arc<ReceiveThreads>,
    pub(super) responder_context: ResponderContext,
    pub(super) message_context: MessageContext,
    pub(super) membership_context: MembershipContext,
    pub(super) timers: Arc<Timers>,
    pub(super) reconciler: Arc<ReconcilerHandle>,
    pub(super) budget: Arc<Budget>,
    pub(super) events: Arc<Events>,
    pub(super) memberships: Registry<Membership>,
    pub(super) responders: Registry<Membership>,
    pub(super) messages: Registry<Message>,
    /// Permits for messages that are not closed yet.
    pub(super) collecting: Arc<Semaphore>,
    /// Bytes that memberships and responders may still take besides their logs.
    pub(super) membership_bytes: Arc<Semaphore>,
    /// How often a resource was refused because there were too many, in the order of [`ResourceKind::ALL`].
    pub(super) refused: [AtomicU64; ResourceKind::ALL.len()],
    /// Claims on the ids of messages.
    pub(super) claims: Claims,
    pub(super) totals: Arc<TotalsAccumulator>,
    pub(super) failures: Arc<ResourceFailures>,
    pub(super) store: Option<Store>,
    pub(super) tasks: TaskTracker,
    /// The tasks that run as long as the service. Std lock: held for a push or a count.
    pub(super) long_running: Mutex<Vec<AbortHandle>>,
    pub(super) stop: CancellationToken,
    pub(super) watchdog: OnceLock<Watchdog>,
}

impl Control {
    /// A membership or, if `kind` says so, a responder.
    pub fn membership(&self, kind: ResourceKind, id: &Id) -> Result<Arc<Membership>, ControlError> {
        self.0.memberships_of(kind).find(id).ok_or_else(|| self.0.not_found(kind, id))
    }

    /// A message, collecting or closed.
    pub fn message(&self, id: &Id) -> Result<Arc<Message>, ControlError> {
        self.0.messages.find(id).ok_or_else(|| self.0.not_found(ResourceKind::Message, id))
    }

    /// Cancelled when the service stops; long polls and streams end then.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The events of all resources.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// The store, if there is one.
    pub fn store(&self) -> Option<&Store> {
        self.0.store.as_ref()
    }

    /// Resolves once all datagrams in the log so far are on disk, or the request's time is over. Cancel-safe.
    pub async fn wait_durable(&self, log: &Log) -> Result<(), DurabilityError> {
        let store = self.0.store.as_ref().ok_or(DurabilityError::NoStore)?;
        let durable = within(Done::Nothing, log.wait_durable(store)).await;
        durable.map_err(|error| DurabilityError::TimedOut(error.into()))?.map_err(DurabilityError::Disk)
    }
}

impl Shared {
    /// The registry of the memberships or the responders, which are memberships too.
    pub(super) fn memberships_of(&self, kind: ResourceKind) -> &Registry<Membership> {
        match kind {
            ResourceKind::Responder => &self.responders,
            ResourceKind::Membership | ResourceKind::Message => &self.memberships,
        }
    }

    /// The error that no resource of this kind has the id; it names another kind that has one.
    pub(super) fn not_found(&self, kind: ResourceKind, id: &Id) -> ControlError {
        let has = |kind: &ResourceKind| match kind {
            ResourceKind::Message => self.messages.find(id).is_some(),
            kind => self.memberships_of(*kind).find(id).is_some(),
        };
        let elsewhere = ResourceKind::ALL.into_iter().filter(|other| *other != kind).find(has);
        ControlError::NotFound { kind, id: id.clone(), elsewhere }
    }

    /// All memberships and responders.
    pub(super) fn all_memberships(&self) -> impl Iterator<Item = Arc<Membership>> {
        self.memberships.all().into_iter().chain(self.responders.all())
    }

    /// Counts a resource that is refused because of a limit.
    pub(super) fn count_refused(&self, kind: ResourceKind) {
        self.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a resource that is refused because there are too many.
    pub(super) fn too_many(&self, kind: ResourceKind) -> ControlError {
        let max = match kind {
            ResourceKind::Membership | ResourceKind::Responder => self.memberships_of(kind).max(),
            ResourceKind::Message => self.settings.max_collecting,
        };
        self.count_refused(kind);
        ControlError::TooMany { kind, max }
    }

    /// Refuses changes once the service stops: whether they reached the disk would be left to chance.
    pub(super) fn ensure_running(&self) -> Result<(), ControlError> {
        if self.stop.is_cancelled() { Err(ControlError::Stopping) } else { Ok(()) }
    }

    /// Waits for the store as long as the request has time left. `done`: the state of the resource if the disk takes
    /// too long.
    pub(super) async fn flushed(&self, done: Done) -> Result<(), ControlError> {
        within(done, self.written()).await?
    }

    /// Waits until a deleted entry is gone (`gone` resolves to it) and deleted from the disk. A separate task waits for
    /// that, and ends the deletion even if the client no longer waits.
    pub(super) async fn finish_deletion<T: ListEntry + Send + Sync + 'static>(
        self: &Arc<Self>,
        registry: impl Fn(&Self) -> &Registry<T> + Send + 'static,
        gone: impl Future<Output = Arc<T>> + Send + 'static,
    ) -> Result<(), ControlError> {
        let shared = self.clone();
        let ending = self.tasks.spawn(async move {
            let entry = gone.await;
            let deleted = shared.written().await;
            registry(&shared).end_deletion(&entry);
            deleted
        });
        within(Done::DeletionUnderWay, ending).await?.unwrap_or(Err(ControlError::Stopping))
    }

    /// Waits until the store, if there is one, has written all changes so far. A failed disk is no error here: the
    /// service goes on, and the health checks report it. If the service stops meanwhile, the changes may be lost.
    pub(super) async fn written(&self) -> Result<(), ControlError> {
        let Some(store) = &self.store else { return Ok(()) };
        match store.flushed().await {
            Err(DiskError::Closed) => Err(ControlError::Stopping),
            _ => Ok(()),
        }
    }

    /// The kernel's current interfaces, for a request that has changed nothing yet.
    pub(super) async fn refreshed(&self) -> Result<Arc<InterfaceTable>, ControlError> {
        within(Done::Nothing, self.interfaces.refresh()).await?.map_err(ControlError::Failed)
    }
}
