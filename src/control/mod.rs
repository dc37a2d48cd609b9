//! The operations: join, leave, respond, send. Owns all resources, their tasks and their lifetimes.
//!
//! Threads and tasks, all in one tracker and ended by one token: the receive threads ([`crate::net::ReceiveThreads`]),
//! the thread that follows the interfaces ([`crate::net::InterfaceWatch`]) and the thread that keeps memberships in
//! line with them ([`reconciler`]); the tasks of the timers, of retention and of [`recovery`], and one for each
//! message's first send and its repeats. Besides these, the store's writer and the [`watchdog`]. A task that panics is
//! started again; a thread that panics or is stuck ends the process.

mod claims;
mod comparison;
mod error;
mod events;
#[cfg(test)]
mod fixtures;
mod groups;
mod health;
mod histogram;
mod interfaces;
mod membership;
mod memberships;
mod message;
mod messages;
mod orphans;
mod reconciler;
mod recovery;
mod registry;
mod responder;
mod restoring;
mod retention;
mod timers;
mod totals;
mod views;
pub mod waiting;
mod watchdog;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::{ControlError, DurabilityError, Purpose};
pub use events::{Event, EventKind, EventPage, Events};
pub use groups::GroupView;
pub use health::{CheckOutcome, HealthCheck};
pub use histogram::{Distribution, Histogram};
pub use interfaces::InterfaceChoice;
pub use membership::Membership;
pub use memberships::JoinRequest;
pub use message::{AnswerCounters, EgressResult, Message, MessageView, RespondingPeer};
pub use messages::{ListQuery, Outcome};
pub use responder::ReplyCounters;
pub use restoring::saved_group;
pub use totals::{ControlSnapshot, CurrentState, LogUsage, ReceivedTotals, States, Totals};
pub use views::{InterfaceView, JoinState, Lease, MembershipView, ReceivedOn, ResponderView};
pub use waiting::Done;

use crate::model::CloseReason;
use crate::net::{Action, InterfaceWatch, KernelSockets, ReceiveThreads, SocketBackend, SocketError};
use crate::store::{Budget, DiskError, Limits, Log, Store, StoreSettings};
use crate::sync::Lock;
use claims::Claims;
use membership::MembershipContext;
use message::{ClosedMessages, MessageContext, SharedSendSockets};
use reconciler::Reconciler;
use recovery::{Recovery, keep_running};
use registry::Registry;
use responder::{ReplyLimits, ResponderContext};
use timers::{TimerAction, Timers};
use totals::TotalsAccumulator;
use watchdog::{Watchdog, Watched};

/// The service's core; cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

/// The core's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of receive threads.
    pub lanes: usize,
    /// Bytes to request as `SO_RCVBUF` of each socket.
    pub receive_buffer: usize,
    pub log_limits: Limits,
    /// Bytes that all logs and messages keep together.
    pub total_bytes: usize,
    /// Where logs are kept besides memory; none: only in memory.
    pub store: Option<StoreSettings>,
    /// How long a message is kept once it is closed.
    pub message_age: Duration,
    /// How many messages are kept; if there are more, the longest closed are deleted.
    pub kept_messages: usize,
    /// Replies per second of one responder to one source; 0 for no limit.
    pub replies_per_source: u32,
    /// Replies per second of the whole service; 0 for no limit.
    pub replies_total: u32,
}

/// The kinds of resources that clients create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    Membership,
    Responder,
    Message,
}

/// Why the core cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error(transparent)]
    Network(#[from] SocketError),
    #[error(transparent)]
    Store(#[from] DiskError),
}

struct Shared {
    settings: Settings,
    interfaces: InterfaceWatch,
    receive_threads: Arc<ReceiveThreads>,
    services: ResponderContext,
    message_context: MessageContext,
    membership_context: MembershipContext,
    reconciler: Arc<Reconciler>,
    budget: Arc<Budget>,
    events: Arc<Events>,
    memberships: Registry<Membership>,
    responders: Registry<Membership>,
    messages: Registry<Message>,
    /// Claims on the ids of messages.
    claims: Claims,
    totals: Arc<TotalsAccumulator>,
    recovery: Arc<Recovery>,
    store: Option<Store>,
    tasks: TaskTracker,
    /// The tasks that run as long as the service. Std lock: held for a push or a count.
    long_running: Mutex<Vec<AbortHandle>>,
    stop: CancellationToken,
    watchdog: OnceLock<Watchdog>,
}

impl Control {
    /// Opens the store, if there is one, and restores all resources; the service is not reachable before.
    pub async fn start(settings: Settings) -> Result<Self, StartFault> {
        Self::start_with(settings, |threads, interfaces| Arc::new(KernelSockets { threads, interfaces }))
            .await
    }

    /// With sockets of this backend; model tests have their own.
    async fn start_with(
        settings: Settings,
        backend: impl FnOnce(Arc<ReceiveThreads>, InterfaceWatch) -> Arc<dyn SocketBackend>,
    ) -> Result<Self, StartFault> {
        let budget = Arc::new(Budget::new(
            settings.total_bytes,
            settings.store.as_ref().map(|store| store.memory_bytes),
        ));
        let (store, saved) = match &settings.store {
            Some(settings) => {
                Store::open(settings, budget.clone()).map(|(store, saved)| (Some(store), saved))?
            }
            None => (None, Vec::new()),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let interfaces = InterfaceWatch::start(&tasks, &stop).await?;
        let receive_threads = Arc::new(ReceiveThreads::start(settings.lanes, &tasks, &stop)?);
        let sockets = backend(receive_threads.clone(), interfaces.clone());
        let (timers, reconciler) = (Arc::new(Timers::default()), Arc::<Reconciler>::default());
        let watched =
            Watched::all(&receive_threads, &interfaces, &reconciler.progress, &timers, store.as_ref(), &stop);
        let events = Arc::new(Events::new(Events::KEPT));
        let limits = Arc::new(ReplyLimits::new(settings.replies_per_source, settings.replies_total));
        let (ledger, recovery) = (Arc::new(TotalsAccumulator::default()), Arc::<Recovery>::default());
        let control = Self(Arc::new(Shared {
            services: ResponderContext { limits, timers: timers.clone(), interfaces: interfaces.clone() },
            message_context: MessageContext {
                sockets: sockets.clone(),
                shared_sockets: Arc::new(SharedSendSockets::default()),
                receive_buffer: settings.receive_buffer,
                timers: timers.clone(),
                closed: Arc::new(ClosedMessages::default()),
                totals: ledger.clone(),
                events: events.clone(),
                recovery: recovery.clone(),
            },
            membership_context: MembershipContext {
                sockets: sockets.clone(),
                receive_buffer: settings.receive_buffer,
                log_limits: settings.log_limits,
                budget: budget.clone(),
                store: store.clone(),
                totals: ledger.clone(),
                events: events.clone(),
                reopened: Arc::default(),
            },
            reconciler,
            budget,
            events,
            settings,
            interfaces,
            receive_threads,
            memberships: Registry::default(),
            responders: Registry::default(),
            messages: Registry::default(),
            claims: Claims::default(),
            totals: ledger,
            recovery,
            store,
            tasks,
            long_running: Mutex::default(),
            stop,
            watchdog: OnceLock::new(),
        }));
        control.restore(saved).await?;
        if let Some(store) = control.store() {
            store.note_restored();
        }
        control.spawn("timers", |shared| async move {
            shared.message_context.timers.run(|due| shared.fire(due)).await;
        });
        control.start_reconciler()?;
        control.spawn("retention", |shared| async move { shared.run_retention().await });
        control.spawn("recovery", |shared| async move { shared.recover().await });
        // Last, because restoring may take long.
        let watchdog =
            Watchdog::start(watched).map_err(|source| SocketError { action: Action::Open, source })?;
        let _ = control.0.watchdog.set(watchdog);
        Ok(control)
    }

    /// Cancelled when the service stops; long polls and streams end then.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Whether nothing that the service needs is stuck, for its supervisor.
    pub fn is_alive(&self) -> bool {
        self.0.makes_progress()
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
        let caught_up = waiting::within(Done::Nothing, store.wait_durable(log)).await;
        caught_up
            .map_err(|refusal| DurabilityError::TimedOut(refusal.into()))?
            .map_err(DurabilityError::Fault)
    }

    /// Closes all sockets and messages, writes everything to disk and waits for the tasks to end. Logs can still be
    /// read; changes are refused. The error says why not everything could be written to disk.
    pub async fn shutdown(&self) -> Result<(), DiskError> {
        let shared = &self.0;
        shared.stop.cancel();
        for message in shared.messages.all() {
            message.close(CloseReason::Restarted);
            message.end_linger();
        }
        for membership in shared.joined_all() {
            membership.stop_hearing();
        }
        let saved = match &shared.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        shared.tasks.close();
        shared.tasks.wait().await;
        saved
    }

    /// Starts a task that runs until the service stops, see [`keep_running`].
    fn spawn<F>(&self, name: &'static str, task: impl Fn(Arc<Shared>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (shared, stop) = (self.0.clone(), self.0.stop.clone());
        let spawned = self.0.tasks.spawn(async move {
            stop.run_until_cancelled(keep_running(name, || task(shared.clone()))).await;
        });
        self.0.long_running.lock_shared().push(spawned.abort_handle());
    }
}

impl Shared {
    fn fire(&self, due: TimerAction) {
        match due {
            TimerAction::CheckWindow(message) => {
                if let Some(message) = message.upgrade() {
                    self.contain(&message, || message.check());
                }
            }
            TimerAction::EndLinger(message) => {
                if let Some(message) = message.upgrade() {
                    self.contain(&message, || message.end_linger());
                }
            }
            TimerAction::CheckLease(membership) => {
                if let Some(membership) = membership.upgrade() {
                    self.contain(&membership, || self.check_lease(&membership));
                }
            }
            TimerAction::Retry(membership) => {
                if let Some(membership) = membership.upgrade() {
                    self.reconciler.retry(&membership);
                }
            }
            // A reply names no resource: if it panics, the recovery task finds the broken one.
            TimerAction::Reply(reply) => self.caught(|| reply.send()).unwrap_or_default(),
        }
    }
}

impl ResourceKind {
    pub const ALL: [Self; 3] = [Self::Membership, Self::Responder, Self::Message];

    /// The name in events, logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Responder => "responder",
            Self::Message => "message",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Membership => "/v1/memberships",
            Self::Responder => "/v1/responders",
            Self::Message => "/v1/messages",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
