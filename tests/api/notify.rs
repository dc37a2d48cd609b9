//! Notifications to a service manager, as its socket receives them.

use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::support::program::{Program, Scratch};

#[tokio::test]
async fn the_service_notifies_its_manager_when_it_is_ready_alive_and_stopping() {
    let manager = Manager::new();
    let mut program = Program::start_under(&["env", &manager.socket(), "WATCHDOG_USEC=20000"]);

    assert_eq!(manager.receive().await, "READY=1");
    program.get("/livez").await.expect(200);
    assert_eq!(manager.receive().await, "WATCHDOG=1");
    assert_eq!(manager.receive().await, "WATCHDOG=1");
    program.signal("TERM");
    let mut last = manager.receive().await;
    while last == "WATCHDOG=1" {
        last = manager.receive().await;
    }

    assert_eq!(last, "STOPPING=1");
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_manager_without_a_watchdog_gets_no_keep_alives() {
    for watchdog in ["WATCHDOG_USEC=0", "WATCHDOG_USEC=20000 WATCHDOG_PID=1", "WATCHDOG_USEC=soon"] {
        let manager = Manager::new();
        let settings = manager.socket();
        let mut wrapper = vec!["env", settings.as_str()];
        wrapper.extend(watchdog.split(' '));
        let mut program = Program::start_under(&wrapper);

        assert_eq!(manager.receive().await, "READY=1");
        program.signal("TERM");
        assert_eq!(manager.receive().await, "STOPPING=1", "{watchdog}");
        assert_eq!(program.ended().await.code(), Some(0));
    }
}

/// Stands where systemd would.
struct Manager {
    socket: UnixDatagram,
    scratch: Scratch,
}

impl Manager {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self { socket: UnixDatagram::bind(scratch.path("notify")).expect("a socket"), scratch }
    }

    /// As the variable that names it.
    fn socket(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.scratch.path("notify").display())
    }

    /// The next notification.
    async fn receive(&self) -> String {
        let mut notification = [0; 256];
        let receiving = tokio::time::timeout(Duration::from_secs(10), self.socket.recv(&mut notification));
        let length = receiving.await.expect("a notification").expect("a socket");
        String::from_utf8_lossy(&notification[..length]).trim_end().to_owned()
    }
}
