//! From a request to the function that answers it: one arm a family. Frames are decoded and encoded here; the functions
//! speak types.

use std::sync::Arc;

use crate::broker::groups::EnsuredGroup;
use crate::broker::options::BrokerOptions;
use crate::broker::send::{Envelope, NotStored, Stored, Target};
use crate::broker::{Broker, admin, blocking, membership, positions, pull, refusal::Refusal, retry, send};
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::message::RecordView;
use crate::protocol::request::client::{ConsumerGroupRequest, UnregisterClientRequest};
use crate::protocol::request::pull::PullRequest;
use crate::protocol::request::send::{SendBackRequest, SendRequest};
use crate::remoting::{Answer, Peer, Serve};
use crate::store::DurableError;

impl Serve for Broker {
    fn serve(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer {
        match frame.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                self.send(frame, peer)
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => self.pull(&frame, peer),
            request::CONSUMER_SEND_MSG_BACK => self.send_back(&frame, peer),
            request::QUERY_CONSUMER_OFFSET
            | request::UPDATE_CONSUMER_OFFSET
            | request::GET_MAX_OFFSET
            | request::GET_MIN_OFFSET => answer(self.position(&frame)),
            request::SEARCH_OFFSET_BY_TIMESTAMP | request::GET_EARLIEST_MSG_STORETIME => self.time(frame),
            request::HEART_BEAT
            | request::UNREGISTER_CLIENT
            | request::GET_CONSUMER_LIST_BY_GROUP
            | request::LOCK_BATCH_MQ
            | request::UNLOCK_BATCH_MQ
            | request::CHECK_CLIENT_CONFIG => answer(self.membership(&frame, peer)),
            _ => admin::serve(self, frame, peer),
        }
    }

    fn closed(&self, peer: &Arc<Peer>) {
        for group in self.clients.closed(peer.id()) {
            membership::notify(&group, &self.clients, &self.groups);
        }
    }
}

/// The answer to a request that this broker does not know.
pub(super) fn not_supported(code: i32) -> Answer {
    let remark = format!(" request type {code} not supported");
    Answer::Now(Frame::refusal(response::REQUEST_CODE_NOT_SUPPORTED, remark))
}

/// Why a SEND is not stored yet, or never.
enum Unsent {
    /// Until its topic is saved and registered, or until the store has room.
    Waits(Target),
    Refused(Refusal),
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Unsent {
        Unsent::Refused(refusal)
    }
}

pub(super) fn answer(answered: Result<Frame, Refusal>) -> Answer {
    Answer::Now(answered.unwrap_or_else(Frame::from))
}

impl Broker {
    fn send(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer {
        let options = self.options();
        let target = match self.send_now(&frame, peer, &options) {
            Ok(stored) => return self.acknowledge(stored),
            Err(Unsent::Waits(target)) => target,
            Err(Unsent::Refused(refusal)) => {
                self.stats.put_failed();
                return Answer::Now(refusal.into());
            }
        };
        // Later messages of this connection may go to the same queue: they wait with this one.
        let (broker, peer) = (Arc::clone(self), Arc::clone(peer));
        Answer::Gate(Box::pin(async move {
            if target.created {
                broker.topics_changed().await;
            }
            Some(
                broker
                    .send_patiently(&frame, &peer, &target, &options)
                    .await
                    .unwrap_or_else(Frame::from),
            )
        }))
    }

    fn send_now(&self, frame: &Frame, peer: &Peer, options: &BrokerOptions) -> Result<Stored, Unsent> {
        let request = SendRequest::read(frame).map_err(Refusal::from)?;
        let target = self.send_target(&request, peer, options)?;
        if target.created {
            return Err(Unsent::Waits(target));
        }
        let envelope = Envelope {
            request: &request,
            target: &target,
            options,
            peer,
        };
        match envelope.store(&frame.body.contiguous(), &self.store, &self.levels, &self.stats) {
            Ok(stored) => Ok(stored),
            Err(NotStored::Busy) => Err(Unsent::Waits(target)),
            Err(NotStored::Refused(refusal)) => Err(Unsent::Refused(refusal)),
        }
    }

    fn send_target(
        &self,
        request: &SendRequest<'_>,
        peer: &Peer,
        options: &BrokerOptions,
    ) -> Result<Target, Refusal> {
        let now_ms = self.clock.now_ms();
        let target = send::admit(request, &self.topics, options, peer, now_ms)?;
        if !retry::is_retry(request) {
            return Ok(target);
        }
        let EnsuredGroup { group, changed } = retry::group_of(request, &self.groups, options, now_ms)?;
        let sender = self.clients.consumer_id(&group.group_name, peer.id());
        let holds_queue = sender.is_some_and(|id| self.locks.holds_any(&group.group_name, &id, now_ms));
        let target = Target {
            created: target.created || changed,
            ..target
        };
        Ok(retry::divert(
            request,
            target,
            &group,
            holds_queue,
            &self.topics,
            peer,
            now_ms,
        ))
    }

    /// Stores the message as soon as the store has room for it, and waits until it is durable.
    async fn send_patiently(
        &self,
        frame: &Frame,
        peer: &Peer,
        target: &Target,
        options: &BrokerOptions,
    ) -> Result<Frame, Refusal> {
        let request = SendRequest::read(frame)?;
        let envelope = Envelope {
            request: &request,
            target,
            options,
            peer,
        };
        let body = frame.body.contiguous();
        let deadline = tokio::time::Instant::now() + options.flush_timeout;
        loop {
            match envelope.store(&body, &self.store, &self.levels, &self.stats) {
                Ok(stored) => return Ok(self.durable(stored).await),
                Err(NotStored::Refused(refusal)) => {
                    self.stats.put_failed();
                    return Err(refusal);
                }
                Err(NotStored::Busy) => {}
            }
            if tokio::time::timeout_at(deadline, self.store.staging_room())
                .await
                .is_err()
            {
                self.stats.put_failed();
                let remark =
                    "[PC_SYNCHRONIZED]broker busy, the disk does not keep up with what waits to be written";
                return Err(Refusal::new(response::SYSTEM_BUSY, remark));
            }
        }
    }

    /// Answers at once where nothing is waited for.
    fn acknowledge(self: &Arc<Self>, stored: Stored) -> Answer {
        if self.store.is_durable(stored.end) {
            return Answer::Now(stored.reply);
        }
        let broker = Arc::clone(self);
        Answer::Later(Box::pin(async move { Some(broker.durable(stored).await) }))
    }

    /// The answer once the message is as durable as its producer was promised; one that does not wait for the disk waits
    /// for the page cache. Producers take 10 as "stored, perhaps not yet on disk".
    async fn durable(&self, stored: Stored) -> Frame {
        let patience = self.options().flush_timeout;
        let reached = match stored.wait {
            true => self.store.durable(stored.end, patience).await,
            false => self.store.written(stored.end, patience).await,
        };
        match reached {
            Ok(()) => stored.reply,
            Err(DurableError::Timeout) => Frame {
                code: response::FLUSH_DISK_TIMEOUT,
                ..stored.reply
            },
            Err(error) => Frame::refusal(response::SERVICE_NOT_AVAILABLE, error.to_string()),
        }
    }

    fn pull(self: &Arc<Self>, frame: &Frame, peer: &Arc<Peer>) -> Answer {
        let request: PullRequest = match frame.header() {
            Ok(request) => request,
            Err(error) => return answer(Err(error.into())),
        };
        let (options, now_ms) = (self.options(), self.clock.now_ms());
        let admitted = pull::permitted(frame.code, &options).and_then(|()| {
            pull::admit(
                request,
                &self.topics,
                &self.groups,
                &self.clients,
                &options,
                peer,
                now_ms,
            )
        });
        let pull = match admitted {
            Ok(pull) => pull,
            Err(refused) => return Answer::Now(refused.into()),
        };
        if pull.group_created {
            self.saves.wake();
        }
        pull.commit(&self.offsets, &self.store);
        let broker = Arc::clone(self);
        Answer::Later(Box::pin(async move {
            Some(
                pull.answer(&broker.offsets, &broker.store, &broker.stats, &broker.held)
                    .await,
            )
        }))
    }

    fn send_back(self: &Arc<Self>, frame: &Frame, peer: &Arc<Peer>) -> Answer {
        let request: SendBackRequest = match frame.header() {
            Ok(request) => request,
            Err(error) => return answer(Err(error.into())),
        };
        let (broker, peer) = (Arc::clone(self), Arc::clone(peer));
        Answer::Later(Box::pin(async move {
            Some(
                broker
                    .store_back(&request, &peer)
                    .await
                    .unwrap_or_else(Frame::from),
            )
        }))
    }

    async fn store_back(&self, request: &SendBackRequest, peer: &Peer) -> Result<Frame, Refusal> {
        let missing = || {
            Refusal::new(
                response::SYSTEM_ERROR,
                format!("look message by offset failed, {}", request.offset),
            )
        };
        let offset = u64::try_from(request.offset).map_err(|_| missing())?;
        let store = Arc::clone(&self.store);
        let bytes = blocking(move || store.message_at(offset))
            .await
            .ok()
            .flatten()
            .ok_or_else(missing)?;
        let record = RecordView::decode(&bytes).map_err(|_| missing())?;
        let (options, now_ms) = (self.options(), self.clock.now_ms());
        let place = retry::place(
            request,
            &record,
            &self.groups,
            &self.topics,
            &options,
            peer,
            now_ms,
        )?;
        let Some(place) = place else {
            return Ok(Frame::answer(response::SUCCESS));
        };
        if place.target.created {
            self.topics_changed().await;
        }
        let appended = place.store(&record, &self.store, &self.levels)?;
        self.stats.sent_back(record.topic, &request.group);
        let durable = self.store.durable(appended.end, options.flush_timeout).await;
        durable.map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        Ok(Frame::answer(response::SUCCESS))
    }

    fn position(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let (topics, offsets, store) = (&self.topics, &self.offsets, &self.store);
        Ok(match frame.code {
            request::QUERY_CONSUMER_OFFSET => positions::query(&frame.header()?, offsets, topics, store)?,
            request::UPDATE_CONSUMER_OFFSET => {
                positions::update(&frame.header()?, offsets, &self.groups, topics, store)?
            }
            request::GET_MAX_OFFSET => positions::end(&frame.header()?, store),
            _ => positions::begin(&frame.header()?, store),
        })
    }

    /// Times stand in records, which may have to come from the disk.
    fn time(self: &Arc<Self>, frame: Frame) -> Answer {
        let store = Arc::clone(&self.store);
        let answered = blocking(move || match frame.code {
            request::SEARCH_OFFSET_BY_TIMESTAMP => Ok(positions::search(&frame.header()?, &store)),
            _ => Ok(positions::earliest_time(&frame.header()?, &store)),
        });
        Answer::Later(Box::pin(async move {
            Some(answered.await.unwrap_or_else(|bad: Refusal| bad.into()))
        }))
    }

    fn membership(&self, frame: &Frame, peer: &Arc<Peer>) -> Result<Frame, Refusal> {
        let (clients, groups, now_ms) = (&self.clients, &self.groups, self.clock.now_ms());
        match frame.code {
            request::HEART_BEAT => {
                let options = self.options();
                let (reply, created) =
                    membership::heartbeat(frame, clients, groups, &self.topics, &options, peer, now_ms)?;
                if created.group || created.topic {
                    self.saves.wake();
                }
                if created.topic {
                    self.registrations.wake();
                }
                Ok(reply)
            }
            request::UNREGISTER_CLIENT => {
                let request: UnregisterClientRequest = frame.header()?;
                Ok(membership::unregister(
                    &request,
                    clients,
                    groups,
                    &self.locks,
                    peer,
                ))
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                membership::consumer_ids(&frame.header::<ConsumerGroupRequest>()?.consumer_group, clients)
            }
            request::LOCK_BATCH_MQ => membership::lock(frame, &self.locks, now_ms),
            request::UNLOCK_BATCH_MQ => membership::unlock(frame, &self.locks),
            _ => membership::check_subscription(frame),
        }
    }
}
