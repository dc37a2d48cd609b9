//! Fields that several resources share, and how they are read and shown.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::problem::FieldErrors;
use crate::control::InterfaceChoice;
use crate::model::{Group, InterfaceRef, Retention, SourceFilter, Timestamp, limits};

/// An interface by name, or by index; an index is resolved to its name at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected the name or the index of an interface")]
#[schema(examples("lo"))]
pub(super) enum InterfaceName {
    Index(u32),
    Name(String),
}

impl InterfaceName {
    /// A text of digits is an index.
    pub(super) fn from_text(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index)
    }

    /// The kernel's rule for names (`dev_valid_name`): 1 to 15 bytes without `/`, `:` and white space.
    fn is_legal(&self) -> bool {
        match self {
            Self::Index(_) => true,
            Self::Name(name) => {
                let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
                (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
            }
        }
    }
}

impl From<InterfaceName> for InterfaceRef {
    fn from(name: InterfaceName) -> Self {
        match name {
            InterfaceName::Index(index) => Self::Index(index),
            InterfaceName::Name(name) => Self::Name(name),
        }
    }
}

/// Whom to hear: `include` only these, or `exclude` these. Exactly one of them.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, examples(json!({"include": ["192.0.2.10"]}), json!({"exclude": ["192.0.2.66"]})))]
pub(super) struct Sources {
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1024)]
    pub(super) include: Option<Vec<String>>,
    /// Addresses; an empty list hears everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1024)]
    pub(super) exclude: Option<Vec<String>>,
}

impl Sources {
    pub(super) fn of(filter: &SourceFilter) -> Option<Self> {
        let texts = |sources: &[IpAddr]| Some(sources.iter().map(ToString::to_string).collect());
        match filter {
            SourceFilter::Any => None,
            SourceFilter::Include(sources) => Some(Self { include: texts(sources), exclude: None }),
            SourceFilter::Exclude(sources) => Some(Self { include: None, exclude: texts(sources) }),
        }
    }
}

/// Reads `group` and its zone, if it has one; the zone names an interface.
pub(super) fn read_group(errors: &mut FieldErrors, text: &str) -> Option<(Group, Option<InterfaceRef>)> {
    let parsed = errors.keep("/group", Group::parse(text));
    parsed.map(|(group, zone)| (group, zone.as_deref().map(InterfaceRef::from_zone)))
}

pub(super) fn read_interfaces(
    errors: &mut FieldErrors,
    zone: Option<InterfaceRef>,
    named: Option<Vec<InterfaceName>>,
) -> InterfaceChoice {
    if let Some(named) = &named {
        for (position, _) in named.iter().enumerate().filter(|(_, name)| !name.is_legal()) {
            let detail = "no interface can have this name: 1 to 15 bytes, without `/`, `:` and white space";
            errors.push(format!("/interfaces/{position}"), detail);
        }
        if named.is_empty() {
            errors
                .push("/interfaces", "an empty list means no interface: name at least one, or leave it out");
        }
        if named.len() > limits::INTERFACES {
            errors.push("/interfaces", format!("at most {} interfaces can be named", limits::INTERFACES));
        }
    }
    InterfaceChoice { zone, named: named.map(|named| named.into_iter().map(InterfaceRef::from).collect()) }
}

pub(super) fn read_sources(
    errors: &mut FieldErrors,
    group: &Group,
    sources: Option<Sources>,
) -> SourceFilter {
    // None if one text is not an address: then the list as a whole cannot be checked.
    let mut addresses = |list: Vec<String>, pointer: &str| -> Option<Vec<IpAddr>> {
        if list.len() > limits::SOURCES {
            errors.push(pointer, format!("at most {} sources can be named", limits::SOURCES));
        }
        let parse = |(position, text): (usize, String)| {
            let address = text.parse().map_err(|_| format!("`{text}` is not an IP address"));
            errors.keep(&format!("{pointer}/{position}"), address)
        };
        let parsed: Vec<_> = list.into_iter().enumerate().map(parse).collect();
        parsed.into_iter().collect()
    };
    let (filter, pointer) = match sources {
        None => (SourceFilter::any(group), "/sources"),
        Some(Sources { include: Some(list), exclude: None }) => {
            let Some(list) = addresses(list, "/sources/include") else {
                return SourceFilter::Any;
            };
            (SourceFilter::include(group, list), "/sources/include")
        }
        Some(Sources { include: None, exclude: Some(list) }) => {
            let Some(list) = addresses(list, "/sources/exclude") else {
                return SourceFilter::Any;
            };
            (SourceFilter::exclude(group, list), "/sources/exclude")
        }
        Some(_) => {
            errors.push("/sources", "give exactly one of `include` and `exclude`");
            return SourceFilter::Any;
        }
    };
    filter.unwrap_or_else(|error| {
        let place =
            error.position().map_or_else(|| pointer.to_owned(), |position| format!("{pointer}/{position}"));
        errors.push(place, error);
        SourceFilter::Any
    })
}

/// Reads a payload that is given as text or as base64.
pub(super) fn read_payload(
    errors: &mut FieldErrors,
    names: [&str; 2],
    text: Option<String>,
    base64: Option<String>,
) -> Option<Bytes> {
    match (text, base64) {
        (Some(text), None) => Some(Bytes::from(text)),
        (None, Some(base64)) => {
            let decoded = BASE64.decode(&base64).map(Bytes::from);
            let [_, name] = names;
            errors.keep(
                name,
                decoded.map_err(|error| format!("not base64 (RFC 4648 section 4, padded): {error}")),
            )
        }
        (text, _) => {
            let [first, second] = names.map(|name| name.rsplit('/').next().unwrap_or_default());
            let found = if text.is_some() { "both are there" } else { "neither is there" };
            errors.push(names[0], format!("give exactly one of `{first}` and `{second}`: {found}"));
            None
        }
    }
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

/// How much the log keeps, where that is less than the service keeps of any.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retention, examples(json!({"datagrams": 1000, "age_ms": 60000})))]
pub(super) struct RetentionBody {
    /// Datagrams at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    datagrams: Option<u64>,
    /// Bytes at most, payloads and what is kept beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65_536)]
    bytes: Option<u64>,
    /// Milliseconds at most since a datagram was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000_000_u64)]
    age_ms: Option<u64>,
}

impl RetentionBody {
    pub(super) fn read(self, errors: &mut FieldErrors) -> Retention {
        let mut number =
            |pointer, value: Option<u64>, bounds| value.map(|value| errors.bounded(pointer, value, bounds));
        Retention {
            datagrams: number("/retention/datagrams", self.datagrams, 1..=Retention::MOST),
            bytes: number("/retention/bytes", self.bytes, Retention::FEWEST_BYTES..=Retention::MOST),
            age: number("/retention/age_ms", self.age_ms, 1..=Retention::LONGEST_AGE_MS)
                .map(Duration::from_millis),
        }
    }

    /// None if the client set no limits.
    pub(super) fn of(retention: &Retention) -> Option<Self> {
        let Retention { datagrams, bytes, age } = *retention;
        (*retention != Retention::default()).then(|| Self { datagrams, bytes, age_ms: age.map(millis) })
    }
}

/// How payloads are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// As text where the bytes are valid UTF-8, else as base64.
    #[default]
    Auto,
    /// Always as base64.
    Base64,
}

/// A payload: as text if the bytes are valid UTF-8, else as base64. Exactly one of them is there.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payload: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payload_base64: Option<String>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if encoding == Encoding::Auto => {
                Self { payload: Some(Cow::Borrowed(text)), payload_base64: None }
            }
            _ => Self { payload: None, payload_base64: Some(BASE64.encode(bytes)) },
        }
    }

    pub(super) fn into_owned(self) -> Payload<'static> {
        let (payload, payload_base64) = self.into_parts();
        Payload { payload: payload.map(Cow::Owned), payload_base64 }
    }

    pub(super) fn into_parts(self) -> (Option<String>, Option<String>) {
        (self.payload.map(Cow::into_owned), self.payload_base64)
    }
}

/// RFC 3339 in UTC, with nanoseconds.
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.0.into()).unwrap_or_default().to_string()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
