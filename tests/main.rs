//! All integration tests in one binary: `api` on loopback, `lab` between hosts, `chaos` for all at once, `store` for
//! logs on disk, `docs` for what users read, `tools` for its output in other programs.

mod support;

mod api {
    mod bounds;
    mod changing_parts;
    mod collecting;
    mod concurrent_changes;
    mod config;
    mod connection_limits;
    mod connections;
    mod crashes;
    mod damaged_directories;
    mod deprecation;
    mod environment;
    mod errors;
    mod events;
    mod export_command;
    mod first_minutes;
    mod health;
    mod host_errors;
    mod index;
    mod labels;
    mod leases;
    mod listeners;
    mod lists;
    mod log_formats;
    mod logging;
    mod logs;
    mod matching;
    mod memberships;
    mod memory;
    mod messages;
    mod methods;
    mod metrics;
    mod mistakes;
    mod mutated_requests;
    mod notify;
    mod origin_policy;
    mod overload;
    mod persistence;
    mod protocol;
    mod reload;
    mod reply_limits;
    mod responders;
    mod restarts;
    mod retention;
    mod revoked_tokens;
    mod selectors;
    mod service;
    mod slow_readers;
    mod stopping;
    mod streams;
    mod tokens;
    mod traces;
}

mod lab {
    mod causes;
    mod concurrent_messages;
    mod dead_links;
    mod disks;
    mod egress;
    mod interfaces;
    mod ipv6;
    mod isolation;
    mod leaving;
    mod link_storms;
    mod lost_memberships;
    mod netlink;
    mod reception;
    mod repeats;
    mod replies;
    mod routes;
    mod scale;
    mod scope;
    mod selftest;
    mod source_address;
    mod sources;
    mod strays;
    mod tutorial_peers;
    mod without_ipv6;
}

mod chaos;

mod layers;

mod store;

mod docs {
    mod baseline;
    mod compatibility;
    mod names;
    mod openapi;
    mod readme;
}

mod tools {
    mod pcapng;
    mod prometheus;
}
