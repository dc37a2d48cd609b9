//! The settings of the core, which it gets when it starts.

use std::time::Duration;

use crate::model::ReplyBytes;
use crate::store::{Limits, StoreSettings};

/// The core's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of receive threads.
    pub receive_threads: usize,
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
    /// Bytes of replies to one source, for responders that have no limit of their own.
    pub reply_bytes: ReplyBytes,
    /// Bytes that the delayed replies of all responders may hold; of one responder, a quarter.
    pub delayed_reply_bytes: usize,
    /// Bytes of the patterns of all responders.
    pub pattern_bytes: usize,
    /// How long the patterns of all responders may search one datagram; zero for no limit.
    pub match_time: Duration,
    /// How long a message may be repeated, from its first send.
    pub longest_repeat: Duration,
}
