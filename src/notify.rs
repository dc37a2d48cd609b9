//! What the service manager is told ([sd_notify(3)]): only if it asks, by `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
//!
//! No tasks: [`keep_alive`] is polled beside what it vouches for.
//!
//! [sd_notify(3)]: https://www.freedesktop.org/software/systemd/man/sd_notify.html

use std::convert::Infallible;

use sd_notify::NotifyState;

/// The service listens.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The service has begun to stop.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says that the service is alive, twice in each interval of the watchdog, as long as it is; never ends.
///
/// A service in which something is stuck says nothing, and neither does a runtime whose threads all are: the manager ends
/// the process.
pub async fn keep_alive(is_alive: impl Fn() -> bool) -> Infallible {
    // The manager's 0 means that it does not watch.
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        ticks.tick().await;
        if is_alive() {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
