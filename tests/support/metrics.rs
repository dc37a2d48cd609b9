//! The rows of `/metrics`.

use super::client::Client;

pub(crate) struct Metrics {
    pub(crate) text: String,
}

impl Metrics {
    pub(crate) async fn of(client: &Client) -> Self {
        let reply = client.get("/metrics").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self { text: String::from_utf8(reply.body.to_vec()).expect("text") }
    }

    /// The count in a row, by its name and labels, as in `rollcall_drops_total{cause="kernel"}`.
    #[track_caller]
    pub(crate) fn count(&self, row: &str) -> u64 {
        self.value(row).parse().expect("a whole number")
    }

    #[track_caller]
    pub(crate) fn seconds(&self, row: &str) -> f64 {
        self.value(row).parse().expect("a number")
    }

    #[track_caller]
    fn value(&self, row: &str) -> &str {
        let value = self.text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {row} in\n{}", self.text))
    }
}
