//! The configuration file: settings by name, and declared memberships and responders.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::SettingArgs;
use super::declaration::read;
use super::error::ConfigError;
use super::syntax::advice;
use super::values::json;
use crate::control::{JoinRequest, ResourceKind, Settings};
use crate::model::Id;

/// The accepted content of a file, and the mistakes in the rest.
#[derive(Debug, Default)]
pub struct ConfigFile {
    pub path: Option<PathBuf>,
    pub declared: Vec<Declared>,
    pub findings: Vec<ConfigError>,
    /// Names of settings, with their values as texts.
    pub values: Vec<(String, Vec<String>)>,
    /// Lines that are no TOML: the values that the parser recovers from them mean nothing.
    malformed: Vec<usize>,
}

/// A membership or responder that exists as long as the file declares it.
#[derive(Debug)]
pub struct Declared {
    pub kind: ResourceKind,
    pub id: Id,
    pub request: JoinRequest,
    pub line: usize,
}

impl ConfigFile {
    pub fn read(path: &Path, settings: &SettingArgs<'_>) -> Self {
        let mut file = Self { path: Some(path.to_owned()), ..Self::default() };
        match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => file.take(&text, settings),
            Ok(Err(_)) => file.find(None, "the file is not UTF-8: save it as UTF-8".to_owned()),
            Err(error) => file.find(None, format!("it cannot be read: {error}")),
        }
        file.findings.sort_by_key(|finding| finding.line);
        file
    }

    /// Why it declares more than there may be, if it does.
    pub fn too_many_declared(&self, settings: &Settings) -> Vec<ConfigError> {
        let limits = [
            (ResourceKind::Membership, settings.max_memberships),
            (ResourceKind::Responder, settings.max_responders),
        ];
        let beyond = |(kind, max): (ResourceKind, usize)| {
            let first = self.declared.iter().filter(|declared| declared.kind == kind).nth(max)?;
            let place = self.path.as_deref().unwrap_or(Path::new("")).display().to_string();
            let detail = format!("{kind} `{}`: there may be {max} of them: raise `max_{kind}s`", first.id);
            Some(ConfigError { place, line: Some(first.line), detail })
        };
        limits.into_iter().filter_map(beyond).collect()
    }

    fn take(&mut self, text: &str, settings: &SettingArgs<'_>) {
        let line_of = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = line_of(error.span().map_or(0, |span| span.start));
            // The first mistake in a line causes the others.
            if !self.malformed.contains(&line) {
                self.malformed.push(line);
                self.find(Some(line), advice(text, error.span(), error.message()));
            }
        }
        for (key, value) in table.get_ref() {
            let (name, line) = (key.get_ref().as_ref(), line_of(key.span().start));
            if self.malformed.contains(&line) {
                continue;
            }
            match name {
                "memberships" => self.declare(ResourceKind::Membership, value, line, &line_of),
                "responders" => self.declare(ResourceKind::Responder, value, line, &line_of),
                _ => match settings.texts(name, value) {
                    Some(placed) => {
                        let mut texts = Vec::new();
                        let all = placed.len();
                        for (at, text) in placed {
                            match text {
                                Ok(text) => texts.push(text),
                                Err(detail) => self.find(Some(line_of(at)), format!("{name}: {detail}")),
                            }
                        }
                        if texts.len() == all {
                            self.values.push((name.to_owned(), texts));
                        }
                    }
                    // After a syntax error the name may be anything.
                    None if errors.is_empty() => self.find(Some(line), settings.unknown(name)),
                    None => {}
                },
            }
        }
    }

    fn declare(
        &mut self,
        kind: ResourceKind,
        value: &Spanned<DeValue<'_>>,
        line: usize,
        line_of: &impl Fn(usize) -> usize,
    ) {
        let Some(table) = value.get_ref().as_table() else {
            return self.find(Some(line), format!("declare each {kind} in a table of its own: [{kind}s.ID]"));
        };
        for (key, value) in table {
            let (text, line) = (key.get_ref().as_ref(), line_of(key.span().start));
            let id = Id::parse(text);
            if let Err(error) = &id {
                self.find(Some(line), format!("`{text}` cannot be the id of a {kind}: {error}"));
            }
            let Value::Object(fields) = json(value.get_ref()) else {
                self.find(Some(line), format!("{kind} `{text}`: declare it in a table: [{kind}s.{text}]"));
                continue;
            };
            match (read(kind, fields), id) {
                (Ok(request), Ok(id)) => self.declared.push(Declared { kind, id, request, line }),
                (Ok(_), Err(_)) => {}
                (Err(errors), _) => {
                    for error in errors {
                        let line = position(value, &error.pointer).map_or(line, line_of);
                        if self.malformed.contains(&line) {
                            continue;
                        }
                        let field = error.pointer.trim_start_matches('/').replace('/', ".");
                        let name = field.rsplit('.').next().unwrap_or_default();
                        let is_named =
                            [&*field, name].iter().any(|name| error.fact.contains(&format!("`{name}`")));
                        let field =
                            if field.is_empty() || is_named { String::new() } else { format!("{field}: ") };
                        self.find(Some(line), format!("{kind} `{text}`: {field}{error}"));
                    }
                }
            }
        }
    }

    fn find(&mut self, line: Option<usize>, detail: String) {
        let place = self.path.as_deref().unwrap_or(Path::new("")).display().to_string();
        self.findings.push(ConfigError { place, line, detail });
    }
}

/// The text position of the field that a JSON pointer names, or of the nearest one around it.
fn position(value: &Spanned<DeValue<'_>>, pointer: &str) -> Option<usize> {
    let (mut value, mut found) = (value, None);
    for token in pointer.split('/').skip(1) {
        let (at, next) = match value.get_ref() {
            DeValue::Table(table) => {
                let Some((key, next)) = table.iter().find(|(key, _)| key.get_ref() == token) else { break };
                (key.span().start, next)
            }
            DeValue::Array(items) => {
                let Some(item) = token.parse().ok().and_then(|at: usize| items.get(at)) else { break };
                (item.span().start, item)
            }
            _ => break,
        };
        (value, found) = (next, Some(at));
    }
    found
}
