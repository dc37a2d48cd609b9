//! Rollcall: an HTTP control plane for UDP multicast.
//!
//! Layers, top down; imports run down only:
//!
//! - [`cli`], [`config`], [`reload`], [`demo`], [`export`], [`check`], [`healthcheck`], [`notify`]: the binary's
//!   arguments, configuration, subcommands, and messages to its service manager
//! - [`server`]: composition root; binds, wires, serves, shuts down
//! - [`http`]: routes, problem documents, access, the API document; the only layer that knows axum
//! - [`rendering`]: logged datagrams as JSON pages, NDJSON, server-sent events and capture files
//! - [`contract`]: bodies, queries and views as types; the configuration file has the same bodies
//! - [`control`]: the operations join, leave, respond and send; owns resources, tasks and lifetimes
//! - [`net`]: sockets, batch I/O, interfaces; and beside it [`store`]: logs with cursors. They do not know
//!   each other: `control` puts the datagrams that a socket receives into a log
//! - [`pcapng`]: capture files of logged datagrams; beside the logs, which it does not know
//! - [`tokens`]: who may call, by name and scope
//! - [`model`]: the nouns, legal by construction; and beside it [`logging`], [`traces`] and `exchange` (HTTP as a
//!   client), `sync` (locks), `bounded_counter`, `file_identity` and [`stdout`], which know
//!   none of them
//!
//! Invariants: each received datagram is kept in a log, or counted where it was lost. After a DELETE was answered,
//! nothing more reaches the log. Outside input ends no thread: a panic fails one resource.
//!
//! Deliberately absent: queues per reader (a log and a cursor do it), tasks per socket (receive threads do it), timers
//! per resource (one heap does it), `unsafe` outside `net::sys`.

mod bounded_counter;
pub mod check;
pub mod cli;
pub mod config;
pub mod contract;
pub mod control;
pub mod demo;
mod exchange;
pub mod export;
mod file_identity;
pub mod healthcheck;
pub mod http;
pub mod logging;
pub mod model;
pub mod net;
pub mod notify;
pub mod pcapng;
pub mod reload;
pub mod rendering;
pub mod server;
pub mod stdout;
pub mod store;
mod sync;
pub mod tokens;
pub mod traces;
