//! The filter that decides, by level and module, what is logged; it can be changed while the service runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::sync::Lock;

/// Decides whether a line is logged; cheap to clone.
#[derive(Clone)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// Std lock: held to copy, and while the filter is replaced, so that text and filter agree. After a panic under it
    /// they may differ; then only the text that is shown is wrong.
    texts: Arc<Mutex<Texts>>,
}

struct Texts {
    current: String,
    configured: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error(
        "`{text}` is not a log filter ({reason}): use error, warn, info, debug or trace, or per module as in `info,rollcall::net=debug`"
    )]
    Syntax { text: String, reason: String },
    #[error("a log filter has 1 to {} characters", LogFilter::MAX_LENGTH)]
    Length,
}

impl LogFilter {
    const MAX_LENGTH: usize = 4_096;

    /// A filter, and the layer that applies it.
    pub(super) fn new(text: &str) -> Result<(reload::Layer<EnvFilter, Registry>, Self), FilterError> {
        let (layer, handle) = reload::Layer::new(parse(text)?);
        let texts = Texts { current: text.to_owned(), configured: text.to_owned() };
        Ok((layer, Self { handle, texts: Arc::new(Mutex::new(texts)) }))
    }

    /// Checks that a text is a filter.
    pub fn check(text: &str) -> Result<(), FilterError> {
        parse(text).map(|_| ())
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        self.texts().current.clone()
    }

    /// The configured filter.
    pub fn configured(&self) -> String {
        self.texts().configured.clone()
    }

    /// Applies this filter until another one is set or configured.
    pub fn set(&self, text: &str) -> Result<(), FilterError> {
        self.set_if(text, |_, _| true).map(|_| ())
    }

    /// The same, if `holds` accepts the current and the configured filter; returns whether it did.
    pub fn set_if(&self, text: &str, holds: impl FnOnce(&str, &str) -> bool) -> Result<bool, FilterError> {
        let filter = parse(text)?;
        let mut texts = self.texts();
        if !holds(&texts.current, &texts.configured) {
            return Ok(false);
        }
        // This fails only if the layer is gone: then there is no log to filter.
        let _ = self.handle.reload(filter);
        text.clone_into(&mut texts.current);
        Ok(true)
    }

    /// Applies a filter that was newly configured.
    pub fn configure(&self, text: &str) -> Result<(), FilterError> {
        self.set(text)?;
        text.clone_into(&mut self.texts().configured);
        Ok(())
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock_own()
    }
}

/// The filter of a process that has no log.
impl Default for LogFilter {
    fn default() -> Self {
        Self::new("info").expect("a filter").1
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.current()).finish()
    }
}

fn parse(text: &str) -> Result<EnvFilter, FilterError> {
    if !(1..=LogFilter::MAX_LENGTH).contains(&text.len()) {
        return Err(FilterError::Length);
    }
    // A mistyped level would count as a module's name, and silence everything else.
    let mistyped = |word: &&&str| !word.contains(['=', ':']) && word.parse::<LevelFilter>().is_err();
    // The parser of `EnvFilter` fails its own assertions when it compares filters by field.
    if text.contains(['[', ']', '{', '}']) {
        let reason = "filters by span or field are not supported".to_owned();
        return Err(FilterError::Syntax { text: text.to_owned(), reason });
    }
    let words: Vec<_> = text.split(',').map(str::trim).collect();
    if let Some(word) = words.iter().find(mistyped) {
        let reason = format!("`{word}` is not a level");
        return Err(FilterError::Syntax { text: text.to_owned(), reason });
    }
    // Filters come from clients: they get no regular expressions to run on every line. The parser counts characters in
    // the trimmed word, and cuts the untrimmed one: white space before a word makes it misread the word, or panic.
    let parsed = EnvFilter::builder().with_regex(false).parse(words.join(","));
    parsed.map_err(|error| FilterError::Syntax { text: text.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_in_a_filter_is_ignored() {
        let filter = parse(" info,\trollcall::net=debug ").unwrap();
        assert_eq!(filter.to_string(), parse("info,rollcall::net=debug").unwrap().to_string());
        assert!(parse("info,\t\u{fffd}[span{field=1}]").is_err());
    }

    #[test]
    fn filters_by_span_or_field_are_refused() {
        for text in ["[span]=trace", "a[span{field=0}]=trace,[span{field=0}]=trace", "info,{"] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains("by span or field"), "{refused}");
        }
    }
}
