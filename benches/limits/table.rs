use std::fmt::Write;

/// How often each side of a row is measured, taking turns.
pub(crate) const ROUNDS: usize = 5;

/// The measurements so far.
pub(crate) struct Table {
    words: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    ours: Option<f64>,
    bare: Option<f64>,
    ratio: Option<f64>,
    bound: Bound,
}

/// The bound of a row.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// The ratio ours ÷ bare is at most this; and aims for that.
    AtMost(f64, f64),
    /// The ratio ours ÷ bare is at least this; and aims for that.
    AtLeast(f64, f64),
    /// Our figure itself is at most this; and aims for that.
    Within(f64, f64),
    Report,
}

impl Table {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words, rows: Vec::new() }
    }

    /// Whether the arguments select the row.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let selected = self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()));
        if selected {
            eprintln!("{name} …");
        }
        selected
    }

    /// A row of pairs (ours, bare), measured by turns.
    pub(crate) fn pairs(&mut self, name: &str, unit: &'static str, bound: Bound, pairs: &[(f64, f64)]) {
        let column = |of: fn(&(f64, f64)) -> f64| median(pairs.iter().map(of).collect());
        self.push(Row {
            name: name.to_owned(),
            unit,
            ours: column(|pair| pair.0),
            bare: column(|pair| pair.1),
            ratio: column(|pair| pair.0 / pair.1),
            bound,
        });
    }

    /// A row of our own figures.
    pub(crate) fn alone(&mut self, name: &str, unit: &'static str, bound: Bound, figures: &[f64]) {
        let ours = median(figures.to_vec());
        self.push(Row { name: name.to_owned(), unit, ours, bare: None, ratio: None, bound });
    }

    fn push(&mut self, row: Row) {
        eprintln!("  {}", row.text());
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        println!("{:<58} {:>12} {:>12} {:>8}  {:<16}", "row", "ours", "bare", "ratio", "bound (aim)");
        for row in &self.rows {
            println!("{}", row.text());
        }
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("{}", serde_json::json!({"kernel": kernel.trim(), "cores": cores, "rows": rows}));
    }
}

impl Row {
    fn text(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        let name = format!("{} [{}]", self.name, self.unit);
        let mut text = format!(
            "{name:<58} {:>12} {:>12} {:>8}  ",
            number(self.ours),
            number(self.bare),
            number(self.ratio)
        );
        let (bound, reached) = self.verdict();
        let _ = write!(text, "{bound:<16} {reached}");
        text
    }

    fn verdict(&self) -> (String, &'static str) {
        let word = |value: Option<f64>, least: bool, must: f64, aim: f64| {
            let reaches =
                |bound: f64| value.is_some_and(|value| if least { value >= bound } else { value <= bound });
            if reaches(aim) {
                "aim"
            } else if reaches(must) {
                "ok"
            } else {
                "SHORT"
            }
        };
        match self.bound {
            Bound::AtMost(must, aim) => (format!("<= {must} ({aim})"), word(self.ratio, false, must, aim)),
            Bound::AtLeast(must, aim) => (format!(">= {must} ({aim})"), word(self.ratio, true, must, aim)),
            Bound::Within(must, aim) => (format!("<= {must} ({aim})"), word(self.ours, false, must, aim)),
            Bound::Report => (String::new(), ""),
        }
    }

    fn json(&self) -> serde_json::Value {
        let (bound, reached) = self.verdict();
        serde_json::json!({
            "row": self.name, "unit": self.unit, "ours": self.ours, "bare": self.bare, "ratio": self.ratio,
            "bound": bound, "reached": reached,
        })
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
