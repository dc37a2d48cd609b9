//! What the tests stand on: hosts, a service to start, and a client to ask it with.

pub(crate) mod client;
pub(crate) mod lab;
pub(crate) mod node;
pub(crate) mod server;
