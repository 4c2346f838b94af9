//! Where a group's offsets are kept: at the broker when its members share the queues, in a file of this client when each
//! gets everything. Only offsets that moved since they were last saved go out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::local_offsets::LocalOffsets;
use crate::client::error::ClientError;
use crate::client::presence::Presence;
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::pull::{OffsetReply, QueryOffsetRequest, UpdateOffsetRequest};

/// Most commits on the way at a time: more would fill the sockets that pulls need, too.
const COMMITS_MAX: usize = 32;

/// A group's offsets.
pub(super) struct Offsets {
    group: String,
    place: Place,
    /// What is known to be saved, by queue. Bounded by the queues this consumer ever owned.
    saved: Mutex<HashMap<MessageQueue, u64>>,
}

/// Which commits go out.
#[derive(Clone, Copy)]
enum Direction {
    Any,
    /// Only what is ahead of what the broker knows.
    Forward,
}

enum Place {
    Broker(Arc<Presence>),
    /// One permit: one writer of the file at a time.
    File(LocalOffsets, Semaphore),
}

impl Offsets {
    pub fn at_broker(presence: Arc<Presence>, group: &str) -> Offsets {
        Offsets {
            group: group.to_owned(),
            place: Place::Broker(presence),
            saved: Mutex::default(),
        }
    }

    pub fn in_file(file: LocalOffsets, group: &str) -> Offsets {
        let saved = Mutex::new(file.load());
        Offsets {
            group: group.to_owned(),
            place: Place::File(file, Semaphore::new(1)),
            saved,
        }
    }

    /// The saved offset of a queue; `None` if there is none yet. Not being able to ask is an error, never "none".
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<u64>, ClientError> {
        let Place::Broker(presence) = &self.place else {
            return Ok(self
                .saved
                .lock()
                .expect("no panic under this lock")
                .get(queue)
                .copied());
        };
        let committed = query(presence, &self.group, queue).await?;
        let mut saved = self.saved.lock().expect("no panic under this lock");
        match committed {
            Some(offset) => saved.insert(queue.clone(), offset),
            None => saved.remove(queue),
        };
        Ok(committed)
    }

    /// Saves the offsets that moved. One that could not be saved goes out again with the next call.
    pub async fn save(&self, offsets: Vec<(MessageQueue, u64)>) {
        let moved: Vec<_> = {
            let saved = self.saved.lock().expect("no panic under this lock");
            offsets
                .into_iter()
                .filter(|(queue, offset)| saved.get(queue) != Some(offset))
                .collect()
        };
        if moved.is_empty() {
            return;
        }
        match &self.place {
            Place::Broker(presence) => self.save_at_brokers(presence, moved, Direction::Any).await,
            Place::File(file, writer) => self.save_in_file(file, writer, moved).await,
        }
    }

    /// Saves offsets again at brokers that know less, as one that crashed does. Where the broker knows more, another member
    /// went on meanwhile.
    pub async fn save_again(&self, offsets: Vec<(MessageQueue, u64)>) {
        if let Place::Broker(presence) = &self.place {
            self.save_at_brokers(presence, offsets, Direction::Forward).await;
        }
    }

    async fn save_at_brokers(
        &self,
        presence: &Arc<Presence>,
        offsets: Vec<(MessageQueue, u64)>,
        direction: Direction,
    ) {
        let mut commits = JoinSet::new();
        for (queue, offset) in offsets {
            if commits.len() == COMMITS_MAX {
                self.note_saved(commits.join_next().await);
            }
            let (presence, group) = (presence.clone(), self.group.clone());
            commits.spawn(async move {
                let done = match direction {
                    Direction::Any => update(&presence, &group, &queue, offset).await,
                    Direction::Forward => advance(&presence, &group, &queue, offset).await,
                };
                (done, queue, offset)
            });
        }
        while let Some(commit) = commits.join_next().await {
            self.note_saved(Some(commit));
        }
    }

    fn note_saved(&self, commit: Option<Result<Commit, tokio::task::JoinError>>) {
        match commit {
            Some(Ok((Ok(()), queue, offset))) => {
                self.saved
                    .lock()
                    .expect("no panic under this lock")
                    .insert(queue, offset);
            }
            Some(Ok((Err(error), queue, offset))) => {
                tracing::warn!(queue = %name(&queue), offset, %error, "offset not saved, it is sent again");
            }
            // A task that ended without an answer saved nothing.
            Some(Err(_)) | None => {}
        }
    }

    async fn save_in_file(&self, file: &LocalOffsets, writer: &Semaphore, moved: Vec<(MessageQueue, u64)>) {
        let _one = writer.acquire().await;
        let mut table = self.saved.lock().expect("no panic under this lock").clone();
        table.extend(moved);
        let (written, path) = (table.clone(), file.clone());
        match tokio::task::spawn_blocking(move || path.save(&written)).await {
            Ok(Ok(())) => *self.saved.lock().expect("no panic under this lock") = table,
            Ok(Err(error)) => tracing::warn!(%error, "offsets not saved, they are written again"),
            Err(_) => tracing::warn!("offsets not saved: the runtime ends"),
        }
    }
}

/// The end of one commit.
type Commit = (Result<(), ClientError>, MessageQueue, u64);

/// A queue as log lines show it.
pub(super) fn name(queue: &MessageQueue) -> String {
    format!("{} {}:{}", queue.topic, queue.broker_name, queue.queue_id)
}

/// Asks the broker for a group's offset. Without `setZeroIfNotFound=false` it would answer 0 for a new group as long as the
/// queue holds its first message, and no start policy would ever apply to a young topic.
pub(in crate::client) async fn query(
    presence: &Presence,
    group: &str,
    queue: &MessageQueue,
) -> Result<Option<u64>, ClientError> {
    let header = QueryOffsetRequest {
        consumer_group: group.to_owned(),
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        set_zero_if_not_found: Some(false),
        broker_name: Some(queue.broker_name.clone()),
    };
    let asked = presence
        .ask_master(
            &queue.broker_name,
            Frame::request(request::QUERY_CONSUMER_OFFSET, &header),
        )
        .await;
    let (address, answer) = match asked {
        Err(error) if error.code() == Some(response::QUERY_NOT_FOUND) => return Ok(None),
        asked => asked?,
    };
    let reply: OffsetReply = answer
        .header()
        .map_err(|bad| ClientError::bad_field(&address, bad))?;
    Ok(u64::try_from(reply.offset).ok())
}

/// Stores a group's offset at the broker unless it knows as much.
async fn advance(
    presence: &Presence,
    group: &str,
    queue: &MessageQueue,
    offset: u64,
) -> Result<(), ClientError> {
    match query(presence, group, queue).await? {
        Some(known) if known >= offset => Ok(()),
        _ => update(presence, group, queue, offset).await,
    }
}

/// Stores a group's offset at the broker.
pub(in crate::client) async fn update(
    presence: &Presence,
    group: &str,
    queue: &MessageQueue,
    offset: u64,
) -> Result<(), ClientError> {
    let header = UpdateOffsetRequest {
        consumer_group: group.to_owned(),
        topic: queue.topic.clone(),
        queue_id: Some(queue.queue_id),
        commit_offset: Some(offset as i64),
        broker_name: Some(queue.broker_name.clone()),
    };
    presence
        .ask_master(
            &queue.broker_name,
            Frame::request(request::UPDATE_CONSUMER_OFFSET, &header),
        )
        .await?;
    Ok(())
}
