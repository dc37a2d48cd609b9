//! Reading tokens from a file and from the environment.

use std::path::Path;

use super::ConfigError;
use crate::tokens::Tokens;

/// The tokens of the file and those of the environment; none if neither is given.
pub fn read_tokens(
    file: Option<&Path>,
    environment: Option<&str>,
) -> Result<Option<Tokens>, Vec<ConfigError>> {
    const VARIABLE: &str = "ROLLCALL_TOKENS";
    let mut tokens: Option<Tokens> = None;
    let mut findings = Vec::new();
    let mut take = |place: String, text: std::io::Result<String>| {
        let finding = |line, detail| ConfigError { place: place.clone(), line, detail };
        match text.map(|text| Tokens::parse(&text)) {
            Ok(Ok(more)) => match &mut tokens {
                None => tokens = Some(more),
                Some(known) => findings.extend(known.join(more).err().map(|detail| finding(None, detail))),
            },
            Ok(Err(errors)) => {
                findings.extend(errors.into_iter().map(|error| finding(Some(error.line), error.detail)));
            }
            Err(error) => findings.push(finding(None, format!("the tokens cannot be read: {error}"))),
        }
    };
    if let Some(path) = file {
        take(path.display().to_string(), std::fs::read_to_string(path));
    }
    if let Some(text) = environment {
        take(VARIABLE.to_owned(), Ok(text.to_owned()));
    }
    if findings.is_empty() { Ok(tokens) } else { Err(findings) }
}
