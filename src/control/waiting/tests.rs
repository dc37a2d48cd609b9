use std::future::pending;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};

use super::*;
use crate::control::{Condition, Control, Outcome, ResourceKind, fixtures};
use crate::model::Id;
use crate::store::{Budget, Log, Persist, StoreSettings};

#[tokio::test]
async fn all_waits_of_a_request_share_one_limit() {
    let request = async {
        assert_eq!(within(Done::Nothing, async { 1 }).await.ok(), Some(1));
        let first = within(Done::Sent(2), pending::<()>()).await;
        assert!(matches!(first, Err(ControlError::TimedOut { done: Done::Sent(2) })));
        assert!(LEFT.with(Cell::get).is_zero(), "nothing is left for the next");
        let second = within(Done::Created, pending::<()>()).await;
        assert!(matches!(second, Err(ControlError::TimedOut { done: Done::Created })));
    };
    limited(SHORT, request).await;
}

#[tokio::test]
async fn a_put_times_out_on_a_hanging_disk_and_its_repetition_completes() {
    let disk = HangingDisk::start().await;
    let (control, id, request) = (&disk.control, Id::parse("kept").unwrap(), fixtures::on_lo());

    let created = limited(SHORT, control.join_as(id.clone(), request.clone(), &Condition::NONE)).await;
    assert!(matches!(created, Err(ControlError::TimedOut { done: Done::Created })));
    let membership = control.membership(ResourceKind::Membership, &id).expect("it is there");
    let changed = limited(SHORT, control.join_as(id.clone(), request.clone(), &Condition::NONE)).await;
    assert!(matches!(changed, Err(ControlError::TimedOut { done: Done::Changed })));

    disk.go_on();
    let (again, outcome) = control.join_as(id.clone(), request, &Condition::NONE).await.unwrap();
    assert!(Arc::ptr_eq(&membership, &again) && outcome == Outcome::Existed);
    disk.control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_slow_deletion_continues_and_a_second_delete_waits_for_it() {
    let disk = HangingDisk::start().await;
    let (control, id) = (&disk.control, Id::parse("kept").unwrap());
    let created = limited(SHORT, control.join_as(id.clone(), fixtures::on_lo(), &Condition::NONE)).await;
    assert!(matches!(created, Err(ControlError::TimedOut { .. })));

    for _ in 0..2 {
        let deleted = limited(SHORT, control.leave(ResourceKind::Membership, &id, &Condition::NONE)).await;
        assert!(matches!(deleted, Err(ControlError::TimedOut { done: Done::DeletionUnderWay })));
        assert!(control.membership(ResourceKind::Membership, &id).is_err(), "nobody finds it");
    }

    disk.go_on();
    control.leave(ResourceKind::Membership, &id, &Condition::NONE).await.expect("it is deleted");
    let gone = control.leave(ResourceKind::Membership, &id, &Condition::NONE).await;
    assert!(matches!(gone, Err(ControlError::NotFound { .. })));
    disk.control.shutdown().await.unwrap();
}

/// A short limit for a request.
const SHORT: Duration = Duration::from_millis(50);

/// A core whose disk writer is blocked in an owner until the test lets it continue.
struct HangingDisk {
    control: Control,
    directory: PathBuf,
    go_on: Sender<()>,
    _owner: Arc<SilentOwner>,
}

struct SilentOwner {
    called: Sender<()>,
    may_return: Mutex<Receiver<()>>,
}

impl HangingDisk {
    async fn start() -> Self {
        let unique = format!("rollcall-waiting-{}", Id::generate());
        let directory = std::env::temp_dir().join(unique);
        let store = StoreSettings {
            directory: directory.clone(),
            flush: Duration::from_millis(1),
            memory_bytes: 1 << 26,
        };
        let control = Control::start(crate::control::Settings { store: Some(store), ..fixtures::settings() });
        let control = control.await.unwrap();
        let ((called, is_called), (go_on, may_return)) = (channel(), channel());
        let owner = Arc::new(SilentOwner { called, may_return: Mutex::new(may_return) });
        let store = control.store().unwrap();
        let budget = Arc::new(Budget::new(usize::MAX, None));
        let log = Arc::new(Log::new(fixtures::settings().log_limits, budget, Some(store.new_handle())));
        log.persist("membership", "silent", Arc::downgrade(&owner) as Weak<dyn Persist>, true);
        tokio::task::spawn_blocking(move || is_called.recv()).await.unwrap().unwrap();
        log.close();
        Self { control, directory, go_on, _owner: owner }
    }

    fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Persist for SilentOwner {
    fn spec(&self) -> String {
        let _ = self.called.send(());
        let _ = self.may_return.lock().unwrap().recv();
        "{}".to_owned()
    }

    fn status(&self) -> String {
        "{}".to_owned()
    }
}
