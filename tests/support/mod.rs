//! Support for tests: hosts, services, HTTP clients, and peers.

pub(crate) mod cabled;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod lab;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod on_host;
pub(crate) mod overload;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod raw_connection;
pub(crate) mod server;
pub(crate) mod streaming;
pub(crate) mod tools;
