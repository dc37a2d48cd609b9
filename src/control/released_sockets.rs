//! Sockets that a resource has released, until they are closed.

use crate::net::Closing;

/// The released sockets of one resource that may not be closed yet.
#[derive(Clone, Default)]
pub(super) struct ReleasedSockets(Vec<Closing>);

impl ReleasedSockets {
    /// Adds sockets that were just released, and forgets those that are closed by now.
    pub(super) fn add(&mut self, released: impl IntoIterator<Item = Closing>) {
        self.0.extend(released);
        self.0.retain(|closing| !closing.is_done());
    }

    /// Resolves once all are closed, and their ports free. Cancel-safe.
    pub(super) async fn wait(&self) {
        for closing in &self.0 {
            closing.wait().await;
        }
    }
}
