//! Applies the configuration at start, and again on SIGHUP.

use std::ffi::OsString;

use crate::cli::{self, Command, Layers, ServeArgs, as_mistake};
use crate::config::{self, ConfigError};
use crate::contract::configuration::{Configuration, ConfigurationProblem, TokenName};
use crate::contract::rfc3339;
use crate::control::{Control, ResourceKind};
use crate::http::{AdminState, Api};
use crate::server::Config;
use crate::tokens::Tokens;

/// Settings that change without a restart, as the declared memberships and responders do.
const LIVE: [&str; 3] = ["log", "tokens", "tokens_file"];

/// Keeps the running service in line with its configuration.
pub struct Reloader {
    arguments: Vec<OsString>,
    api: Api,
    control: Control,
    admin_state: AdminState,
}

/// A configuration without mistakes.
struct Fresh {
    layers: Layers,
    tokens: Option<Tokens>,
    log: String,
}

impl Reloader {
    /// `arguments`: those that the service was started with.
    pub fn new(arguments: Vec<OsString>, api: Api, control: Control, admin_state: AdminState) -> Self {
        Self { arguments, api, control, admin_state }
    }

    /// Creates the declared resources, and shows the configuration in force. Called once, before the service answers.
    pub async fn start(&mut self, layers: Layers, tokens: Option<Tokens>) {
        let log = self.admin_state.log_filter().configured();
        self.take_over(Fresh { layers, tokens, log }).await;
    }

    /// Reads the whole configuration again. If it has any mistake, nothing changes.
    pub async fn reload(&mut self) {
        let had_tokens = !self.admin_state.configuration().tokens.is_empty();
        let arguments = self.arguments.clone();
        let reading = tokio::task::spawn_blocking(move || read(&arguments, had_tokens));
        match reading.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(fresh) => self.take_over(fresh).await,
            Err(findings) => {
                let mut shown = self.admin_state.configuration();
                shown.reads += 1;
                shown.problems = as_problems(&findings);
                self.admin_state.show(shown);
                tracing::error!("the configuration has mistakes: all is as it was");
            }
        }
    }

    async fn take_over(&mut self, fresh: Fresh) {
        let Fresh { layers, tokens, log } = fresh;
        let configured = self.admin_state.log_filter().configure(&log);
        configured.expect("a filter that the arguments' parser has accepted");
        let names = tokens.iter().flat_map(Tokens::iter).map(|token| TokenName {
            name: token.name().to_string(),
            scope: token.scope().as_str(),
            expires_at: token.until().map(rfc3339),
            until: token.until().map(rfc3339),
        });
        let names = names.collect();
        if let Some(tokens) = tokens {
            self.api.replace_tokens(tokens);
        }
        let refused = config::reconcile(&self.control, &layers.file).await;
        let before = self.admin_state.configuration();
        let mut settings = layers.settings;
        let mut restart_needed = Vec::new();
        for (name, setting) in &mut settings {
            // Settings that were read at start stay in force until the next start.
            if let Some(in_force) = before.settings.get(name)
                && !LIVE.contains(&name.as_str())
            {
                if in_force.value != setting.value {
                    restart_needed.push(name.clone());
                }
                *setting = in_force.clone();
            }
        }
        if !restart_needed.is_empty() {
            tracing::warn!(settings = restart_needed.join(","), "to change these takes a new start");
        }
        let ids = |kind| {
            let declared = layers.file.declared.iter().filter(move |entry| entry.kind == kind);
            declared.map(|entry| entry.id.to_string()).collect::<Vec<_>>()
        };
        let (memberships, responders) = (ids(ResourceKind::Membership), ids(ResourceKind::Responder));
        if let Some(path) = &layers.file.path {
            tracing::info!(
                file = %path.display(),
                memberships = memberships.len(),
                responders = responders.len(),
                "configuration taken over"
            );
        }
        self.admin_state.show(Configuration {
            file: layers.file.path.map(|path| path.display().to_string()),
            reads: before.reads + 1,
            settings,
            memberships,
            responders,
            tokens: names,
            problems: as_problems(&refused),
            restart_needed,
        });
    }
}

/// Reads files and compiles patterns. `had_tokens`: the service has tokens now.
fn read(arguments: &[OsString], had_tokens: bool) -> Result<Fresh, Vec<ConfigError>> {
    let wrong = |detail: String| vec![ConfigError { place: String::new(), line: None, detail }];
    let (cli, layers) = cli::read(arguments).map_err(|error| wrong(error.to_string()))?;
    let Command::Serve(args) = cli.command else {
        return Err(wrong("they do not start the service".to_owned()));
    };
    let tokens = check(&args, &layers)?.access.tokens;
    if tokens.is_none() && had_tokens {
        return Err(wrong("no tokens are left: to let everybody in takes a new start".to_owned()));
    }
    Ok(Fresh { layers, tokens, log: args.log })
}

/// Finds all mistakes that can be found without starting the service.
pub fn check(args: &ServeArgs, layers: &Layers) -> Result<Config, Vec<ConfigError>> {
    let mut findings = layers.findings.clone();
    match args.config(layers) {
        Err(found) => findings.extend(found),
        Ok(config) => match config.check() {
            Ok(()) if findings.is_empty() => return Ok(config),
            Ok(()) => {}
            Err(error) => findings.push(as_mistake(&error, layers)),
        },
    }
    Err(findings)
}

/// Logs the mistakes, and converts them to the API's form.
fn as_problems(findings: &[ConfigError]) -> Vec<ConfigurationProblem> {
    let tell = |finding: &ConfigError| {
        tracing::error!(problem = %finding, "the configuration has a mistake");
        let ConfigError { place, line, detail } = finding.clone();
        ConfigurationProblem { place, line, detail }
    };
    findings.iter().map(tell).collect()
}
