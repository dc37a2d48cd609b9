//! The bodies that create memberships and responders, in requests and in the configuration file. A responder's has all
//! fields of a membership's, and more.

use std::any::Any;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::field_errors::{FieldError, FieldErrors, Refused};
use super::fields::{InterfaceName, RetentionBody, ViewMember, object, read_group, read_interfaces, yes};
use super::labels::LabelsBody;
use super::notation::Notation;
use super::parse::{Parsed, parse_members};
use super::rules::{DelayBody, MatchBody, ReplyBody, ReplyBytesBody, ReplyFromBody, RuleFields};
use super::sources::{Sources, read_sources};
use crate::control::{JoinRequest, ResourceKind};
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
            #[schema(value_type = Option<bool>, default = false)]
            allow_missing: bool,
            /// The source filter. Default: all sources.
            #[serde(default, deserialize_with = "object")]
            sources: Option<Sources>,
            /// Count dropped datagrams exactly, instead of dropped buffers; lowers the throughput.
            #[serde(default)]
            #[schema(value_type = Option<bool>, default = false)]
            exact_drops: bool,
            #[serde(default, deserialize_with = "object")]
            retention: Option<RetentionBody>,
            #[serde(default, deserialize_with = "object")]
            labels: Option<LabelsBody>,
            /// The lease in milliseconds: unless a client renews it in time, the service leaves the group. Default:
            /// no lease.
            #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
            expires_in_ms: Option<u64>,
            $($fields)*
            /// Ignored: it is of the view.
            #[serde(default, rename = "id")]
            #[schema(value_type = Value)]
            _id: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "revision")]
            #[schema(value_type = Value)]
            _revision: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "state")]
            #[schema(value_type = Value)]
            _state: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "hears")]
            #[schema(value_type = Value)]
            _hears: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "created_at")]
            #[schema(value_type = Value)]
            _created_at: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "expires_at")]
            #[schema(value_type = Value)]
            _expires_at: ViewMember,
            /// Ignored: it is of the view.
            #[serde(default, rename = "counters")]
            #[schema(value_type = Value)]
            _counters: ViewMember,
        }

        impl $name {
            /// Reads the fields of every join.
            fn read_join(self, errors: &mut FieldErrors) -> Result<JoinRequest, Refused> {
                let lease = self.expires_in_ms.map(|ms| errors.bounded("/expires_in_ms", ms, 1..=limits::LEASE_MS));
                let retention = self.retention.map(|retention| retention.read(errors)).unwrap_or_default();
                let labels = self.labels.unwrap_or_default().read(errors);
                let group = read_group(errors, &self.group);
                let zone = group.as_ref().ok().and_then(|(_, zone)| zone.clone());
                let interfaces = read_interfaces(errors, zone, self.interfaces);
                let sources = read_sources(errors, group.as_ref().ok().map(|(group, _)| group), self.sources);
                let (group, _) = group?;
                Ok(JoinRequest {
                    group,
                    interfaces,
                    allow_missing: self.allow_missing,
                    sources: sources?,
                    exact_drops: self.exact_drops,
                    retention,
                    labels: labels?,
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
        #[serde(default, deserialize_with = "object")]
        matches: Option<MatchBody>,
        delay_ms: Option<DelayBody>,
        #[serde(default, deserialize_with = "object")]
        reply_from: Option<ReplyFromBody>,
        /// Reply once if the same datagram arrives on several interfaces within 50 ms.
        #[serde(default = "yes")]
        #[schema(value_type = Option<bool>, default = true)]
        dedupe: bool,
        #[serde(default, deserialize_with = "object")]
        reply_bytes: Option<ReplyBytesBody>,
        /// Ignored: it is of the view.
        #[serde(default, rename = "reply_addresses")]
        #[schema(value_type = Value)]
        _reply_addresses: ViewMember,
        /// Ignored: it is of the view.
        #[serde(default, rename = "replies")]
        #[schema(value_type = Value)]
        _replies: ViewMember,
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

    /// `errors`: those that were found before.
    pub fn read(self, mut errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        let request = self.read_join(&mut errors);
        errors.finish(request)
    }
}

impl ResponderBody {
    /// Whether [`read`](Self::read) compiles a pattern, which takes up to 100 ms.
    pub fn has_pattern(&self) -> bool {
        self.matches.as_ref().is_some_and(MatchBody::has_pattern)
    }

    /// `errors`: those that were found before.
    pub fn read(mut self, mut errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        let fields = RuleFields {
            reply: self.reply.take(),
            matches: self.matches.take(),
            delay: self.delay_ms.take(),
            reply_from: self.reply_from.take(),
            dedupe: self.dedupe,
            reply_bytes: self.reply_bytes.take(),
        };
        let rules = fields.read(&mut errors);
        let request = self.read_join(&mut errors);
        errors.finish(rules.and_then(|rules| Ok(JoinRequest { rules: Some(rules), ..request? })))
    }
}

/// Reads the fields of a declaration in the configuration file. A declared resource has no lease and waits for missing
/// interfaces: it stays as long as the file declares it.
pub fn read_declared(
    kind: ResourceKind,
    mut fields: Map<String, Value>,
) -> Result<JoinRequest, Vec<FieldError>> {
    let mut of_view = Vec::new();
    for name in MembershipBody::OF_VIEW {
        if fields.remove(name).is_some() {
            let error = FieldError::new(format!("/{name}"), format!("`{name}` is of the view of a {kind}"));
            of_view.push(error.hint("leave this out"));
        }
    }

    let refuse_lease = |errors: &mut FieldErrors, lease: Option<u64>| {
        if lease.is_some() {
            let fact = format!(
                "`expires_in_ms` is given, and a declared {kind} stays as long as the file declares it"
            );
            errors.push(FieldError::new("/expires_in_ms", fact).hint("leave it out"));
        }
    };
    let request = match kind {
        ResourceKind::Responder => {
            let (body, mut errors): Parsed<ResponderBody> = parse_declared(fields, of_view)?;
            refuse_lease(&mut errors, body.expires_in_ms);
            body.read(errors)
        }
        ResourceKind::Membership | ResourceKind::Message => {
            let (body, mut errors): Parsed<MembershipBody> = parse_declared(fields, of_view)?;
            refuse_lease(&mut errors, body.expires_in_ms);
            body.read(errors)
        }
    };
    Ok(JoinRequest { allow_missing: true, declared: true, ..request? })
}

fn parse_declared<T>(fields: Map<String, Value>, found: Vec<FieldError>) -> Result<Parsed<T>, Vec<FieldError>>
where
    T: DeserializeOwned + ToSchema + Any,
{
    parse_members(fields, found, Notation::Toml)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declaration_has_no_members_of_views() {
        let plain = Map::from_iter([("group".to_owned(), json!("239.1.2.3:10000"))]);
        assert!(read_declared(ResourceKind::Membership, plain.clone()).is_ok());
        for name in MembershipBody::OF_VIEW {
            let mut fields = plain.clone();
            fields.insert(name.to_owned(), json!(1));
            let errors = read_declared(ResourceKind::Responder, fields).unwrap_err();
            assert_eq!(errors[0].pointer, format!("/{name}"));
        }
    }
}
