//! Administrative requests: topics, groups, offsets, clients, messages and the broker itself (Apache:
//! `AdminBrokerProcessor`, `QueryMessageProcessor`).
//!
//! [`serve`] leads from a code to its function, one match a family. What only looks at tables is answered at once; what
//! changes them is answered when the change is saved, and registered where routes depend on it; what reads the store may
//! wait for a disk and is done by the threads that may.

pub mod attributes;
pub mod broker;
pub mod client;
pub mod group;
pub mod message;
pub mod offset;
pub mod topic;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::serve::not_supported;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::broker::{BrokerConfigReply, RequestModeTable};
use crate::protocol::request::client::{
    ConsumeDirectlyRequest, ConsumerGroupRequest, ProducerGroupRequest, RunningInfoRequest,
};
use crate::protocol::request::group::{
    AllGroupsReply, BrokerConsumeStatsRequest, ConsumeStatsRequest, ConsumerStatusRequest,
    DeleteGroupRequest, GroupConfigList, GroupForbiddenRequest, GroupRequest, ResetOffsetRequest,
};
use crate::protocol::request::topic::{
    AllTopicsReply, CreateTopicRequest, TopicAndGroupRequest, TopicRequest,
};
use crate::remoting::{Answer, Peer};
use crate::store::CleanReason;
use offset::Progress;

/// What administrative requests may do.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminOptions {
    /// `enableMixedMessageType`: whether a topic may have the message type MIXED.
    pub mixed_message_type: bool,
    /// `validateSystemTopicWhenUpdateTopic`: system topics cannot be changed or deleted.
    pub guard_system_topics: bool,
    /// `clearRetryTopicWhenDeleteTopic`: the pop retry topics of a topic are deleted with it.
    pub delete_retry_topics: bool,
    /// `useServerSideResetOffset`: the broker moves a group's offsets itself instead of asking its consumers.
    pub server_side_reset: bool,
    /// `maxMsgsNumBatch`: most messages a query by key is answered with.
    pub query_max: usize,
    /// `defaultQueryMaxNum`: most messages a query by unique key is answered with.
    pub query_unique_max: usize,
}

impl Default for AdminOptions {
    fn default() -> AdminOptions {
        AdminOptions {
            mixed_message_type: false,
            guard_system_topics: true,
            delete_retry_topics: true,
            server_side_reset: true,
            query_max: 64,
            query_unique_max: 32,
        }
    }
}

/// Answers an administrative request.
pub fn serve(broker: &Arc<Broker>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
    match frame.code {
        request::UPDATE_AND_CREATE_TOPIC
        | request::UPDATE_AND_CREATE_TOPIC_LIST
        | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
        | request::DELETE_SUBSCRIPTIONGROUP
        | request::UPDATE_AND_GET_GROUP_FORBIDDEN
        | request::GET_SUBSCRIPTIONGROUP_CONFIG
        | request::UPDATE_BROKER_CONFIG => saved(broker, change(broker, &frame)),
        request::GET_ALL_TOPIC_CONFIG
        | request::GET_TOPIC_CONFIG
        | request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER
        | request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG
        | request::QUERY_TOPIC_CONSUME_BY_WHO
        | request::QUERY_TOPICS_BY_CONSUMER
        | request::QUERY_SUBSCRIPTION_BY_CONSUMER
        | request::GET_CONSUMER_CONNECTION_LIST
        | request::GET_PRODUCER_CONNECTION_LIST
        | request::GET_ALL_PRODUCER_INFO
        | request::GET_ALL_CONSUMER_OFFSET
        | request::GET_ALL_DELAY_OFFSET
        | request::GET_BROKER_CONFIG
        | request::VIEW_BROKER_STATS_DATA
        | request::GET_BROKER_HA_STATUS
        | request::RESET_MASTER_FLUSH_OFFSET
        | request::SET_MESSAGE_REQUEST_MODE
        | request::GET_ALL_MESSAGE_REQUEST_MODE
        | request::GET_TIMER_CHECK_POINT
        | request::GET_TIMER_METRICS => now(look_up(broker, &frame)),
        request::QUERY_MESSAGE
        | request::VIEW_MESSAGE_BY_ID
        | request::QUERY_CONSUME_QUEUE
        | request::GET_TOPIC_STATS_INFO
        | request::GET_CONSUME_STATS
        | request::GET_BROKER_CONSUME_STATS
        | request::QUERY_CONSUME_TIME_SPAN
        | request::QUERY_CORRECTION_OFFSET
        | request::CLONE_GROUP_OFFSET
        | request::INVOKE_BROKER_TO_RESET_OFFSET
        | request::GET_BROKER_RUNTIME_INFO
        | request::CLEAN_EXPIRED_CONSUMEQUEUE
        | request::DELETE_EXPIRED_COMMITLOG
        | request::CLEAN_UNUSED_TOPIC => {
            let broker = Arc::clone(broker);
            later(async move { blocking(move || read(&broker, &frame)).await })
        }
        request::DELETE_TOPIC_IN_BROKER => {
            let broker = Arc::clone(broker);
            later(async move { delete_topic(broker, frame.header::<TopicRequest>()?.topic).await })
        }
        request::GET_CONSUMER_RUNNING_INFO
        | request::CONSUME_MESSAGE_DIRECTLY
        | request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
            let broker = Arc::clone(broker);
            later(async move { ask_consumers(&broker, frame).await })
        }
        unknown => not_supported(unknown),
    }
}

/// What has to happen before a change is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carry {
    /// Nothing changed.
    Nowhere,
    /// To the disk.
    ToDisk,
    /// To the disk and to the name servers.
    ToNameServers,
}

impl From<group::Changed> for Carry {
    fn from(changed: group::Changed) -> Carry {
        match changed {
            group::Changed { topics: true, .. } => Carry::ToNameServers,
            group::Changed { groups: true, .. } => Carry::ToDisk,
            _ => Carry::Nowhere,
        }
    }
}

/// Requests that change tables.
fn change(broker: &Broker, frame: &Frame) -> Result<(Frame, Carry), Refusal> {
    let (options, now_ms) = (broker.options(), broker.clock.now_ms());
    let (topics, groups) = (&broker.topics, &broker.groups);
    match frame.code {
        request::UPDATE_AND_CREATE_TOPIC => {
            let request: CreateTopicRequest = frame.header()?;
            let changed = topic::update(topics, &options.admin, request, now_ms)?;
            Ok((
                done(),
                if changed {
                    Carry::ToNameServers
                } else {
                    Carry::Nowhere
                },
            ))
        }
        request::UPDATE_AND_CREATE_TOPIC_LIST => {
            let changed = topic::update_all(topics, &options.admin, body_of(frame)?, now_ms)?;
            Ok((
                done(),
                if changed {
                    Carry::ToNameServers
                } else {
                    Carry::Nowhere
                },
            ))
        }
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            let request = GroupConfigList {
                group_config_list: vec![body_of(frame)?],
            };
            Ok((done(), group::update(groups, topics, request, now_ms)?.into()))
        }
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => Ok((
            done(),
            group::update(groups, topics, body_of(frame)?, now_ms)?.into(),
        )),
        request::DELETE_SUBSCRIPTIONGROUP => {
            let request: DeleteGroupRequest = frame.header()?;
            group::delete(groups, &broker.offsets, &broker.stats, &request, now_ms);
            Ok((done(), Carry::ToDisk))
        }
        request::UPDATE_AND_GET_GROUP_FORBIDDEN => {
            let request: GroupForbiddenRequest = frame.header()?;
            let (forbidden, changed) = group::forbid(groups, request, now_ms);
            Ok((with_body(&forbidden), changed.into()))
        }
        request::GET_SUBSCRIPTIONGROUP_CONFIG => {
            let (config, changed) =
                group::show(groups, &options, &frame.header::<GroupRequest>()?.group, now_ms)?;
            Ok((with_body(&config), changed.into()))
        }
        _ => change_config(broker, frame, now_ms),
    }
}

fn change_config(broker: &Broker, frame: &Frame, now_ms: i64) -> Result<(Frame, Carry), Refusal> {
    let body = frame.body.contiguous();
    let text = std::str::from_utf8(&body).map_err(|error| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("string2Properties error: {error}"),
        )
    })?;
    let changed = broker.config.change(text, now_ms)?;
    let version = broker.config.version();
    broker.set_options(broker.config.options(broker.options().as_ref().clone()));
    if broker.config.version() != version {
        // Another request came in between; whose options were set last is open, so the newest are set again.
        broker.set_options(broker.config.options(broker.options().as_ref().clone()));
    }
    let answer = Frame {
        remark: changed.remark(),
        ..done()
    };
    if changed.live.contains(&"brokerPermission") {
        broker.topics.touch(now_ms);
        return Ok((answer, Carry::ToNameServers));
    }
    Ok((answer, Carry::ToDisk))
}

/// Answers a change once it is carried where it belongs.
fn saved(broker: &Arc<Broker>, changed: Result<(Frame, Carry), Refusal>) -> Answer {
    let (frame, carry) = match changed {
        Ok((frame, Carry::Nowhere)) => return Answer::Now(frame),
        Ok(changed) => changed,
        Err(refusal) => return Answer::Now(refusal.into()),
    };
    let broker = Arc::clone(broker);
    later(async move {
        let is_saved = match carry {
            Carry::ToNameServers => broker.topics_changed().await,
            _ => broker.groups_changed().await,
        };
        if is_saved { Ok(frame) } else { Err(not_saved()) }
    })
}

fn not_saved() -> Refusal {
    Refusal::new(
        response::SYSTEM_ERROR,
        "changed, but not saved: the disk refuses it; the broker tries on",
    )
}

/// Requests that only look at tables.
fn look_up(broker: &Broker, frame: &Frame) -> Result<Frame, Refusal> {
    let options = broker.options();
    let (topics, groups, offsets, clients) =
        (&broker.topics, &broker.groups, &broker.offsets, &broker.clients);
    Ok(match frame.code {
        request::GET_ALL_TOPIC_CONFIG => {
            let (table, total) = topic::all(topics, &frame.header()?);
            let reply = AllTopicsReply {
                total_topic_num: Some(total),
            };
            Frame::answer_with(response::SUCCESS, &reply).with_body(fastjson::write(&table))
        }
        request::GET_TOPIC_CONFIG => with_body(&topic::show(topics, &frame.header::<TopicRequest>()?.topic)?),
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => with_body(&topic::system(topics)),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            let (table, total) = group::all(groups, &frame.header()?);
            let reply = AllGroupsReply {
                total_group_num: Some(total),
            };
            Frame::answer_with(response::SUCCESS, &reply).with_body(fastjson::write(&table))
        }
        request::QUERY_TOPIC_CONSUME_BY_WHO => with_body(&group::consuming(
            clients,
            offsets,
            &frame.header::<TopicRequest>()?.topic,
        )),
        request::QUERY_TOPICS_BY_CONSUMER => with_body(&group::topics_of(
            offsets,
            &options.advertised,
            &frame.header::<GroupRequest>()?.group,
        )),
        request::QUERY_SUBSCRIPTION_BY_CONSUMER => {
            let TopicAndGroupRequest { topic, group } = frame.header()?;
            with_body(&group::subscription(clients, group, topic))
        }
        request::GET_CONSUMER_CONNECTION_LIST => with_body(&client::consumers(
            clients,
            &frame.header::<ConsumerGroupRequest>()?.consumer_group,
        )?),
        request::GET_PRODUCER_CONNECTION_LIST => with_body(&client::producers(
            clients,
            &frame.header::<ProducerGroupRequest>()?.producer_group,
        )?),
        request::GET_ALL_PRODUCER_INFO => with_body(&client::all_producers(clients)),
        request::GET_ALL_CONSUMER_OFFSET => with_body(&offset::all(offsets)),
        request::GET_ALL_DELAY_OFFSET => with_body(&broker.delays.snapshot()),
        request::GET_BROKER_CONFIG => {
            let (text, version) = broker.config.text();
            let version = String::from_utf8(fastjson::write(&version)).expect("JSON is UTF-8");
            Frame::answer_with(response::SUCCESS, &BrokerConfigReply { version }).with_body(text)
        }
        request::VIEW_BROKER_STATS_DATA => with_body(&broker::statistic(
            &broker.stats,
            &options.cluster,
            &frame.header()?,
        )?),
        request::GET_BROKER_HA_STATUS => with_body(&broker::replication(&broker.store)),
        // A master follows nobody.
        request::RESET_MASTER_FLUSH_OFFSET => done(),
        request::SET_MESSAGE_REQUEST_MODE => {
            broker::set_request_mode(topics, groups, &body_of(frame)?)?;
            done()
        }
        request::GET_ALL_MESSAGE_REQUEST_MODE => with_body(&RequestModeTable::default()),
        _ => return Err(Refusal::new(response::SYSTEM_ERROR, "The timer is off.")),
    })
}

/// Requests that read the store, done where waiting for a disk is allowed.
fn read(broker: &Broker, frame: &Frame) -> Result<Frame, Refusal> {
    let (options, now_ms) = (broker.options(), broker.clock.now_ms());
    let store = &*broker.store;
    let progress = Progress {
        broker_name: &options.name,
        topics: &broker.topics,
        offsets: &broker.offsets,
        clients: &broker.clients,
        stats: &broker.stats,
        store,
    };
    Ok(match frame.code {
        request::QUERY_MESSAGE => message::query(store, &options.admin, &frame.header()?),
        request::VIEW_MESSAGE_BY_ID => message::view(
            store,
            frame
                .header::<crate::protocol::request::message::ViewMessageRequest>()?
                .offset,
        )?,
        request::QUERY_CONSUME_QUEUE => {
            with_body(&message::entries(store, &broker.clients, &frame.header()?)?)
        }
        request::GET_TOPIC_STATS_INFO => {
            let topic = frame.header::<TopicRequest>()?.topic;
            with_body(&topic::stats(
                &broker.topics,
                &broker.stats,
                store,
                &options.name,
                &topic,
            )?)
        }
        request::GET_CONSUME_STATS => with_body(&progress.of_group(&frame.header::<ConsumeStatsRequest>()?)),
        request::GET_BROKER_CONSUME_STATS => {
            let request: BrokerConsumeStatsRequest = frame.header()?;
            with_body(&progress.of_all(&broker.groups, request.is_order, &options.advertised))
        }
        request::QUERY_CONSUME_TIME_SPAN => {
            let TopicAndGroupRequest { topic, group } = frame.header()?;
            with_body(&progress.in_time(&group, &topic, now_ms)?)
        }
        request::QUERY_CORRECTION_OFFSET => with_body(&progress.correction(&frame.header()?)),
        request::CLONE_GROUP_OFFSET => {
            progress.copy(&frame.header()?);
            done()
        }
        request::INVOKE_BROKER_TO_RESET_OFFSET => reset_offset(
            broker,
            &progress,
            &frame.header()?,
            options.admin.server_side_reset,
        )?,
        request::GET_BROKER_RUNTIME_INFO => {
            let table = broker::runtime(
                &broker.stats,
                store,
                &log_folder(broker),
                &delay_progress(broker),
                now_ms,
            );
            with_body(&table)
        }
        request::CLEAN_UNUSED_TOPIC => {
            let deleted = topic::clean_unused(&broker.topics, store)?;
            tracing::info!(?deleted, "queues of topics that do not exist are deleted");
            done()
        }
        _ => {
            let deleted = store.clean(CleanReason::Asked);
            let deleted = deleted.map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
            tracing::info!(deleted, "expired files are deleted");
            done()
        }
    })
}

fn reset_offset(
    broker: &Broker,
    progress: &Progress<'_>,
    request: &ResetOffsetRequest,
    server_side: bool,
) -> Result<Frame, Refusal> {
    let targets = match server_side {
        true => progress.reset_targets(&broker.groups, request)?,
        false => progress.reset_targets_of_consumers(request)?,
    };
    match server_side {
        true => offset::reset(&broker.offsets, &request.group, &targets),
        false => offset::tell_consumers(&broker.clients, request, &targets)?,
    }
    tracing::info!(
        request.topic,
        request.group,
        request.timestamp,
        "offsets are reset"
    );
    Ok(with_body(&targets))
}

/// Deletes a topic with all that goes with it. Answered when the tables are saved, so that it is gone after a kill too.
async fn delete_topic(broker: Arc<Broker>, topic: String) -> Result<Frame, Refusal> {
    let options = broker.options();
    let names = topic::deleted_with(
        &broker.topics,
        &broker.groups,
        &broker.offsets,
        &options.admin,
        &topic,
    )?;
    let step = Arc::clone(&broker);
    blocking(move || {
        let now_ms = step.clock.now_ms();
        names.iter().try_for_each(|name| {
            topic::delete(
                &step.topics,
                &step.offsets,
                &step.stats,
                &step.store,
                name,
                now_ms,
            )
        })
    })
    .await?;
    if broker.topics_changed().await {
        Ok(done())
    } else {
        Err(not_saved())
    }
}

/// Requests that are passed on to consumers.
async fn ask_consumers(broker: &Arc<Broker>, frame: Frame) -> Result<Frame, Refusal> {
    match frame.code {
        request::GET_CONSUMER_RUNNING_INFO => {
            let asked: RunningInfoRequest = frame.header()?;
            let (group, client_id) = (asked.consumer_group.as_str(), asked.client_id.as_str());
            let peer = client::online(&broker.clients, group, client_id)?;
            client::relay(&peer, group, client_id, Frame::request(frame.code, &asked)).await
        }
        request::CONSUME_MESSAGE_DIRECTLY => {
            let asked: ConsumeDirectlyRequest = frame.header()?;
            let (group, client_id) = (
                asked.consumer_group.clone(),
                asked.client_id.clone().unwrap_or_default(),
            );
            let peer = client::online(&broker.clients, &group, &client_id)?;
            let (step, name) = (Arc::clone(broker), broker.options().name.clone());
            let question = blocking(move || {
                message::consume_directly(&step.store, &step.topics, &step.groups, &name, &asked)
            });
            client::relay(&peer, &group, &client_id, question.await?).await
        }
        _ => {
            let asked: ConsumerStatusRequest = frame.header()?;
            Ok(with_body(&client::status(&broker.clients, &asked).await?))
        }
    }
}

fn log_folder(broker: &Broker) -> PathBuf {
    broker.store.options().commit_log_folder()
}

fn delay_progress(broker: &Broker) -> Vec<broker::DelayProgress> {
    let end_of = |level: i32| {
        let queue = broker
            .store
            .queue(crate::broker::topics::system::SCHEDULE, level - 1);
        queue.map_or(0, |queue| queue.end as i64)
    };
    let offsets = broker.delays.snapshot().offset_table.into_iter();
    offsets
        .map(|(level, next)| broker::DelayProgress {
            level,
            next,
            end: end_of(level),
        })
        .collect()
}

/// A success without anything to say.
fn done() -> Frame {
    Frame::answer(response::SUCCESS)
}

fn with_body(body: &impl Serialize) -> Frame {
    done().with_body(fastjson::write(body))
}

fn body_of<T: DeserializeOwned>(frame: &Frame) -> Result<T, Refusal> {
    Ok(fastjson::read(&frame.body.contiguous())?)
}

fn now(answered: Result<Frame, Refusal>) -> Answer {
    Answer::Now(answered.unwrap_or_else(Frame::from))
}

fn later(answered: impl Future<Output = Result<Frame, Refusal>> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async move {
        Some(answered.await.unwrap_or_else(Frame::from))
    }))
}

/// Runs what may wait for a disk on a thread that may.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let ended = tokio::task::spawn_blocking(step).await;
    ended.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
