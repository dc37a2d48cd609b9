//! Failures come in floods: each call site logs one line per pause, and counts those that it left out.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::Lock;

/// Lets one line through, then none for [`Self::PAUSE`].
#[derive(Debug)]
pub struct Throttle {
    /// Std lock: held for a comparison. Each call site has its own: if a panic leaves its two values
    /// inconsistent, at worst a line is missing.
    state: Mutex<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    pub const PAUSE: Duration = Duration::from_secs(10);

    pub const fn new() -> Self {
        Self { state: Mutex::new(ThrottleState { last: None, suppressed: 0 }) }
    }

    /// Whether to log, and then how many lines were left out since the last one, if any.
    pub fn pass(&self, now: Instant) -> Option<Option<u64>> {
        let mut state = self.state.lock_own();
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < Self::PAUSE) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        let suppressed = std::mem::take(&mut state.suppressed);
        Some((suppressed > 0).then_some(suppressed))
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs like `tracing::event!`, with a throttle of its own for each use: `log_throttled!(WARN, %error, "it failed")`.
/// The field `suppressed` counts the lines left out since the last one.
macro_rules! log_throttled {
    ($level:ident, $($what:tt)+) => {{
        static THROTTLE: $crate::logging::Throttle = $crate::logging::Throttle::new();
        if tracing::enabled!(tracing::Level::$level)
            && let Some(suppressed) = THROTTLE.pass(std::time::Instant::now())
        {
            tracing::event!(tracing::Level::$level, suppressed, $($what)+);
        }
    }};
}

pub(crate) use log_throttled;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_throttle_counts_suppressed_lines() {
        let throttle = Throttle::new();
        let start = Instant::now();
        assert_eq!(throttle.pass(start), Some(None));
        for _ in 0..3 {
            assert_eq!(throttle.pass(start + Throttle::PAUSE.mul_f64(0.99)), None);
        }
        assert_eq!(throttle.pass(start + Throttle::PAUSE), Some(Some(3)));
        assert_eq!(throttle.pass(start + Throttle::PAUSE), None);
        assert_eq!(throttle.pass(start + 3 * Throttle::PAUSE), Some(Some(1)));
        assert_eq!(throttle.pass(start + 4 * Throttle::PAUSE), Some(None));
    }

    #[test]
    fn each_call_site_has_its_own_throttle() {
        let log = CapturedLog::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer({
            let log = log.clone();
            move || log.clone()
        });
        tracing::subscriber::with_default(subscriber.finish(), || {
            for nth in 0..1000 {
                log_throttled!(WARN, nth, "this failed");
                log_throttled!(ERROR, "that failed");
                log_throttled!(TRACE, "below the level");
            }
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("this failed") && text.contains("nth=0") && text.contains("that failed"),
            "{text}"
        );
        assert!(!text.contains("suppressed"), "{text}");
    }

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
