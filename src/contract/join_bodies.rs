//! The bodies that create memberships and responders, in requests and in the configuration file. A responder's has all
//! fields of a membership's, and more.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{InterfaceName, OfView, RetentionBody, object, read_group, read_interfaces, yes};
use super::parse::{FieldError, FieldErrors, Refused, parse_json};
use super::rules::{DelayBody, MatchBody, ReplyBody, ReplyBytesBody, ReplyFromBody, RuleFields};
use super::sources::{Sources, read_sources};
use crate::control::{JoinRequest, RequestedLease, ResourceKind};
use crate::model::limits;

/// Defines a body with the fields of every join, and the given ones. `serde(flatten)` could share them too, but it
/// loses the pointers to invalid fields.
macro_rules! join_body {
    ($(#[$attribute:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$attribute])*
        pub struct $name {
            /// `ADDRESS:PORT`, `[ADDRESS]:PORT` or `[ADDRESS%INTERFACE]:PORT`.
            #[schema(
                pattern = r"^(2(2[4-9]|3[0-9])(\.[0-9]{1,3}){3}|\[[Ff]{2}[0-9A-Fa-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$",
                examples("239.1.2.3:10000")
            )]
            group: String,
            /// The interfaces to join on. Default: every interface that is up, supports multicast and is not a port
            /// of a bridge or bond, including those that appear later.
            #[schema(min_items = 1, max_items = 1024)]
            interfaces: Option<Vec<InterfaceName>>,
            /// Accept interfaces that do not exist yet, and join on them when they appear.
            #[serde(default)]
            #[schema(default = false)]
            allow_missing: bool,
            /// The source filter. Default: all sources.
            sources: Option<Sources>,
            /// Count dropped datagrams exactly, instead of dropped buffers; lowers the throughput.
            #[serde(default)]
            #[schema(default = false)]
            exact_drops: bool,
            #[serde(default, deserialize_with = "object")]
            retention: Option<RetentionBody>,
            /// The lease in milliseconds: unless a client renews it in time, the service leaves the group. Default:
            /// no lease.
            #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
            expires_in_ms: Option<u64>,
            $($fields)*
            /// Ignored: it is of the view.
            #[serde(default, rename = "id")]
            #[schema(value_type = Value)]
            _id: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "revision")]
            #[schema(value_type = Value)]
            _revision: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "state")]
            #[schema(value_type = Value)]
            _state: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "hears")]
            #[schema(value_type = Value)]
            _hears: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "created_at")]
            #[schema(value_type = Value)]
            _created_at: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "expires_at")]
            #[schema(value_type = Value)]
            _expires_at: OfView,
            /// Ignored: it is of the view.
            #[serde(default, rename = "counters")]
            #[schema(value_type = Value)]
            _counters: OfView,
        }

        impl $name {
            /// Reads the fields of every join.
            fn read_join(self, errors: &mut FieldErrors) -> Result<JoinRequest, Refused> {
                let lease = self.expires_in_ms.map(|ms| errors.bounded("/expires_in_ms", ms, 1..=limits::LEASE_MS));
                let retention = self.retention.map(|retention| retention.read(errors)).unwrap_or_default();
                let (group, zone) = read_group(errors, &self.group)?;
                let interfaces = read_interfaces(errors, zone, self.interfaces);
                Ok(JoinRequest {
                    group,
                    interfaces,
                    allow_missing: self.allow_missing,
                    sources: read_sources(errors, &group, self.sources)?,
                    exact_drops: self.exact_drops,
                    retention,
                    lease: lease.map(Duration::from_millis).into(),
                    declared: false,
                    rules: None,
                })
            }
        }
    };
}

join_body! {
    /// A request to create or change a membership.
    #[schema(examples(
        json!({"group": "239.1.2.3:10000", "interfaces": ["lo"], "expires_in_ms": 60000}),
        json!({"group": "232.1.2.3:10000", "interfaces": ["lo"], "sources": {"include": ["192.0.2.10"]}}),
        json!({"group": "[ff15::1:2:3]:10000", "interfaces": ["lo"]})
    ))]
    pub struct MembershipBody {}
}

join_body! {
    /// A request to create or change a responder.
    #[schema(examples(
        json!({"group": "239.1.2.3:10000", "interfaces": ["lo"], "reply": "ack", "reply_from": {"address": "127.0.0.2"}}),
        json!({
            "group": "239.1.2.3:10000", "interfaces": ["lo"], "match": {"prefix": "M-SEARCH "},
            "reply": {"echo": true}, "delay_ms": {"min": 10, "max": 50}, "reply_from": {"port": 0}
        })
    ))]
    pub struct ResponderBody {
        reply: Option<ReplyBody>,
        #[serde(rename = "match")]
        matches: Option<MatchBody>,
        delay_ms: Option<DelayBody>,
        reply_from: Option<ReplyFromBody>,
        /// Reply once if the same datagram arrives on several interfaces within 50 ms.
        #[serde(default = "yes")]
        #[schema(default = true)]
        dedupe: bool,
        #[serde(default, deserialize_with = "object")]
        reply_bytes: Option<ReplyBytesBody>,
        /// Ignored: it is of the view.
        #[serde(default, rename = "reply_addresses")]
        #[schema(value_type = Value)]
        _reply_addresses: OfView,
        /// Ignored: it is of the view.
        #[serde(default, rename = "replies")]
        #[schema(value_type = Value)]
        _replies: OfView,
    }
}

impl MembershipBody {
    /// What requests ignore, and a declaration does not have: nobody sends it back.
    const OF_VIEW: [&str; 9] = [
        "id",
        "revision",
        "state",
        "hears",
        "created_at",
        "expires_at",
        "counters",
        "reply_addresses",
        "replies",
    ];

    pub fn read(self) -> Result<JoinRequest, Vec<FieldError>> {
        let mut errors = FieldErrors::default();
        let request = self.read_join(&mut errors);
        errors.finish(request)
    }
}

impl ResponderBody {
    /// Whether [`read`](Self::read) compiles a pattern, which takes up to 100 ms.
    pub fn has_pattern(&self) -> bool {
        self.matches.as_ref().is_some_and(MatchBody::has_pattern)
    }

    pub fn read(mut self) -> Result<JoinRequest, Vec<FieldError>> {
        let fields = RuleFields {
            reply: self.reply.take(),
            matches: self.matches.take(),
            delay: self.delay_ms.take(),
            reply_from: self.reply_from.take(),
            dedupe: self.dedupe,
            reply_bytes: self.reply_bytes.take(),
        };
        let mut errors = FieldErrors::default();
        let rules = fields.read(&mut errors);
        let request = self.read_join(&mut errors);
        errors.finish(rules.and_then(|rules| Ok(JoinRequest { rules: Some(rules), ..request? })))
    }
}

/// Reads the fields of a declaration. A declared resource has no lease and waits for missing interfaces: it stays as
/// long as the file declares it.
pub fn read_declared(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
    let of_view = |name: &&String| MembershipBody::OF_VIEW.contains(&name.as_str());
    if let Some(name) = fields.as_object().and_then(|fields| fields.keys().find(of_view)) {
        let error = FieldError::new(format!("/{name}"), format!("`{name}` is of the view of a {kind}"));
        return Err(vec![error.hint("leave this out")]);
    }
    let body = fields.to_string();
    let request = match kind {
        ResourceKind::Responder => {
            parse_json::<ResponderBody>(body.as_bytes()).map_err(as_list).and_then(ResponderBody::read)
        }
        ResourceKind::Membership | ResourceKind::Message => {
            parse_json::<MembershipBody>(body.as_bytes()).map_err(as_list).and_then(MembershipBody::read)
        }
    };
    let request = request?;
    if request.lease != RequestedLease::None {
        let fact = format!("a declared {kind} stays as long as the file declares it");
        return Err(vec![FieldError::new("/expires_in_ms", fact).hint("leave this out")]);
    }
    Ok(JoinRequest { allow_missing: true, declared: true, ..request })
}

fn as_list(error: impl Into<FieldError>) -> Vec<FieldError> {
    vec![error.into()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declaration_has_no_members_of_views() {
        let plain = json!({"group": "239.1.2.3:10000"});
        assert!(read_declared(ResourceKind::Membership, &plain).is_ok());
        for name in MembershipBody::OF_VIEW {
            let mut fields = plain.clone();
            fields[name] = json!(1);
            let errors = read_declared(ResourceKind::Responder, &fields).unwrap_err();
            assert_eq!(errors[0].pointer, format!("/{name}"));
        }
    }
}
