//! Consumer groups by request: create and change 200 and 225, delete 207, forbid 353, show 201, 300, 343, 345 and 352.

use std::collections::BTreeSet;

use crate::broker::admin::topic::{Page, page_of};
use crate::broker::clients::Clients;
use crate::broker::groups::{self, Groups};
use crate::broker::offsets::Offsets;
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::{self, Topics};
use crate::protocol::code::response;
use crate::protocol::request::body::{GroupList, TopicList};
use crate::protocol::request::group::{
    AllGroupsRequest, DeleteGroupRequest, GroupConfigList, GroupForbidden, GroupForbiddenRequest,
    GroupSubscription, GroupTable, SubscriptionGroupConfig,
};

/// What changed and has to be saved; changed topics also have to be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    pub groups: bool,
    pub topics: bool,
}

/// Creates groups or changes them (200, 225): all or none. A group's retry topic follows its number of retry queues.
///
/// # Errors
/// 29 for a name that no group can have.
pub fn update(
    groups: &Groups,
    topics: &Topics,
    request: GroupConfigList,
    now_ms: i64,
) -> Result<Changed, Refusal> {
    for group in &request.group_config_list {
        groups::check_name(&group.group_name)?;
        check_retries(group)?;
    }
    let mut changed = Changed::default();
    for group in request.group_config_list {
        let retry_topic = topics::retry_topic(&group.group_name);
        if topics.get(&retry_topic).is_some() {
            changed.topics |= topics
                .ensure(&retry_topic, group.retry_queue_nums.max(1), None, now_ms)
                .changed;
        }
        if groups
            .get(&group.group_name)
            .is_none_or(|current| *current != group)
        {
            groups.update(group, now_ms);
            changed.groups = true;
        }
    }
    Ok(changed)
}

fn check_retries(group: &SubscriptionGroupConfig) -> Result<(), Refusal> {
    if group.retry_queue_nums > super::topic::QUEUES_MAX {
        let remark = format!(
            "retryQueueNums is {}, more than {}.",
            group.retry_queue_nums,
            super::topic::QUEUES_MAX
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// Deletes a group and, if asked, its committed offsets (207). One that does not exist is deleted too.
pub fn delete(groups: &Groups, offsets: &Offsets, stats: &Stats, request: &DeleteGroupRequest, now_ms: i64) {
    groups.remove(&request.group_name, now_ms);
    if request.clean_offset.or(request.remove_offset).unwrap_or(false) {
        offsets.remove_group(&request.group_name);
    }
    stats.forget_group(&request.group_name);
}

/// Allows or forbids a group to read a topic, and says what holds (353).
pub fn forbid(groups: &Groups, request: GroupForbiddenRequest, now_ms: i64) -> (GroupForbidden, Changed) {
    let GroupForbiddenRequest {
        group,
        topic,
        readable,
    } = request;
    let changed = readable.is_some_and(|readable| groups.set_readable(&group, &topic, readable, now_ms));
    let readable = groups.may_read(&group, &topic);
    (
        GroupForbidden {
            group,
            readable,
            topic,
        },
        Changed {
            groups: changed,
            topics: false,
        },
    )
}

/// All groups, or a page of them (201), and how many there are.
pub fn all(groups: &Groups, request: &AllGroupsRequest) -> (GroupTable, i32) {
    let mut snapshot = groups.snapshot();
    let total = snapshot.subscription_group_table.len() as i32;
    let page = Page {
        since: request.group_seq,
        version: request.data_version.as_deref(),
        len: request.max_group_num,
    };
    let table = page_of(snapshot.subscription_group_table, page, &snapshot.data_version);
    snapshot
        .forbidden_table
        .retain(|group, _| table.contains_key(group));
    let table = GroupTable {
        data_version: snapshot.data_version,
        forbidden_table: snapshot.forbidden_table,
        subscription_group_table: table,
    };
    (table, total)
}

/// One group (352), created if groups are created unasked.
///
/// # Errors
/// 26 if there is none.
pub fn show(
    groups: &Groups,
    options: &BrokerOptions,
    group: &str,
    now_ms: i64,
) -> Result<(SubscriptionGroupConfig, Changed), Refusal> {
    let missing = || Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker");
    let ensured = groups.ensure(group, options, now_ms).ok_or_else(missing)?;
    let changed = Changed {
        groups: ensured.changed,
        topics: false,
    };
    Ok((SubscriptionGroupConfig::clone(&ensured.group), changed))
}

/// Who consumes a topic (300): groups with a member that subscribes to it, and groups that committed offsets for it.
pub fn consuming(clients: &Clients, offsets: &Offsets, topic: &str) -> GroupList {
    let online = clients.groups_subscribing(topic).into_iter();
    let names: BTreeSet<String> = online.chain(offsets.groups_of(topic)).collect();
    GroupList {
        group_list: names.into_iter().collect(),
    }
}

/// The topics that a group has committed offsets for (343).
pub fn topics_of(offsets: &Offsets, broker_address: &str, group: &str) -> TopicList {
    TopicList {
        broker_addr: Some(broker_address.to_owned()),
        topic_list: offsets.topics_of(group),
    }
}

/// What a group wants of a topic (345).
pub fn subscription(clients: &Clients, group: String, topic: String) -> GroupSubscription {
    let online = clients.consumer_group(&group);
    let subscription_data = online.and_then(|group| {
        group
            .subscriptions()
            .get(topic.as_str())
            .map(|wanted| wanted.data.clone())
    });
    GroupSubscription {
        group,
        subscription_data,
        topic,
    }
}
