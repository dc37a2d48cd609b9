//! A program in a host, with its output line by line.
//!
//! Threads: one reader for each of the program's two streams, ended by its end of file, and one
//! starter for all programs of the test process ([`start`]).

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Killed and reaped when dropped; what it printed is shown when that is because a test failed.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Standard output and standard error, in the order of arrival.
    lines: Vec<String>,
    /// Streams that have not ended.
    open: usize,
}

impl Process {
    const LINE_LIMIT: Duration = Duration::from_secs(20);
    const EXIT_LIMIT: Duration = Duration::from_secs(30);

    pub(super) fn start(name: String, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = Arc::new(Output {
            state: Mutex::new(State { lines: Vec::new(), open: 2 }),
            changed: Condvar::new(),
        });
        read(child.stdout.take().expect("piped"), &output);
        read(child.stderr.take().expect("piped"), &output);
        Self { name, child, output }
    }

    /// The first line that contains `needle`, out of all that the program ever prints. Panics
    /// with the output so far when the program ends without it or 20 s have passed.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, needle: &str) -> String {
        let find = |state: &State| state.lines.iter().find(|l| l.contains(needle)).cloned();
        let state = self.output.wait_while(Self::LINE_LIMIT, |s| s.open > 0 && find(s).is_none());
        let (found, open) = (find(&state), state.open);
        drop(state);
        let Some(line) = found else {
            let end = if open == 0 { " before its end" } else { "" };
            panic!("{}: no {needle:?}{end} in\n{}", self.name, self.text());
        };
        line
    }

    /// Waits for the end of the program. Panics when that takes more than 30 s.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + Self::EXIT_LIMIT;
        drop(self.output.wait_while(Self::EXIT_LIMIT, |s| s.open > 0));
        // Its streams are closed, so what is left is at most a moment.
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status, self.lines());
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{} still runs after\n{}", self.name, self.text());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its output so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.output.lock().lines.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its number.
    #[track_caller]
    pub(crate) fn signal(&self, signal: i32) {
        let kill = format!("kill -{signal} {}", self.pid());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill}");
    }

    /// Ends it as `kill -9` does, and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- {} printed\n{}", self.name, self.text());
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    fn wait_while(&self, limit: Duration, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| condition(state))
            .expect("no panic while locked");
        state
    }
}

fn read(stream: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.lock().lines.push(text);
            output.changed.notify_all();
            line.clear();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    });
}

/// Starts every program from one thread that lives as long as the test process.
///
/// The programs carry a parent-death signal, so that they end with a test process that is
/// killed. The kernel sends it when the *thread* that forked ends (prctl(2)), and a thread of a
/// test may be a short-lived one, as those of `spawn_blocking` are.
fn start(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

    let starter = STARTER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, response) in queue {
                let _ = response.send(command.spawn());
            }
        });
        orders
    });
    let (response, started) = mpsc::channel();
    starter.send((command, response)).expect("the starter never ends");
    started.recv().expect("the starter answers")
}
