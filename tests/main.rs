//! All integration tests in one binary: `api` on loopback, `lab` between hosts, `chaos` for all at once, `store` for
//! logs on disk, `docs` for what users read, `tools` for what other people's programs make of what it gives out.

mod support;

mod api {
    mod archive;
    mod collecting;
    mod config;
    mod crashes;
    mod declared;
    mod door;
    mod errors;
    mod events;
    mod exports;
    mod health;
    mod host;
    mod kept;
    mod leases;
    mod logging;
    mod logs;
    mod memberships;
    mod messages;
    mod metrics;
    mod notify;
    mod responders;
    mod restarts;
    mod retention;
    mod service;
    mod stopping;
    mod streams;
    mod tokens;
    mod traces;
}

mod lab {
    mod classic;
    mod dead_links;
    mod disks;
    mod early;
    mod egress;
    mod forgotten;
    mod hearing;
    mod interfaces;
    mod ipv6;
    mod isolation;
    mod leaving;
    mod mixing;
    mod netlink;
    mod replies;
    mod routes;
    mod scale;
    mod scope;
    mod selftest;
    mod senders;
    mod source_address;
    mod sources;
    mod storms;
    mod without_ipv6;
}

mod chaos;

mod layers;

mod store;

mod docs {
    mod openapi;
    mod readme;
}

mod tools {
    mod pcapng;
    mod prometheus;
}
