//! Arguments. Every argument of `serve` that has an environment variable is a setting: `--log-bytes`,
//! `ROLLCALL_LOG_BYTES`, and `log_bytes` in the file. [`Layers`] combines them.

mod flags;
mod hints;
mod layers;
mod names;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::check::CheckArgs;
use crate::config::{self, ConfigError, GivenTokens};
use crate::control::Settings;
use crate::export::ExportArgs;
use crate::http::{Access, AdminState, OriginPolicy, RequireToken};
use crate::logging::LogFormat;
use crate::model::ReplyBytes;
use crate::server::{Config, ConnectionLimits, Listen};
use crate::store::{Limits, StoreSettings};
use crate::tokens::Tokens;
use crate::traces::Endpoint;

use flags::with_tip;
pub use hints::{as_mistake, with_hint};
pub use layers::Layers;
use names::{host_name, origin};
use values::{
    ANY, LogFormatName, RequireTokenName, Secret, count, large_count, log_filter, microseconds, milliseconds,
    octal, one_of, size,
};

/// The command, with the configuration from all layers. The error is about the arguments or the environment.
pub fn read(arguments: &[OsString]) -> Result<(Cli, Layers), clap::Error> {
    let command = Cli::command();
    let layers = Layers::read(&command, arguments).map_err(|error| with_tip(error, &command, arguments))?;
    Ok((Cli::from_arg_matches(&layers.matches)?, layers))
}

/// An HTTP control plane for UDP multicast: join groups, reply to datagrams, send messages and collect the responses.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Below the flags in the help.
const UNITS: &str = "\
SIZE: bytes, or a number with K, M, G or T, which are powers of 1024 as for systemd, curl and nginx: 32M and 32MiB are
both 33554432. TIME: a number with us, ms, s, min, h or d; alone, it is in the unit at the end of the flag's name.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service.
    #[command(after_help = UNITS)]
    Serve(Box<ServeArgs>),
    /// Check the configuration and list all mistakes; takes the arguments of `serve`, and starts nothing.
    #[command(after_help = UNITS)]
    CheckConfig(Box<ServeArgs>),
    /// Export the logs of a data directory as NDJSON or as a capture file, or list them; needs no service.
    Export(ExportArgs),
    /// Check a data directory that no service uses, whole, and repair it on request.
    Check(CheckArgs),
    /// Print the API document (OpenAPI 3.1, YAML).
    Openapi,
    /// Exit with 0 if the service is ready, else with 1: for containers without a shell.
    Healthcheck(HealthcheckArgs),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each on its own")]
pub struct ServeArgs {
    /// A file with settings (TOML, named as here, with `_` for `-`), and declarations of memberships and responders.
    /// The environment overrides it, and flags override both.
    #[arg(long, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on: ADDRESS:PORT, localhost:PORT or unix:PATH. May be repeated.
    #[arg(long, env = "ROLLCALL_LISTEN", default_value = "127.0.0.1:8080", value_delimiter = ',')]
    listen: Vec<Listen>,
    /// Allow requests without a token on TCP addresses beyond loopback.
    #[arg(long, env = "ROLLCALL_ALLOW_ANONYMOUS")]
    allow_anonymous: bool,
    /// A file with a token in each line: NAME SCOPES TOKEN, with the scopes `read`, `control` or `read,control`, and
    /// perhaps until=TIME (RFC 3339). Clients over TCP beyond loopback must send one. SIGHUP reads it again, and ends the
    /// streams and waits of tokens that are gone.
    #[arg(long, env = "ROLLCALL_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Tokens, as the lines of a tokens file; `;` also ends a line. Only in the environment or a file, because all
    /// users of the host can read command lines.
    #[arg(long, env = "ROLLCALL_TOKENS", value_name = "LINES", hide_env_values = true)]
    tokens: Option<Secret>,
    /// Which clients must send a token, if there are tokens.
    #[arg(long, env = "ROLLCALL_REQUIRE_TOKEN", value_name = "WHO", default_value = "remote", value_parser = one_of::<RequireTokenName, RequireToken>())]
    require_token: RequireToken,
    /// Serve /metrics without a token.
    #[arg(long, env = "ROLLCALL_OPEN_METRICS")]
    open_metrics: bool,
    /// A host name of the service, besides addresses and localhost; with any port. May be repeated.
    #[arg(long, env = "ROLLCALL_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    allow_host: Vec<String>,
    /// An origin whose web pages may call the service, as https://name:port. May be repeated.
    #[arg(long, env = "ROLLCALL_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    allow_origin: Vec<String>,
    /// The most connections; the service closes those that wait for a request to let others in. By default a quarter of
    /// the file descriptors, and at most 2,048.
    #[arg(long, env = "ROLLCALL_CONNECTIONS", value_name = "COUNT", value_parser = count(1..=1_000_000))]
    connections: Option<u32>,
    /// The most bytes of all unfinished requests together; at least 2 MiB.
    #[arg(long, env = "ROLLCALL_REQUEST_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size(2_097_152..=u64::MAX))]
    request_bytes: u64,
    /// How long a client may take to read anything of an answer; then the service disconnects it.
    #[arg(long, env = "ROLLCALL_WRITE_TIMEOUT_MS", value_name = "TIME", default_value = "30s", value_parser = milliseconds(100..=3_600_000))]
    write_timeout_ms: u64,
    /// Permissions of unix sockets, octal.
    #[arg(long, env = "ROLLCALL_SOCKET_MODE", value_name = "MODE", default_value = "660", value_parser = octal)]
    socket_mode: u32,
    /// The receive buffer to request for each socket; responses show what the kernel grants.
    #[arg(long, env = "ROLLCALL_RECEIVE_BUFFER", value_name = "SIZE", default_value = "4MiB", value_parser = size(0..=u64::from(u32::MAX)))]
    receive_buffer: u64,
    /// The directory for logs, memberships, responders and messages, restored at each start. Each rollcall needs its
    /// own.
    #[arg(long, env = "ROLLCALL_DATA_DIR", value_name = "DIRECTORY", default_value_os_t = config::state_directory())]
    data_dir: PathBuf,
    /// Store everything in memory only, and nothing across restarts; ignores --data-dir.
    #[arg(long, env = "ROLLCALL_MEMORY")]
    memory: bool,
    /// How long datagrams may wait to be written to disk: a crash loses at most that much.
    #[arg(long, env = "ROLLCALL_FLUSH_MS", value_name = "TIME", default_value = "250ms", value_parser = milliseconds(1..=60_000))]
    flush_ms: u64,
    /// The most bytes in memory of logs on disk; at least 8 MiB.
    #[arg(long, env = "ROLLCALL_MEMORY_BYTES", value_name = "SIZE", default_value = "128MiB", value_parser = size(8_388_608..=u64::MAX))]
    memory_bytes: u64,
    /// The most bytes of one log.
    #[arg(long, env = "ROLLCALL_LOG_BYTES", value_name = "SIZE", default_value = "32MiB", value_parser = size(65_536..=u64::MAX))]
    log_bytes: u64,
    /// The most datagrams of one log.
    #[arg(long, env = "ROLLCALL_LOG_ENTRIES", value_name = "COUNT", default_value = "1000000", value_parser = large_count(1..=u64::MAX))]
    log_entries: u64,
    /// The most bytes of all logs and messages together, if the disk has space; the service evicts the oldest.
    #[arg(long, env = "ROLLCALL_TOTAL_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = size(1_048_576..=u64::MAX))]
    total_bytes: u64,
    /// The highest age of a datagram; 0 for no limit.
    #[arg(long, env = "ROLLCALL_DATAGRAM_AGE_MS", value_name = "TIME", default_value = "0", value_parser = milliseconds(ANY))]
    datagram_age_ms: u64,
    /// How long the service keeps a closed message.
    #[arg(long, env = "ROLLCALL_MESSAGE_AGE_MS", value_name = "TIME", default_value = "1h", value_parser = milliseconds(ANY))]
    message_age_ms: u64,
    /// The most messages; beyond that, the service deletes those closed longest ago.
    #[arg(long, env = "ROLLCALL_KEPT_MESSAGES", value_name = "COUNT", default_value = "10000", value_parser = count(0..=u32::MAX))]
    kept_messages: u32,
    /// The most memberships.
    #[arg(long, env = "ROLLCALL_MAX_MEMBERSHIPS", value_name = "COUNT", default_value = "10000", value_parser = count(0..=u32::MAX))]
    max_memberships: u32,
    /// The most responders.
    #[arg(long, env = "ROLLCALL_MAX_RESPONDERS", value_name = "COUNT", default_value = "10000", value_parser = count(0..=u32::MAX))]
    max_responders: u32,
    /// The most bytes of all memberships and responders, besides their logs.
    #[arg(long, env = "ROLLCALL_MEMBERSHIP_BYTES", value_name = "SIZE", default_value = "256MiB", value_parser = size(65_536..=1 << 60))]
    membership_bytes: u64,
    /// The most messages that collect responses, or are still sent, at once.
    #[arg(long, env = "ROLLCALL_MAX_COLLECTING", value_name = "COUNT", default_value = "10000", value_parser = count(0..=u32::MAX))]
    max_collecting: u32,
    /// How many responders of one message the service tells apart; further ones are kept as responses only.
    #[arg(long, env = "ROLLCALL_MESSAGE_RESPONDERS", value_name = "COUNT", default_value = "10000", value_parser = count(1..=100_000))]
    message_responders: u32,
    /// The most bytes of the tables in which the service tells the responders of all messages apart.
    #[arg(long, env = "ROLLCALL_RESPONDER_TABLE_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size(65_536..=u64::MAX))]
    responder_table_bytes: u64,
    /// Replies per second of one responder to one source; 0 for no limit.
    #[arg(long, env = "ROLLCALL_REPLIES_PER_SOURCE", value_name = "RATE", default_value = "100", value_parser = count(0..=u32::MAX))]
    replies_per_source: u32,
    /// Replies per second in all; 0 for no limit.
    #[arg(long, env = "ROLLCALL_REPLIES_TOTAL", value_name = "RATE", default_value = "10000", value_parser = count(0..=u32::MAX))]
    replies_total: u32,
    /// Replies of one responder to a source may have this many times the bytes that it sent in a second, with headers; 0
    /// for no limit in bytes. A responder may have its own.
    #[arg(long, env = "ROLLCALL_REPLY_BYTES_FACTOR", value_name = "FACTOR", default_value = "3", value_parser = count(0..=1_000_000))]
    reply_bytes_factor: u32,
    /// The bytes beyond that which all replies of one responder to one source may have in each second.
    #[arg(long, env = "ROLLCALL_REPLY_BYTES_PER_SECOND", value_name = "SIZE", default_value = "1500", value_parser = size(0..=1_000_000_000))]
    reply_bytes_per_second: u64,
    /// The most bytes that delayed replies hold, of all responders; one responder uses a quarter at most.
    #[arg(long, env = "ROLLCALL_DELAYED_REPLY_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size(ANY))]
    delayed_reply_bytes: u64,
    /// The most bytes of the patterns (`regex`) of all responders; one takes up to 140 kB.
    #[arg(long, env = "ROLLCALL_PATTERN_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size(ANY))]
    pattern_bytes: u64,
    /// How long the patterns of all responders together may search one datagram, at 1 µs for each pattern and 6 µs
    /// for each 1,000 bytes; 0 for no limit.
    #[arg(long, env = "ROLLCALL_MATCH_US", value_name = "TIME", default_value = "10ms", value_parser = microseconds(0..=4_000_000))]
    match_us: u64,
    /// How long a message may be repeated, `count` times `interval_ms`.
    #[arg(long, env = "ROLLCALL_LONGEST_REPEAT_MS", value_name = "TIME", default_value = "7d", value_parser = milliseconds(ANY))]
    longest_repeat_ms: u64,
    /// How long the service waits for open requests when it stops.
    #[arg(long, env = "ROLLCALL_GRACE_MS", value_name = "TIME", default_value = "5s", value_parser = milliseconds(ANY))]
    grace_ms: u64,
    /// The log filter: error, warn, info, debug or trace, or per module as in `info,rollcall::net=debug`.
    #[arg(long, env = "ROLLCALL_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// The log format: text on a terminal and JSON otherwise, or always one of them.
    #[arg(long, env = "ROLLCALL_LOG_FORMAT", value_name = "FORMAT", default_value = "auto", value_parser = one_of::<LogFormatName, LogFormat>())]
    pub log_format: LogFormat,
    /// The URL for traces: a collector or a local agent that accepts OTLP over plain HTTP. A URL without a path gets
    /// /v1/traces. Without it, the service does not trace.
    #[arg(long, env = "ROLLCALL_OTLP_ENDPOINT", value_name = "http://HOST:PORT")]
    otlp_endpoint: Option<Endpoint>,
    /// Start two responders on lo and call the roll, as a demonstration. Stores nothing, as with --memory.
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The configuration file of the service.
    #[arg(long, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The service's addresses; the command calls the first.
    #[arg(long, env = "ROLLCALL_LISTEN", default_value = "127.0.0.1:8080", value_delimiter = ',')]
    pub listen: Vec<Listen>,
}

impl ServeArgs {
    pub fn config(&self, layers: &Layers) -> Result<Config, Vec<ConfigError>> {
        Ok(Config {
            listen: self.listen.clone(),
            allow_anonymous: self.allow_anonymous,
            access: Access {
                tokens: self.read_tokens(layers)?,
                require_token: self.require_token,
                open_metrics: self.open_metrics,
            },
            origin_policy: OriginPolicy {
                hosts: self.allow_host.clone(),
                origins: self.allow_origin.clone(),
            },
            connection_limits: ConnectionLimits {
                connections: self.connections.map(|count| count as usize),
                request_bytes: usize::try_from(self.request_bytes).unwrap_or(usize::MAX),
                write_timeout: Duration::from_millis(self.write_timeout_ms),
            },
            socket_mode: self.socket_mode,
            grace: Duration::from_millis(self.grace_ms),
            settings: Settings {
                receive_threads: default_receive_threads(
                    std::thread::available_parallelism().map_or(1, usize::from),
                ),
                receive_buffer: usize::try_from(self.receive_buffer).unwrap_or(usize::MAX),
                log_limits: Limits {
                    entries: self.log_entries,
                    bytes: usize::try_from(self.log_bytes).unwrap_or(usize::MAX),
                    age: (self.datagram_age_ms > 0).then(|| Duration::from_millis(self.datagram_age_ms)),
                },
                total_bytes: usize::try_from(self.total_bytes).unwrap_or(usize::MAX),
                store: (!self.memory && !self.demo).then(|| StoreSettings {
                    directory: self.data_dir.clone(),
                    flush: Duration::from_millis(self.flush_ms),
                    memory_bytes: usize::try_from(self.memory_bytes).unwrap_or(usize::MAX),
                }),
                message_age: Duration::from_millis(self.message_age_ms),
                kept_messages: self.kept_messages as usize,
                max_memberships: self.max_memberships as usize,
                max_responders: self.max_responders as usize,
                membership_bytes: usize::try_from(self.membership_bytes).unwrap_or(usize::MAX),
                max_collecting: self.max_collecting as usize,
                message_responders: self.message_responders as usize,
                responder_table_bytes: usize::try_from(self.responder_table_bytes).unwrap_or(usize::MAX),
                replies_per_source: self.replies_per_source,
                replies_total: self.replies_total,
                reply_bytes: ReplyBytes {
                    factor: self.reply_bytes_factor,
                    per_second: u32::try_from(self.reply_bytes_per_second).unwrap_or(u32::MAX),
                },
                delayed_reply_bytes: usize::try_from(self.delayed_reply_bytes).unwrap_or(usize::MAX),
                pattern_bytes: usize::try_from(self.pattern_bytes).unwrap_or(usize::MAX),
                match_time: Duration::from_micros(self.match_us),
                longest_repeat: Duration::from_millis(self.longest_repeat_ms),
            },
            admin_state: AdminState::default(),
            otlp_endpoint: self.otlp_endpoint.clone(),
        })
    }

    /// Whether tokens are required on loopback, too, if there are any.
    pub fn requires_token_always(&self) -> bool {
        self.require_token == RequireToken::Always
    }

    fn read_tokens(&self, layers: &Layers) -> Result<Option<Tokens>, Vec<ConfigError>> {
        let given = self.tokens.as_ref().map(|tokens| GivenTokens {
            lines: &tokens.0,
            file: layers.file.path.as_deref().filter(|_| layers.is_from_file("tokens")),
        });
        config::read_tokens(self.tokens_file.as_deref(), given)
    }
}

/// Receive threads: half of the cores, up to four; the rest is for requests. More threads wake more often for the same
/// load.
fn default_receive_threads(cores: usize) -> usize {
    (cores / 2).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_setting_has_one_name_everywhere() {
        Cli::command().debug_assert();
        let command = Cli::command();
        for called in ["serve", "check-config", "export", "healthcheck"] {
            for argument in command.find_subcommand(called).expect("a command").get_arguments() {
                let Some(variable) = argument.get_env() else { continue };
                let name = argument.get_id().as_str();
                assert_eq!(variable.to_str(), Some(format!("ROLLCALL_{}", name.to_uppercase()).as_str()));
                assert_eq!(argument.get_long(), Some(name.replace('_', "-").as_str()));
            }
        }
    }
}
