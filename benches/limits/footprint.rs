//! Memory and idleness.

use std::time::Duration;

use serde_json::json;

use crate::peer::{Service, cpu_ns, resident};
use crate::table::{Bound, ROUNDS, Table};

const COUNT: usize = 10_000;

pub(crate) fn rows(table: &mut Table) {
    each(
        table,
        "memory of each of 10,000 memberships",
        "/v1/memberships",
        |nth| json!({"group": format!("239.9.{}.{}:7005", nth / 250, nth % 250), "interfaces": ["lo"]}),
    );
    each(
        table,
        "memory of each of 10,000 collecting messages",
        "/v1/messages",
        |_| json!({"group": "239.7.3.1:7006", "payload": "hello", "interfaces": ["lo"], "window_ms": 600_000}),
    );
    idle(table);
}

fn each(table: &mut Table, name: &str, path: &str, body: impl Fn(usize) -> serde_json::Value) {
    if !table.wants(name) {
        return;
    }
    let (mut ours, mut kernel) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        let mut connection = service.client.connect().expect("a connection");
        let (before, slab) = (resident(service.pid()), kernel_memory());
        for nth in 0..COUNT {
            let (status, answer) = connection.request("POST", path, &body(nth).to_string());
            assert!(status < 300, "{}", String::from_utf8_lossy(&answer));
        }
        ours.push((resident(service.pid()) - before) as f64 / COUNT as f64);
        kernel.push((kernel_memory().saturating_sub(slab)) as f64 / COUNT as f64);
    }
    table.alone(name, "B", Bound::Within(8_192.0, 2_048.0), &ours);
    table.alone(&format!("{name}: kernel"), "B", Bound::Report, &kernel);
}

/// Bytes of the kernel's slab caches (proc(5), `meminfo`).
fn kernel_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn idle(table: &mut Table) {
    if !table.wants("idle") {
        return;
    }
    let (mut memory, mut cpu, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        ready.push(service.ready_after.as_secs_f64() * 1e3);
        memory.push(resident(service.pid()) as f64 / 1024.0 / 1024.0);
    }
    let service = Service::start(&[]);
    std::thread::sleep(Duration::from_millis(500));
    let before = cpu_ns(service.pid());
    std::thread::sleep(Duration::from_secs(10));
    cpu.push((cpu_ns(service.pid()) - before) as f64 / 1e9);
    table.alone("idle: resident", "MiB", Bound::Within(15.0, 8.0), &memory);
    table.alone("idle: CPU in 10 s", "s", Bound::Within(0.005, 0.0), &cpu);
    table.alone("idle: start to /readyz", "ms", Bound::Within(100.0, 30.0), &ready);
}
