//! The composition root: binds, wires, serves, and shuts down in order.
//!
//! Tasks: one for each listener and one for each connection, ended by the token given to [`Server::run`], which itself
//! releases memory until then; and the exporter of traces, which `run` finishes last.

mod config;
mod connection;
mod connection_stream;
mod connections;
mod listener;
mod memory;
mod parser_responses;
mod port_holder;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::http::Api;
use crate::store::DiskError;
use crate::traces::{Exporter, Traces};
pub use config::{Config, ConnectionLimits, Listen, StartError};
use connections::Connections;
use listener::{ConnectionSpawner, Listener};
pub use port_holder::PortHolder;

/// The service with all its listeners bound; it serves once it runs.
pub struct Server {
    listeners: Vec<Listener>,
    api: Api,
    control: Control,
    connections: Arc<Connections>,
    write_timeout: Duration,
    grace: Duration,
    exporter: Option<Exporter>,
}

impl Server {
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let mut listeners = Vec::new();
        for (nth, listen) in config.listen.iter().enumerate() {
            let bound = Listener::bind(listen, config.socket_mode).await;
            listeners.push(bound.map_err(|error| config.blame_own(nth, error))?);
        }
        let control = Control::start(config.settings).await?;
        let (exporter, traces) = config.otlp_endpoint.map(Exporter::start).unzip();
        let traces: Traces = traces.unwrap_or_default();
        let limits = config.connection_limits;
        let api = Api::new(
            control.clone(),
            config.origin_policy,
            config.access,
            config.admin_state,
            traces,
            limits.request_bytes,
        );
        let (counts, bytes) = (api.connection_counts().clone(), api.request_bytes().clone());
        let connections = Arc::new(Connections::new(limits.connections(), counts, bytes));
        let write_timeout = limits.write_timeout;
        Ok(Self { listeners, api, control, connections, write_timeout, grace: config.grace, exporter })
    }

    /// The first TCP address; if the configured port is 0, this has the actual port.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.listening().into_iter().find_map(|listening| match listening {
            Listen::Tcp(address) => Some(address),
            Listen::Unix(_) => None,
        })
    }

    /// The addresses that the service listens on.
    pub fn listening(&self) -> Vec<Listen> {
        self.listeners.iter().filter_map(Listener::listening).collect()
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `stop`, then: stops accepting, ends waits and windows, leaves the groups, and gives requests under
    /// way, and then the last spans, the grace period to finish. The error says why not everything is on disk.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DiskError> {
        let (accept_tasks, connection_tasks) = (TaskTracker::new(), TaskTracker::new());
        for listener in self.listeners {
            let (api, connections) = (self.api.clone(), self.connections.clone());
            let (tasks, stop, write_timeout) = (connection_tasks.clone(), stop.clone(), self.write_timeout);
            let spawner = ConnectionSpawner { api, connections, tasks, stop, write_timeout };
            accept_tasks.spawn(listener.run(spawner));
        }
        stop.run_until_cancelled(memory::release_when_idle(&self.control)).await;
        accept_tasks.close();
        accept_tasks.wait().await;
        let saved = self.control.shutdown().await;
        connection_tasks.close();
        let deadline = Instant::now() + self.grace;
        if timeout_at(deadline, connection_tasks.wait()).await.is_err() {
            tracing::warn!(
                grace_ms = self.grace.as_millis(),
                "requests were still under way after the grace period"
            );
        }
        if let Some(exporter) = self.exporter {
            exporter.finish(deadline).await;
        }
        saved
    }
}
