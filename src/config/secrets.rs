//! Reading tokens from a file and from the setting `tokens`.

use std::path::Path;

use super::ConfigError;
use crate::tokens::Tokens;

/// The setting `tokens`.
#[derive(Clone, Copy)]
pub struct GivenTokens<'a> {
    pub lines: &'a str,
    /// The configuration file that has it; none: the environment.
    pub file: Option<&'a Path>,
}

/// The tokens of the file and those of the setting; none if neither is given.
pub fn read_tokens(
    file: Option<&Path>,
    given: Option<GivenTokens<'_>>,
) -> Result<Option<Tokens>, Vec<ConfigError>> {
    const VARIABLE: &str = "ROLLCALL_TOKENS";
    let mut tokens: Option<Tokens> = None;
    let mut findings = Vec::new();
    let mut take =
        |text: std::io::Result<String>, finding: &dyn Fn(Option<usize>, String) -> ConfigError| match text
            .map(|text| Tokens::parse(&text))
        {
            Ok(Ok(more)) => match &mut tokens {
                None => tokens = Some(more),
                Some(known) => findings.extend(known.join(more).err().map(|detail| finding(None, detail))),
            },
            Ok(Err(errors)) => {
                findings.extend(errors.into_iter().map(|error| finding(Some(error.line), error.detail)));
            }
            Err(error) => findings.push(finding(None, format!("the tokens cannot be read: {error}"))),
        };
    if let Some(path) = file {
        let place = path.display().to_string();
        take(std::fs::read_to_string(path), &|line, detail| ConfigError {
            place: place.clone(),
            line,
            detail,
        });
    }
    if let Some(GivenTokens { lines, file }) = given {
        take(Ok(lines.to_owned()), &|line, detail| match file {
            // The lines of the text are not those of the file.
            Some(path) => {
                let place = path.display().to_string();
                let line = line.filter(|_| lines.trim().contains('\n'));
                let line = line.map_or_else(String::new, |line| format!("line {line}: "));
                ConfigError { place, line: None, detail: format!("tokens: {line}{detail}") }
            }
            None => ConfigError { place: VARIABLE.to_owned(), line, detail },
        });
    }
    if findings.is_empty() { Ok(tokens) } else { Err(findings) }
}
