//! The settings, as clap describes the arguments of a command.

use std::any::TypeId;
use std::error::Error;
use std::ffi::{OsStr, OsString};

use clap::builder::{OsStr as ClapStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::DeValue;

use super::values::{quoted, text};

/// The position of a value in the file, and its text or what is wrong with it.
pub(super) type Placed = (usize, Result<String, String>);

/// The arguments of a command that can be set in the environment, and so in a file.
pub struct SettingArgs<'a>(&'a Command);

impl<'a> SettingArgs<'a> {
    pub fn of(command: &'a Command) -> Self {
        Self(command)
    }

    pub fn all(&self) -> impl Iterator<Item = &'a Arg> + use<'a> {
        /// The setting that names the file itself.
        const FILE: &str = "config";
        self.0.get_arguments().filter(|argument| argument.get_env().is_some() && argument.get_id() != FILE)
    }

    /// The texts of a setting's value, of which each must be accepted on a command line; none if there is no such
    /// setting.
    pub(super) fn texts(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<Placed>> {
        let argument = self.all().find(|argument| argument.get_id() == name)?;
        let check = |text: String| self.check(argument, OsStr::new(&text)).map(|()| text);
        Some(texts(value, argument).into_iter().map(|(at, text)| (at, text.and_then(check))).collect())
    }

    /// Whether this variable is a setting, or names the file.
    pub(super) fn has_variable(&self, variable: &str) -> bool {
        self.0.get_arguments().any(|argument| argument.get_env() == Some(OsStr::new(variable)))
    }

    /// Whether the setting's variable may have this value; none if there is no such setting.
    pub(super) fn check_variable(&self, name: &str, value: &OsStr) -> Option<Result<(), String>> {
        let argument = self.all().find(|argument| argument.get_id() == name)?;
        if argument.get_action().takes_values() {
            return Some(self.check(argument, value));
        }
        let is_known = value == "true" || value == "false";
        Some(if is_known { Ok(()) } else { Err(wrong(&value.to_string_lossy(), "use true or false")) })
    }

    /// Whether a command line with this value is accepted.
    pub fn check(&self, argument: &Arg, text: &OsStr) -> Result<(), String> {
        if !argument.get_action().takes_values() {
            return Ok(());
        }
        let mut flag = OsString::from(format!("--{}=", argument.get_long().unwrap_or_default()));
        flag.push(text);
        let mut alone = self.0.clone().mut_args(|argument| argument.env(Resettable::<ClapStr>::Reset));
        let given = alone.try_get_matches_from_mut([OsString::from("serve"), flag]);
        given.map(drop).map_err(|error| reason(&error, &text.to_string_lossy()))
    }

    /// Why there is not a setting of this name in a file.
    pub(super) fn unknown(&self, name: &str) -> String {
        if let Some(flag) = self.only_flag(name) {
            return format!("`{name}` is only a flag: rollcall serve {flag}");
        }
        match self.nearest(name, &["memberships", "responders"]) {
            Some(known) => format!("`{name}` is not a setting: did you mean `{known}`?"),
            None => {
                format!(
                    "`{name}` is not a setting: `rollcall serve --help` lists them, each with `_` for `-`"
                )
            }
        }
    }

    /// Why there is not a setting of this name in the environment.
    pub(super) fn unknown_variable(&self, prefix: &str, name: &str) -> String {
        if let Some(flag) = self.only_flag(&name.to_lowercase()) {
            return format!("this is only a flag: rollcall serve {flag}");
        }
        match self.nearest(&name.to_lowercase(), &["config"]) {
            Some(known) => format!("this is not a setting: did you mean `{prefix}{}`?", known.to_uppercase()),
            None => "this is not a setting: `rollcall serve --help` lists their variables".to_owned(),
        }
    }

    /// The flag of this name that is no setting.
    fn only_flag(&self, name: &str) -> Option<String> {
        let mut flags = self.0.get_arguments().filter(|argument| argument.get_env().is_none());
        let flag = flags.find(|argument| argument.get_id() == name)?;
        flag.get_long().map(|flag| format!("--{flag}"))
    }

    fn nearest(&self, name: &str, others: &[&'static str]) -> Option<&'a str> {
        /// Below this similarity, a name is unlikely to be a typing mistake.
        const ALIKE: f64 = 0.8;
        /// As other programs call the setting `listen`.
        const LISTEN: [&str; 5] = ["addr", "address", "bind", "host", "port"];
        if LISTEN.contains(&name) {
            return Some("listen");
        }
        let names = self.all().map(|argument| argument.get_id().as_str()).chain(others.iter().copied());
        let nearest =
            names.map(|known| (strsim::jaro_winkler(known, name), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        nearest.filter(|(alike, _)| *alike >= ALIKE).map(|(_, known)| known)
    }
}

/// The command-line form of this value, or of each one in a list.
fn texts(value: &Spanned<DeValue<'_>>, argument: &Arg) -> Vec<Placed> {
    let at = value.span().start;
    if !argument.get_action().takes_values() {
        let on = value.get_ref().as_bool().map(|on| on.to_string());
        return vec![(at, on.ok_or_else(|| "use true or false".to_owned()))];
    }
    let is_number = |kind: TypeId| argument.get_value_parser().type_id() == kind;
    let text = if is_number(TypeId::of::<u64>()) || is_number(TypeId::of::<u32>()) { text } else { quoted };
    match value.get_ref() {
        DeValue::Array(items) if matches!(argument.get_action(), ArgAction::Append) => {
            items.iter().map(|item| (item.span().start, text(item.get_ref()))).collect()
        }
        DeValue::Array(_) => vec![(at, Err("it takes one value, not a list".to_owned()))],
        one => vec![(at, text(one))],
    }
}

/// Why clap refuses a value, without a word on command lines.
fn reason(error: &clap::Error, value: &str) -> String {
    let of_context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    // One of a list: the part that is wrong.
    let value = of_context(ContextKind::InvalidValue).unwrap_or_else(|| value.to_owned());
    match (error.kind(), error.source()) {
        (ErrorKind::InvalidValue, _) => {
            let known = of_context(ContextKind::ValidValue).unwrap_or_default();
            if known.is_empty() {
                wrong(&value, "write a value")
            } else {
                wrong(&value, &format!("use one of {known}"))
            }
        }
        (ErrorKind::InvalidUtf8, _) => wrong(&value, "write it in UTF-8"),
        (_, Some(cause)) => wrong(&value, &cause.to_string()),
        (kind, None) => wrong(&value, kind.as_str().unwrap_or("it is not accepted")),
    }
}

fn wrong(value: &str, reason: &str) -> String {
    format!("invalid value '{value}': {reason}")
}
