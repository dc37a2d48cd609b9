//! How the core starts and stops.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::events::Events;
use super::membership::MembershipContext;
use super::message::{ClosedMessages, MessageContext, SharedSendSockets, TableBudget};
use super::reconciler::{self, ReconcilerHandle};
use super::recovery::{self, keep_running};
use super::registry::Registry;
use super::resource_failures::ResourceFailures;
use super::resource_kind::ResourceKind;
use super::responder::{ByteBudget, MatchBudget, ReplyLimits, ResponderContext};
use super::retention;
use super::settings::Settings;
use super::shared::{Control, Shared};
use super::timers::Timers;
use super::totals::TotalsAccumulator;
use super::watchdog::{Watchdog, Watched};
use crate::model::CloseReason;
use crate::net::{Action, InterfaceWatch, KernelSockets, ReceiveThreads, SocketBackend, SocketError};
use crate::store::{Budget, DiskError, Store};
use crate::sync::Lock;

/// Why the core cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlStartError {
    #[error(transparent)]
    Network(#[from] SocketError),
    #[error(transparent)]
    Store(#[from] DiskError),
}

impl Control {
    /// Opens the store, if there is one, and restores all resources; the service is not reachable before.
    pub async fn start(settings: Settings) -> Result<Self, ControlStartError> {
        Self::start_with(settings, |threads, interfaces| Arc::new(KernelSockets { threads, interfaces }))
            .await
    }

    /// With sockets of this backend; model tests have their own.
    pub(super) async fn start_with(
        settings: Settings,
        backend: impl FnOnce(Arc<ReceiveThreads>, InterfaceWatch) -> Arc<dyn SocketBackend>,
    ) -> Result<Self, ControlStartError> {
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
        let receive_threads = Arc::new(ReceiveThreads::start(settings.receive_threads, &tasks, &stop)?);
        let sockets = backend(receive_threads.clone(), interfaces.clone());
        let (timers, reconciler) = (Arc::new(Timers::default()), Arc::<ReconcilerHandle>::default());
        let watched =
            Watched::all(&receive_threads, &interfaces, &reconciler.progress, &timers, store.as_ref(), &stop);
        let events = Arc::new(Events::new(Events::KEPT));
        let limits =
            ReplyLimits::new(settings.replies_per_source, settings.replies_total, settings.reply_bytes);
        let (totals, failures) = (Arc::new(TotalsAccumulator::default()), Arc::<ResourceFailures>::default());
        let control = Self(Arc::new(Shared {
            responder_context: ResponderContext {
                limits: Arc::new(limits),
                matching: Arc::new(MatchBudget::new(settings.match_time)),
                pattern_bytes: settings.pattern_bytes,
                delayed: Arc::new(ByteBudget::new(settings.delayed_reply_bytes)),
                timers: timers.clone(),
                interfaces: interfaces.clone(),
            },
            message_context: MessageContext {
                sockets: sockets.clone(),
                shared_sockets: Arc::new(SharedSendSockets::default()),
                receive_buffer: settings.receive_buffer,
                timers: timers.clone(),
                closed: Arc::new(ClosedMessages::default()),
                tables: Arc::new(TableBudget::new(
                    settings.message_responders,
                    settings.responder_table_bytes,
                )),
                totals: totals.clone(),
                events: events.clone(),
                failures: failures.clone(),
            },
            membership_context: MembershipContext {
                sockets: sockets.clone(),
                receive_buffer: settings.receive_buffer,
                log_limits: settings.log_limits,
                budget: budget.clone(),
                store: store.clone(),
                totals: totals.clone(),
                events: events.clone(),
                reopened: Arc::default(),
            },
            timers,
            reconciler,
            budget,
            events,
            memberships: Registry::new(settings.max_memberships),
            responders: Registry::new(settings.max_responders),
            messages: Registry::default(),
            collecting: Arc::new(Semaphore::new(settings.max_collecting)),
            membership_bytes: Arc::new(Semaphore::new(settings.membership_bytes)),
            refused: [const { AtomicU64::new(0) }; ResourceKind::ALL.len()],
            settings,
            interfaces,
            receive_threads,
            claims: Claims::default(),
            totals,
            failures,
            store,
            tasks,
            long_running: Mutex::default(),
            stop,
            watchdog: OnceLock::new(),
        }));
        control.restore(saved).await;
        if let Some(store) = control.store() {
            store.note_restored();
        }
        control.spawn("timers", |shared| async move { shared.timers.run(&shared.failures).await });
        control.spawn("interfaces", |shared| async move {
            shared.reconciler.note_changes(&shared.interfaces).await;
        });
        reconciler::start(&control.0)?;
        control.spawn("retention", |shared| async move { retention::run(&shared).await });
        control.spawn("recovery", |shared| async move { recovery::run(&shared).await });
        // Last, because restoring may take long.
        let watchdog =
            Watchdog::start(watched).map_err(|source| SocketError { action: Action::StartThread, source })?;
        let _ = control.0.watchdog.set(watchdog);
        Ok(control)
    }

    /// Closes all sockets and messages, writes everything to disk and waits for the tasks to end. Logs can still be
    /// read; changes are refused. The error says why not everything could be written to disk.
    pub async fn shutdown(&self) -> Result<(), DiskError> {
        let shared = &self.0;
        shared.stop.cancel();
        for message in shared.messages.all() {
            message.close(CloseReason::Restarted);
            message.release_sockets();
        }
        for membership in shared.all_memberships() {
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
