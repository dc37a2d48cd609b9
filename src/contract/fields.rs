//! Fields that several bodies, queries and views have, as clients write and read them: groups, interfaces, addresses,
//! limits of a log, times and numbers.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::field_errors::{FieldError, FieldErrors, Refused};
use super::notation::{Notation, shown};
use crate::control::InterfaceChoice;
use crate::model::{
    Group, GroupError, InterfaceRef, Retention, Timestamp, is_interface_name, limits, parse_decimal,
};

/// An interface by name, by index, or as a view shows it; an index is resolved to its name at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "the name or the index of an interface, or an object as GET shows it")]
#[schema(examples("lo"))]
pub enum InterfaceName {
    Name(String),
    Index(u32),
    #[serde(deserialize_with = "only_object")]
    Shown(ShownInterface),
}

/// An interface as a view shows it. Only its name counts; with `named: false`, it is left out, because the membership
/// has joined there without naming it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "lo"})))]
pub struct ShownInterface {
    /// The name of the interface.
    name: String,
    /// Whether the membership names the interface.
    #[serde(default = "yes")]
    #[schema(value_type = Option<bool>, default = true)]
    named: bool,
    /// Ignored: it is of the view.
    #[serde(default, rename = "state")]
    #[schema(value_type = Value)]
    _state: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "hears")]
    #[schema(value_type = Value)]
    _hears: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "detail")]
    #[schema(value_type = Value)]
    _detail: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "reason")]
    #[schema(value_type = Value)]
    _reason: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "datagrams")]
    #[schema(value_type = Value)]
    _datagrams: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "bytes")]
    #[schema(value_type = Value)]
    _bytes: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "last_received_at")]
    #[schema(value_type = Value)]
    _last_received_at: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "receive_buffer")]
    #[schema(value_type = Value)]
    _receive_buffer: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "dropped_buffers")]
    #[schema(value_type = Value)]
    _dropped_buffers: ViewMember,
}

/// A member that only views have. A request may have it, so that a client can send back what it got, and it is ignored.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ViewMember;

impl<'de> Deserialize<'de> for ViewMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

pub(super) fn yes() -> bool {
    true
}

impl InterfaceName {
    /// A string of digits is an index.
    pub(super) fn from_text(text: &str) -> Self {
        parse_decimal(text).map_or_else(|| Self::Name(text.to_owned()), Self::Index)
    }
}

impl From<InterfaceName> for InterfaceRef {
    fn from(name: InterfaceName) -> Self {
        match name {
            InterfaceName::Index(index) => Self::Index(index),
            InterfaceName::Name(name) | InterfaceName::Shown(ShownInterface { name, .. }) => Self::Name(name),
        }
    }
}

/// Reads `group` and its zone, if it has one; the zone names an interface.
pub(super) fn read_group(
    errors: &mut FieldErrors,
    text: &str,
) -> Result<(Group, Option<InterfaceRef>), Refused> {
    let (group, zone) = parse_group(errors, "/group", text)?;
    Ok((group, zone.as_deref().map(InterfaceRef::from_zone)))
}

/// Reads a group and its zone.
pub(super) fn parse_group(
    errors: &mut FieldErrors,
    pointer: &str,
    text: &str,
) -> Result<(Group, Option<String>), Refused> {
    let hint = |error: GroupError| match errors.notation {
        Notation::Query => error.to_string().replace('%', "%25"),
        Notation::Json | Notation::Toml => error.to_string(),
    };
    match Group::parse(text) {
        // These say which address they concern.
        Err(error @ (GroupError::NotMulticast(_) | GroupError::Reserved(_))) => {
            errors.keep(pointer, Err(error))
        }
        group => {
            let group = group.map_err(hint);
            errors.read(pointer, text, group)
        }
    }
}

/// Reads an address of a host.
pub(super) fn read_address(errors: &mut FieldErrors, pointer: &str, text: &str) -> Result<IpAddr, Refused> {
    let hint = || match text.parse::<SocketAddr>() {
        Ok(endpoint) => without_port(errors.notation, pointer, endpoint),
        Err(_) => "write an IP address, as in 192.0.2.10 or 2001:db8::10".to_owned(),
    };
    let address = text.parse().map_err(|_| hint());
    errors.read(pointer, text, address)
}

/// What to write instead of an address with a port.
fn without_port(notation: Notation, pointer: &str, endpoint: SocketAddr) -> String {
    let (ip, port) = (json!(endpoint.ip()), json!(endpoint.port()));
    let separator = if notation == Notation::Query { "&" } else { ", " };
    let both = |address: &str, port_name: &str| {
        let (address, port) = (notation.member(address, &ip), notation.member(port_name, &port));
        format!("write the port as `{port_name}`, as in {address}{separator}{port}")
    };
    match pointer {
        "/source" => both("source", "source_port"),
        "/reply_from/address" => both("address", "port"),
        _ => format!("write the address alone, as in {}", notation.write(&ip)),
    }
}

pub(super) fn read_interfaces(
    errors: &mut FieldErrors,
    zone: Option<InterfaceRef>,
    named: Option<Vec<InterfaceName>>,
) -> InterfaceChoice {
    if let Some(named) = &named {
        for (position, name) in named.iter().enumerate() {
            if let InterfaceName::Name(name) | InterfaceName::Shown(ShownInterface { name, .. }) = name
                && !is_interface_name(name)
            {
                let fact = format!("`interfaces.{position}` is {}", shown(&name.as_str().into()));
                let error = FieldError::new(format!("/interfaces/{position}"), fact);
                let hint = "write the name of an interface: 1 to 15 bytes, without `/`, `:` and white space";
                errors.push(error.hint(hint));
            }
        }
        if named.is_empty() {
            let error = FieldError::new("/interfaces", "`interfaces` is an empty list");
            errors.push(error.hint("name at least one, as in [\"lo\"], or leave it out"));
        }
        if named.len() > limits::INTERFACES {
            let error = FieldError::new("/interfaces", format!("`interfaces` names {}", named.len()));
            errors.push(error.hint(format!("name at most {}", limits::INTERFACES)));
        }
    }
    let is_named = |name: &InterfaceName| !matches!(name, InterfaceName::Shown(shown) if !shown.named);
    let named = named.map(|named| named.into_iter().filter(is_named).map(InterfaceRef::from).collect());
    // All were left out: the membership names none.
    InterfaceChoice { zone, named: named.filter(|named: &Vec<_>| !named.is_empty()) }
}

/// Reads an object, or null. Derived implementations would also accept an array of the fields' values.
pub(super) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_none<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
            deserializer.deserialize_map(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_option(Object(PhantomData))
}

/// Reads an object.
pub(super) fn only_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    object(deserializer)?.ok_or_else(|| D::Error::custom("null is not an object"))
}

/// Limits of the log, where they are lower than those of the service.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retention, examples(json!({"datagrams": 1000, "age_ms": 60000})))]
pub(super) struct RetentionBody {
    /// The most datagrams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    datagrams: Option<u64>,
    /// The most bytes, of payloads and metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65_536)]
    bytes: Option<u64>,
    /// The highest age of a datagram, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000_000_u64)]
    age_ms: Option<u64>,
}

impl RetentionBody {
    /// None if there is no limit.
    pub(super) fn new(datagrams: Option<u64>, bytes: Option<u64>, age_ms: Option<u64>) -> Option<Self> {
        let is_limited = datagrams.or(bytes).or(age_ms).is_some();
        is_limited.then_some(Self { datagrams, bytes, age_ms })
    }

    pub(super) fn read(self, errors: &mut FieldErrors) -> Retention {
        let mut number =
            |pointer, value: Option<u64>, bounds| value.map(|value| errors.bounded(pointer, value, bounds));
        Retention {
            datagrams: number("/retention/datagrams", self.datagrams, 1..=Retention::MAX),
            bytes: number("/retention/bytes", self.bytes, Retention::MIN_BYTES..=Retention::MAX),
            age: number("/retention/age_ms", self.age_ms, 1..=Retention::MAX_AGE_MS)
                .map(Duration::from_millis),
        }
    }

    /// None if the client set no limits.
    pub(super) fn of(retention: &Retention) -> Option<Self> {
        let Retention { datagrams, bytes, age } = *retention;
        (*retention != Retention::default()).then(|| Self { datagrams, bytes, age_ms: age.map(millis) })
    }
}

/// The time as RFC 3339, in UTC, with nanoseconds.
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.0.into()).unwrap_or_default().to_string()
}

/// Parses an RFC 3339 time. The error is a hint.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let explain = || "write a time as in RFC 3339: 2026-01-02T03:04:05.678Z".to_owned();
    let time: jiff::Timestamp = text.parse().map_err(|_| explain())?;
    i64::try_from(time.as_nanosecond()).map(Timestamp).map_err(|_| explain())
}

/// The duration in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads values in a query that have commas between them.
pub(super) fn comma_separated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    values: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let text = String::deserialize(values)?;
    text.split(',')
        .map(|value| T::deserialize(value.to_owned().into_deserializer()))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Reads a number in a query: it has one form, as everywhere.
pub(super) fn decimal<'de, D: Deserializer<'de>, T: From<u64>>(value: D) -> Result<T, D::Error> {
    let text = String::deserialize(value)?;
    let number = parse_decimal::<u64>(&text).map(T::from);
    number.ok_or_else(|| {
        D::Error::custom(format!("`{text}` is not a number: use digits, without a sign and leading zeros"))
    })
}
