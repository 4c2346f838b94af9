//! What becomes of a consumed message: it is printed, or handed to a command.

use std::io::{self, Write};
use std::process::Stdio;
use std::sync::Mutex;

use rmq::client::ReceivedMessage;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::format::Format;
use crate::output::{self, Failure};
use crate::record::Record;

/// How a message is printed.
#[derive(Clone, Debug)]
pub enum Style {
    Text(Format),
    /// One JSON object a line.
    JsonLines,
}

/// Takes messages. Shared by everything that runs at a time.
pub enum Sink {
    /// The lock keeps messages from mixing; it is held while one is written.
    Print { style: Style, stdout: Mutex<io::Stdout> },
    /// A command for `sh -c`.
    Exec(String),
}

/// How a message ended.
#[derive(Debug)]
pub enum Taken {
    /// Printed, or its command succeeded.
    Done,
    /// Its command failed.
    Failed,
    /// It could not be printed, and no later one can.
    Unprintable(Failure),
}

impl Sink {
    pub fn print(style: Style) -> Sink {
        Sink::Print {
            style,
            stdout: Mutex::new(io::stdout()),
        }
    }

    /// Prints the message, or runs the command on it and waits for its end.
    pub async fn take(&self, message: ReceivedMessage) -> Taken {
        match self {
            Sink::Print { style, stdout } => {
                let record = Record::from(message);
                let mut stdout = stdout.lock().expect("writing does not panic");
                match style.write(&record, &mut *stdout) {
                    Ok(()) => Taken::Done,
                    Err(error) => Taken::Unprintable(error.into()),
                }
            }
            Sink::Exec(command) => match exec(command, Record::from(message)).await {
                Ok(()) => Taken::Done,
                Err(why) => {
                    output::note(why);
                    Taken::Failed
                }
            },
        }
    }
}

impl Style {
    fn write(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        // One write for each message, so that a reader of a pipe sees it at once and whole.
        let mut bytes = Vec::with_capacity(record.body.len() + 64);
        match self {
            Style::Text(format) => format.write(record, &mut bytes)?,
            Style::JsonLines => {
                serde_json::to_writer(&mut bytes, record)?;
                bytes.push(b'\n');
            }
        }
        out.write_all(&bytes)?;
        out.flush()
    }
}

/// Runs `sh -c COMMAND` with the body on stdin and the rest in variables. The error says what went wrong with which message.
async fn exec(command: &str, record: Record) -> Result<(), String> {
    let failed = |what: String| format!("{}: {what}", record.place());
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("RMQ_TOPIC", &record.topic)
        .env("RMQ_QUEUE", record.queue.to_string())
        .env("RMQ_OFFSET", record.offset.to_string())
        .env("RMQ_KEYS", record.keys.join(" "))
        .env("RMQ_TAG", record.tag.as_deref().unwrap_or_default())
        .env("RMQ_MSG_ID", record.msg_id.as_deref().unwrap_or_default())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot run sh: {error}")))?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let feed = async {
        // A command that does not read its input is no failure.
        let _unread = stdin.write_all(&record.body).await;
        drop(stdin);
    };
    let ((), status) = tokio::join!(feed, child.wait());
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("the command ended with {status}"))),
        Err(error) => Err(failed(format!("the command was lost: {error}"))),
    }
}
