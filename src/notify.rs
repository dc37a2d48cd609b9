//! Notifications to the service manager ([sd_notify(3)]), sent only if it sets `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
//!
//! No tasks: [`keep_alive`] is polled in the server's task.
//!
//! [sd_notify(3)]: https://www.freedesktop.org/software/systemd/man/sd_notify.html

use std::convert::Infallible;

use sd_notify::NotifyState;

/// The service listens.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The service has begun to stop.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Notifies the watchdog twice in each of its intervals, as long as the service is alive; never ends.
///
/// If a part of the service or all threads of the runtime are stuck, no notification is sent, and the manager ends the
/// process.
pub async fn keep_alive(is_alive: impl Fn() -> bool) -> Infallible {
    // An interval of 0 means that the manager does not watch.
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        ticks.tick().await;
        if is_alive() {
            notify(NotifyState::Watchdog);
        }
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}
