//! Selectors: conditions on labels, in the syntax of Kubernetes.

use super::labels::{LabelError, Labels, check_key, check_value};
use super::limits;

/// Conditions on the labels of a resource, of which all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    /// One of these: sorted.
    In(Vec<String>),
    /// None of these, which also holds without the label: sorted.
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads `KEY=VALUE`, `KEY==VALUE`, `KEY!=VALUE`, `KEY in (VALUE,…)`, `KEY notin (VALUE,…)`, `KEY` and `!KEY`,
    /// several of them separated by commas.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirements = conditions(text).map(Requirement::parse).collect::<Result<Vec<_>, _>>()?;
        if requirements.len() > limits::LABELS {
            return Err(SelectorError::TooMany);
        }
        Ok(Self(requirements))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }
}

/// The parts between the commas that are not in parentheses.
fn conditions(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.is_empty() {
            return Err(SelectorError::NoCondition);
        }
        if let Some((before, values)) = text.split_once('(') {
            return Self::parse_set(before, values);
        }
        if let Some((before, value)) = text.split_once('=') {
            let value = vec![read_value(value.strip_prefix('=').unwrap_or(value))?];
            return match before.strip_suffix('!') {
                Some(key) => Self::new(key, Test::NotIn(value)),
                None => Self::new(before, Test::In(value)),
            };
        }
        if let Some(key) = text.strip_prefix('!') {
            return Self::new(key, Test::Absent);
        }
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [key] => Self::new(key, Test::Exists),
            [_, "in" | "notin", ..] => Err(SelectorError::Parentheses),
            _ => Err(SelectorError::Condition),
        }
    }

    /// A condition on several values: the text before `(`, and the one after it.
    fn parse_set(before: &str, values: &str) -> Result<Self, SelectorError> {
        let values = values.strip_suffix(')').ok_or(SelectorError::Parentheses)?;
        let mut values = values.split(',').map(read_value).collect::<Result<Vec<_>, _>>()?;
        values.sort_unstable();
        values.dedup();
        match before.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => Self::new(key, Test::In(values)),
            [key, "notin"] => Self::new(key, Test::NotIn(values)),
            _ => Err(SelectorError::Parentheses),
        }
    }

    fn new(key: &str, test: Test) -> Result<Self, SelectorError> {
        let key = key.trim();
        if key.contains(['<', '>', '!', ' ']) {
            return Err(SelectorError::Condition);
        }
        check_key(key)?;
        Ok(Self { key: key.to_owned(), test })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let is_one_of = |values: &[String]| {
            value.is_some_and(|value| values.binary_search_by(|one| one.as_str().cmp(value)).is_ok())
        };
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => is_one_of(values),
            Test::NotIn(values) => !is_one_of(values),
        }
    }
}

fn read_value(text: &str) -> Result<String, SelectorError> {
    let value = text.trim();
    check_value(value)?;
    Ok(value.to_owned())
}

/// What to write instead of a text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("write a condition before and after each comma, as in site=lab,role!=test")]
    NoCondition,
    #[error("write site=lab, site!=lab, site in (lab,office), site notin (lab,office), site or !site")]
    Condition,
    #[error("write several values after `in` or `notin`, in parentheses, as in site in (lab,office)")]
    Parentheses,
    #[error("give at most {max} conditions", max = limits::LABELS)]
    TooMany,
    #[error(transparent)]
    Label(#[from] LabelError),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the labels `site=lab`, `site=office,role=test`, `role=` and none a selector matches.
    const TABLE: &[(&str, [bool; 4])] = &[
        ("site", [true, true, false, false]),
        ("!site", [false, false, true, true]),
        ("! site ", [false, false, true, true]),
        ("site=lab", [true, false, false, false]),
        (" site == lab ", [true, false, false, false]),
        ("site!=lab", [false, true, true, true]),
        ("site != lab", [false, true, true, true]),
        ("site in (lab)", [true, false, false, false]),
        ("site in (office, lab)", [true, true, false, false]),
        ("site  in(lab,lab)", [true, false, false, false]),
        ("site notin (lab)", [false, true, true, true]),
        ("site notin (office,lab)", [false, false, true, true]),
        ("role=", [false, false, true, false]),
        ("role!=", [true, true, false, true]),
        ("role in ()", [false, false, true, false]),
        ("role in (,test)", [false, true, true, false]),
        ("site=lab,role!=test", [true, false, false, false]),
        ("site in (lab,office),role=test", [false, true, false, false]),
        ("site,!role", [true, false, false, false]),
        ("site=lab,site=office", [false, false, false, false]),
        ("example.com/site=lab", [false, false, false, false]),
        ("in=lab", [false, false, false, false]),
        ("notin", [false, false, false, false]),
    ];

    #[test]
    fn selectors_match_labels() {
        let labels = ["site=lab", "site=office,role=test", "role="].map(|text| Labels::parse(text).unwrap());
        let [lab, office, role] = labels;
        for (text, expected) in TABLE {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let matched = [&lab, &office, &role, &Labels::default()].map(|labels| selector.matches(labels));
            assert_eq!(matched, *expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let key = |key: &str| SelectorError::Label(LabelError::Key(key.to_owned()));
        let value = |value: &str| SelectorError::Label(LabelError::Value(value.to_owned()));
        for (text, expected) in [
            ("", SelectorError::NoCondition),
            (" ", SelectorError::NoCondition),
            (",", SelectorError::NoCondition),
            ("site=lab,", SelectorError::NoCondition),
            ("site=lab,,role", SelectorError::NoCondition),
            ("site lab", SelectorError::Condition),
            ("site>5", SelectorError::Condition),
            ("site >= 5", SelectorError::Condition),
            ("!!site", SelectorError::Condition),
            ("!site=lab", SelectorError::Condition),
            ("site in lab", SelectorError::Parentheses),
            ("site in (lab", SelectorError::Parentheses),
            ("site in (lab) x", SelectorError::Parentheses),
            ("site (lab)", SelectorError::Parentheses),
            ("site=(lab)", SelectorError::Parentheses),
            ("in (lab)", SelectorError::Parentheses),
            ("site in (lab,(office))", value("(office)")),
            ("site)", key("site)")),
            ("=lab", key("")),
            ("!", key("")),
            ("-site", key("-site")),
            ("site===lab", value("=lab")),
            ("site=a b", value("a b")),
        ] {
            assert_eq!(Selector::parse(text), Err(expected), "{text}");
        }
        let many = |count| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
        assert!(Selector::parse(&many(64)).is_ok());
        assert_eq!(Selector::parse(&many(65)), Err(SelectorError::TooMany));
    }
}
