//! Routes that the kernel returned a moment ago, so that a client that sends often does not cause a query for each
//! message.
//!
//! A socket of the cache's own receives a notification of every change that can affect routing. The kernel queues it
//! before the change is complete, and a look-up reads the queue first: it never returns a route older than a completed
//! change. The content of the notifications does not matter, only that there are some.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::netlink::{Netlink, NetlinkSocket};
use super::route::{Route, RouteQuery};

pub(super) struct RouteCache {
    notifications: Box<dyn NetlinkSocket>,
    /// Each with the time of the query.
    routes: HashMap<RouteQuery, (Route, Instant)>,
    /// None before the first notification.
    last_change: Option<Instant>,
}

/// The kernel sends some notifications before it has made the whole change: it announces that an address is gone before
/// the routes that name it are gone. A route that it returns within this time is not cached.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// How long a route stays cached: the kernel does not announce a change of a sysctl(8).
const MAX_AGE: Duration = Duration::from_secs(1);
const MAX_ROUTES: usize = 1024;

impl RouteCache {
    pub(super) fn new(netlink: &dyn Netlink) -> io::Result<Self> {
        let notifications = netlink.subscribe_to_routes()?;
        Ok(Self { notifications, routes: HashMap::new(), last_change: None })
    }

    /// The route that the kernel returned for this query, if nothing has changed since.
    pub(super) fn get(&mut self, query: &RouteQuery, now: Instant) -> Option<Route> {
        if self.has_changed() {
            self.routes.clear();
            self.last_change = Some(now);
        }
        let (route, queried_at) = self.routes.get(query)?;
        (now.saturating_duration_since(*queried_at) < MAX_AGE).then_some(*route)
    }

    /// Caches a route that the kernel returned at this time, after [`Self::get`].
    pub(super) fn insert(&mut self, query: RouteQuery, route: Route, queried_at: Instant) {
        let may_be_changing = |last: Instant| queried_at.saturating_duration_since(last) < SETTLE_TIME;
        if self.last_change.is_some_and(may_be_changing) {
            return;
        }
        if self.routes.len() >= MAX_ROUTES {
            self.routes.clear();
        }
        self.routes.insert(query, (route, queried_at));
    }

    /// Whether there was a notification since the last call, or an error: an overflow means that there were many.
    fn has_changed(&self) -> bool {
        /// In a storm of changes, the next call reads the others.
        const MAX_READ: usize = 100;
        let receive = || self.notifications.receive(&mut [0]);
        let is_queued = |received: &io::Result<usize>| !matches!(received, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        std::iter::repeat_with(receive).take(MAX_READ).take_while(is_queued).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_route_is_cached_for_a_second_unless_something_changes() {
        let (notified, start) = (Arc::<AtomicU32>::default(), Instant::now());
        let mut cache = RouteCache::new(&Fake(notified.clone())).unwrap();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        notified.store(1, Ordering::Relaxed);
        assert_eq!(cache.get(&query(1), at(0)), None);
        cache.insert(query(1), ROUTE, at(999));
        assert_eq!(cache.get(&query(1), at(999)), None, "something may still be changing");

        cache.insert(query(1), ROUTE, at(1_000));
        assert_eq!(cache.get(&query(1), at(1_999)), Some(ROUTE));
        assert_eq!(cache.get(&query(2), at(1_999)), None);
        assert_eq!(cache.get(&query(1), at(2_000)), None, "it is old");

        cache.insert(query(1), ROUTE, at(2_000));
        notified.store(1, Ordering::Relaxed);
        assert_eq!(cache.get(&query(1), at(2_001)), None);
        assert_eq!(cache.get(&query(1), at(2_002)), None);
        cache.insert(query(1), ROUTE, at(3_000));
        assert_eq!(cache.get(&query(1), at(3_001)), None, "something may still be changing");
    }

    #[test]
    fn a_storm_blocks_no_query_and_the_cache_is_bounded() {
        let (notified, start) = (Arc::<AtomicU32>::default(), Instant::now());
        let mut cache = RouteCache::new(&Fake(notified.clone())).unwrap();
        let later = start + SETTLE_TIME;
        for port in 0..3_000 {
            cache.insert(query(port), ROUTE, later);
        }
        assert!(cache.routes.len() <= MAX_ROUTES);
        assert_eq!(cache.get(&query(2_999), later), Some(ROUTE));

        notified.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(cache.get(&query(2_999), later), None);
        assert!(notified.load(Ordering::Relaxed) > 0);
    }

    const ROUTE: Route = Route { interface_index: 1, source: None };

    fn query(port: u16) -> RouteQuery {
        let destination = ([239, 1, 1, 1], port).into();
        RouteQuery { destination, source_port: None, interface: None, source: None }
    }

    /// So many notifications are queued.
    struct Fake(Arc<AtomicU32>);

    impl Netlink for Fake {
        fn open(&self) -> io::Result<Box<dyn NetlinkSocket>> {
            unreachable!("the cache sends no requests")
        }

        fn subscribe_to_interfaces(&self) -> io::Result<Box<dyn NetlinkSocket>> {
            unreachable!("the cache follows no interfaces")
        }

        fn subscribe_to_routes(&self) -> io::Result<Box<dyn NetlinkSocket>> {
            Ok(Box::new(Fake(self.0.clone())))
        }
    }

    impl NetlinkSocket for Fake {
        fn send(&self, _: &[u8]) -> io::Result<()> {
            unreachable!("the cache sends no requests")
        }

        fn receive(&self, _: &mut [u8]) -> io::Result<usize> {
            let take = |queued: u32| queued.checked_sub(1);
            let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            taken.map(|_| 1).map_err(|_| io::ErrorKind::WouldBlock.into())
        }
    }

    impl AsFd for Fake {
        fn as_fd(&self) -> BorrowedFd<'_> {
            unreachable!("no thread waits for it")
        }
    }
}
