//! The real binary, run as a person would run it: on free ports, with stores in temporary folders.
#![allow(dead_code, reason = "each test crate uses its own part of this module")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that should happen at once. Only a broken build ever waits that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these arguments, without what the caller's environment says about RocketMQ or colours.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq"));
    command
        .args(arguments)
        .env_remove("NAMESRV_ADDR")
        .env_remove("COLUMNS")
        .env_remove("RMQ_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// What one run printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().expect("it was not killed"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, showing both streams if it is another.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Ran {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    /// stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|bad| panic!("{bad}: {}\n{}", self.stdout, self.stderr))
    }

    /// stdout as one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect()
    }
}

/// Runs the binary to its end.
pub fn rmq(arguments: &[&str]) -> Ran {
    Ran::of(command(arguments).output().expect("the binary runs"))
}

/// Runs the binary to its end with these bytes on stdin.
pub fn rmq_reading(arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    let bytes = stdin.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&bytes));
    let output = child.wait_with_output().expect("the binary ends");
    let _closed_early = writer.join().expect("the writer does not panic");
    Ran::of(output)
}

/// A server process. Killed when dropped.
pub struct Server {
    child: Child,
    /// The object it printed when it was ready.
    pub ready: Value,
    stderr: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts `rmq broker start` on free ports with its store in `store`, and waits until it is ready.
    pub fn broker(store: &Path, arguments: &[&str]) -> Server {
        let store = store.to_str().expect("temporary folders have plain names");
        let name: &[&str] = if arguments.contains(&"--name") {
            &[]
        } else {
            &["--name", "broker-a"]
        };
        let listen = [
            "broker",
            "start",
            "--json",
            "--store",
            store,
            "--listen",
            "127.0.0.1:0",
        ];
        Server::start(&[&listen, name, arguments].concat())
    }

    /// Starts a server and waits until it prints its ready object.
    pub fn start(arguments: &[&str]) -> Server {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ended = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        stdout.read_line(&mut line).expect("stdout is readable");
        let Ok(ready) = serde_json::from_str(&line) else {
            let _ended = child.wait();
            panic!(
                "no ready object but {line:?}; stderr: {}",
                stderr.join().expect("the reader does not panic")
            );
        };
        // Whatever is printed later goes nowhere, and never blocks the server.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Server {
            child,
            ready,
            stderr: Some(stderr),
        }
    }

    /// A member of the ready object that is a text.
    #[track_caller]
    pub fn text(&self, member: &str) -> &str {
        self.ready[member]
            .as_str()
            .unwrap_or_else(|| panic!("{member} in {}", self.ready))
    }

    /// The name server to pass as `-n`.
    pub fn namesrv(&self) -> &str {
        self.text("namesrv")
    }

    /// Runs a client command against this server.
    pub fn rmq(&self, arguments: &[&str]) -> Ran {
        rmq(&[&["-n", self.namesrv()], arguments].concat())
    }

    /// Runs a client command against this server with these bytes on stdin.
    pub fn rmq_reading(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        rmq_reading(&[&["-n", self.namesrv()], arguments].concat(), stdin)
    }

    /// Sends a signal to the server.
    pub fn signal(&self, number: rustix::process::Signal) {
        signal(&self.child, number);
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("the server is ours");
        self.child.wait().expect("the server ends");
    }

    /// SIGTERM, and what the server said and ended with.
    pub fn stop(mut self) -> (ExitStatus, String) {
        signal(&self.child, rustix::process::Signal::TERM);
        let status = wait(&mut self.child);
        (
            status,
            self.stderr
                .take()
                .expect("taken once")
                .join()
                .expect("the reader does not panic"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)
        .expect("the child is ours");
}

/// Waits for a child to end; kills it and fails if that takes longer than [`PATIENCE`].
pub fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().expect("the child is ours");
            panic!("it did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
