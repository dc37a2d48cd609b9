//! Bearer tokens: their names, and the scopes that they allow.

use std::collections::HashSet;
use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::model::{Id, Timestamp};

/// The accepted tokens; only their digests are kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
pub struct Token {
    name: Id,
    scope: Scope,
    digest: [u8; 32],
    /// From when on the token allows nothing.
    until: Option<Timestamp>,
}

/// What a token allows; each scope includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// GET and HEAD.
    Read,
    /// Everything. The answer to a change shows the resource, so this includes reading.
    Control,
}

/// A mistake in a line; never contains the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    pub detail: String,
}

impl Tokens {
    /// Reads a token per line: `NAME SCOPES TOKEN [until=TIME]`, with SCOPES `read`, `control` or `read,control`, TOKEN
    /// in the characters of RFC 6750 section 2.1, or as `sha256:` and the 64 hexadecimal digits of its digest, and TIME
    /// as in RFC 3339. Empty lines and lines that begin with `#` are ignored. `;` also ends a line, for values of one
    /// line.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        let (mut tokens, mut errors) = (Self::default(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            if line.trim_start().starts_with('#') {
                continue;
            }
            for entry in line.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
                if let Err(detail) = Token::parse(entry).and_then(|token| tokens.add(token)) {
                    errors.push(LineError { line: at + 1, detail });
                }
            }
        }
        if tokens.0.is_empty() && errors.is_empty() {
            errors.push(LineError {
                line: 1,
                detail: "there is no token: give at least one as NAME SCOPES TOKEN [until=TIME]".to_owned(),
            });
        }
        if errors.is_empty() { Ok(tokens) } else { Err(errors) }
    }

    /// Adds other tokens; a duplicate name or token is an error.
    pub fn join(&mut self, others: Self) -> Result<(), String> {
        others.0.into_iter().try_for_each(|token| self.add(token))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }

    fn add(&mut self, token: Token) -> Result<(), String> {
        if self.0.iter().any(|known| known.name == token.name) {
            return Err(format!(
                "the name `{}` is used twice: give each token a name of its own",
                token.name
            ));
        }
        if let Some(same) = self.0.iter().find(|known| known.digest == token.digest) {
            return Err(format!(
                "`{}` has the same token as `{}`: make a new one for each",
                token.name, same.name
            ));
        }
        self.0.push(token);
        Ok(())
    }

    /// Finds the token. The time it takes reveals neither how much of a digest matched, nor which token it was.
    pub fn find(&self, given: &[u8]) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(given).into();
        self.0.iter().fold(
            None,
            |found, token| {
                if bool::from(token.digest.ct_eq(&digest)) { Some(token) } else { found }
            },
        )
    }

    /// Finds a token that was found before, perhaps among others.
    pub fn find_again(&self, known: &Token) -> Option<&Token> {
        self.0.iter().find(|token| token.digest == known.digest)
    }
}

impl Token {
    /// Shorter tokens can be guessed; 16 characters of base64 hold 96 bits.
    const SHORTEST: usize = 16;

    fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (&[name, scopes, token], until) = match fields.split_first_chunk() {
            Some((token, [])) => (token, None),
            Some((token, [until])) => (token, Some(*until)),
            _ => {
                return Err(format!(
                    "a token is three words, NAME SCOPES TOKEN, perhaps with until=TIME, and this line has {}",
                    fields.len()
                ));
            }
        };
        let name = Id::parse(name).map_err(|error| format!("the name cannot be accepted: {error}"))?;
        let scope = Scope::parse(scopes)
            .ok_or_else(|| format!("the scopes of `{name}` are `read`, `control` or `read,control`"))?;
        let digest = digest(token).map_err(|detail| format!("the token of `{name}` {detail}"))?;
        let until = until.map(parse_until).transpose().map_err(|detail| format!("`{name}`: {detail}"))?;
        Ok(Self { name, scope, digest, until })
    }

    pub fn name(&self) -> &Id {
        &self.name
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    pub fn allows(&self, needed: Scope) -> bool {
        self.scope >= needed
    }

    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Scope {
    fn parse(text: &str) -> Option<Self> {
        let words: HashSet<_> = text.split(',').collect();
        let control = words.contains("control");
        let known = words.iter().all(|word| ["read", "control"].contains(word));
        known.then_some(if control { Self::Control } else { Self::Read })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Control => "control",
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| (&token.name, token.scope, token.until))).finish()
    }
}

fn parse_until(word: &str) -> Result<Timestamp, String> {
    let explain = || format!("`{word}` is not until=TIME: use RFC 3339, as in until=2027-01-31T00:00:00Z");
    let time: jiff::Timestamp =
        word.strip_prefix("until=").ok_or_else(explain)?.parse().map_err(|_| explain())?;
    // Nanoseconds in 64 bits end in 2262.
    let nanoseconds = time.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into());
    Ok(Timestamp(i64::try_from(nanoseconds).expect("just clamped")))
}

fn digest(token: &str) -> Result<[u8; 32], &'static str> {
    if let Some(hex) = token.strip_prefix("sha256:") {
        let wrong = "is not a digest: `sha256:` is followed by 64 hexadecimal digits";
        let mut digest = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong)?;
        }
        return Ok(digest);
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if !token.trim_end_matches('=').bytes().all(letter) {
        return Err("has characters that RFC 6750 does not allow: use a-z, A-Z, 0-9 and `-._~+/`");
    }
    if token.len() < Token::SHORTEST {
        return Err("is too short to be safe: make one with `openssl rand -hex 32`");
    }
    Ok(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DASH: &str = "0123456789abcdef";

    fn problems(text: &str) -> Vec<LineError> {
        Tokens::parse(text).expect_err("it has problems")
    }

    #[test]
    fn the_service_finds_the_name_and_the_scope_of_a_token() {
        let text = format!("# who may call\n\ndash read {DASH}\n ops  read,control\tfedcba9876543210==\n");
        let tokens = Tokens::parse(&text).unwrap();
        let dash = tokens.find(DASH.as_bytes()).unwrap();
        assert_eq!(
            (dash.name.as_str(), dash.allows(Scope::Read), dash.allows(Scope::Control)),
            ("dash", true, false)
        );
        let ops = tokens.find(b"fedcba9876543210==").unwrap();
        assert!(ops.allows(Scope::Read) && ops.allows(Scope::Control));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdef ", b"dash"] {
            assert!(tokens.find(other).is_none());
        }
    }

    #[test]
    fn a_line_can_have_digests_and_several_tokens() {
        // printf %s 0123456789abcdef | sha256sum
        let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let tokens = Tokens::parse(&format!("a control sha256:{digest}; b read fedcba9876543210")).unwrap();
        assert_eq!(tokens.find(DASH.as_bytes()).unwrap().name.as_str(), "a");
        let names: Vec<_> = tokens.iter().map(|token| (token.name().as_str(), token.scope())).collect();
        assert_eq!(names, [("a", Scope::Control), ("b", Scope::Read)]);
    }

    #[test]
    fn a_token_expires_at_its_time() {
        let tokens = Tokens::parse(&format!("dash read {DASH} until=1970-01-01T00:00:01Z")).unwrap();
        let dash = tokens.find(DASH.as_bytes()).unwrap();
        assert_eq!(dash.until(), Some(Timestamp(1_000_000_000)));
        assert!(!dash.has_expired(Timestamp(999_999_999)));
        assert!(dash.has_expired(Timestamp(1_000_000_000)));
    }

    #[test]
    fn an_error_names_the_line_and_never_shows_the_token() {
        for (line, expected) in [
            ("dash read", "three words"),
            ("Dash read 0123456789abcdef", "the name"),
            ("dash write 0123456789abcdef", "the scopes of `dash`"),
            ("dash read 0123456789", "too short"),
            ("dash read 0123456789abcdef!", "characters"),
            ("dash read sha256:0123456789abcdef", "not a digest"),
            ("ops read 0123456789abcdef", "the name `ops`"),
            ("dash read fedcba9876543210", "the same token as `ops`"),
            ("dash read 0123456789abcdef until=tomorrow", "`dash`: `until=tomorrow` is not until=TIME"),
            ("dash read 0123456789abcdef 2027-01-31T00:00:00Z", "is not until=TIME"),
            ("dash read 0123456789abcdef until=2027-01-31T00:00:00Z x", "three words"),
        ] {
            let found = problems(&format!("ops control fedcba9876543210\n#\n{line}"));
            assert_eq!((found.len(), found[0].line), (1, 3), "{found:?}");
            assert!(found[0].detail.contains(expected), "{found:?}");
            assert!(!found[0].detail.contains("0123456789"), "{found:?}");
        }
        assert_eq!(problems("a\nb").len(), 2);
        assert!(problems("# nobody")[0].detail.contains("no token"));
    }
}
