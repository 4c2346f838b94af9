//! Topics by request: create and change 17 and 18, delete 215, show 21, 202, 305 and 351, clean up 316.

use crate::broker::admin::{AdminOptions, attributes};
use crate::broker::groups::Groups;
use crate::broker::offsets::Offsets;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::{self, Topics};
use crate::protocol::code::response;
use crate::protocol::request::body::{DataVersion, MessageQueue, TopicList};
use crate::protocol::request::topic::{
    AllTopicsRequest, CreateTopicRequest, TopicConfig, TopicConfigList, TopicOffset, TopicStatsTable,
    TopicTable,
};
use crate::store::Store;

/// Most queues of one topic on one broker.
pub const QUEUES_MAX: i32 = 16_384;
/// Most topics in one page of 21.
const PAGE_MAX: usize = 2000;
/// All bits of a permission.
const PERM_BITS: i32 = 0b1111;

/// Creates a topic or changes it (17). Returns whether anything changed: then it is to be saved and registered.
///
/// # Errors
/// 29 for a name, permission or queue count that no topic can have and for system topics, 1 for bad attributes.
pub fn update(
    topics: &Topics,
    options: &AdminOptions,
    request: CreateTopicRequest,
    now_ms: i64,
) -> Result<bool, Refusal> {
    let wanted = TopicConfig {
        order: request.order,
        topic_filter_type: request.topic_filter_type,
        topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
        ..TopicConfig::new(
            request.topic,
            request.read_queue_nums,
            request.write_queue_nums,
            request.perm,
        )
    };
    let wanted = checked(
        topics,
        options,
        wanted,
        request.attributes.as_deref().unwrap_or_default(),
    )?;
    Ok(put(topics, wanted, now_ms))
}

/// Creates or changes several topics (18): all of them or none.
///
/// # Errors
/// As [`update`], of the first topic that cannot be taken.
pub fn update_all(
    topics: &Topics,
    options: &AdminOptions,
    request: TopicConfigList,
    now_ms: i64,
) -> Result<bool, Refusal> {
    let checked: Result<Vec<TopicConfig>, Refusal> = request
        .topic_config_list
        .into_iter()
        .map(|topic| {
            let changes = attributes::as_text(&topic.attributes);
            checked(topics, options, topic, &changes)
        })
        .collect();
    let changes: Vec<bool> = checked?
        .into_iter()
        .map(|topic| put(topics, topic, now_ms))
        .collect();
    Ok(changes.contains(&true))
}

/// The topic as it will be: with the attributes it has and the changes to them.
fn checked(
    topics: &Topics,
    options: &AdminOptions,
    mut wanted: TopicConfig,
    attribute_changes: &str,
) -> Result<TopicConfig, Refusal> {
    topics::check_name(&wanted.topic_name)?;
    guard(topics, options, &wanted.topic_name)?;
    let invalid = |remark: String| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    for (name, queues) in [
        ("readQueueNums", wanted.read_queue_nums),
        ("writeQueueNums", wanted.write_queue_nums),
    ] {
        if !(0..=QUEUES_MAX).contains(&queues) {
            return invalid(format!("{name} is {queues}, expected 0 to {QUEUES_MAX}."));
        }
    }
    if wanted.perm & !PERM_BITS != 0 {
        return invalid(format!("The permission {} has unknown bits.", wanted.perm));
    }
    let current = topics.get(&wanted.topic_name);
    wanted.attributes =
        attributes::change(current.as_ref().map(|topic| &topic.attributes), attribute_changes)?;
    let is_mixed = wanted
        .attributes
        .get(attributes::MESSAGE_TYPE)
        .is_some_and(|kind| kind == attributes::MIXED);
    if is_mixed && !options.mixed_message_type {
        return invalid("MIXED message type is not supported.".to_owned());
    }
    Ok(wanted)
}

fn guard(topics: &Topics, options: &AdminOptions, topic: &str) -> Result<(), Refusal> {
    if options.guard_system_topics && topics.is_system(topic) {
        let remark = format!("The topic[{topic}] is conflict with system topic.");
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

fn put(topics: &Topics, wanted: TopicConfig, now_ms: i64) -> bool {
    let unchanged = topics
        .get(&wanted.topic_name)
        .is_some_and(|current| *current == wanted);
    if !unchanged {
        topics.update(wanted, now_ms);
    }
    !unchanged
}

/// The names of everything that goes with a topic: itself and the retry topics of its pop consumers (215). The ordinary
/// retry topic of a group called `G_T` has the name of `G`'s pop retries of `T`, and stays.
///
/// # Errors
/// 29 for a blank name and for system topics.
pub fn deleted_with(
    topics: &Topics,
    groups: &Groups,
    offsets: &Offsets,
    options: &AdminOptions,
    topic: &str,
) -> Result<Vec<String>, Refusal> {
    if topic.trim().is_empty() {
        return Err(Refusal::new(
            response::INVALID_PARAMETER,
            "The specified topic is blank.",
        ));
    }
    guard(topics, options, topic)?;
    let mut names = vec![topic.to_owned()];
    if !options.delete_retry_topics {
        return Ok(names);
    }
    for group in offsets.groups_of(topic) {
        let retries = ['_', '+'].map(|joint| format!("{group}{joint}{topic}"));
        let retries = retries
            .iter()
            .filter(|name| groups.get(name).is_none())
            .map(|name| topics::retry_topic(name));
        names.extend(retries.filter(|name| topics.get(name).is_some()));
    }
    Ok(names)
}

/// Deletes a topic and everything about it: offsets, pending resets, counts, queues and messages (215). A topic that does
/// not exist is deleted too: something of it may have been left behind.
///
/// # Errors
/// 1 if the store cannot forget its messages.
pub fn delete(
    topics: &Topics,
    offsets: &Offsets,
    stats: &Stats,
    store: &Store,
    topic: &str,
    now_ms: i64,
) -> Result<(), Refusal> {
    topics.remove(topic, now_ms);
    store.delete_topic(topic).map_err(|error| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("topic[{topic}] is not deleted: {error}"),
        )
    })?;
    // After the queues are gone: no commit can bring an offset of the old ones back.
    offsets.remove_topic(topic);
    stats.forget_topic(topic);
    Ok(())
}

/// Deletes the queues of topics that are no longer configured (316). Returns their names.
///
/// # Errors
/// 1 if the store cannot forget the messages of one.
pub fn clean_unused(topics: &Topics, store: &Store) -> Result<Vec<String>, Refusal> {
    let stored = store.topics().into_iter().map(|(name, _)| name);
    let unused: Vec<String> = stored
        .filter(|name| topics.get(name).is_none() && !topics.is_system(name))
        .collect();
    for name in &unused {
        store
            .delete_topic(name)
            .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
    }
    Ok(unused)
}

/// All topics, or a page of them (21), and how many there are. A page begins anew if the table changed since the last.
pub fn all(topics: &Topics, request: &AllTopicsRequest) -> (TopicTable, i32) {
    let snapshot = topics.snapshot();
    let total = snapshot.topic_config_table.len() as i32;
    let page = page_of(
        snapshot.topic_config_table,
        Page {
            since: request.topic_seq,
            version: request.data_version.as_deref(),
            len: request.max_topic_num,
        },
        &snapshot.data_version,
    );
    let table = TopicTable {
        data_version: snapshot.data_version,
        mapping_data_version: Some(DataVersion::default()),
        topic_config_table: page,
        ..TopicTable::default()
    };
    (table, total)
}

/// What part of a table 21 and 201 ask for; no member set: all of it.
pub struct Page<'a> {
    /// Index of the first entry, by name.
    pub since: Option<i32>,
    /// JSON of the version that the pages before came with.
    pub version: Option<&'a str>,
    pub len: Option<i32>,
}

/// The entries of a page.
pub fn page_of<V>(
    table: std::collections::BTreeMap<String, V>,
    page: Page<'_>,
    version: &DataVersion,
) -> std::collections::BTreeMap<String, V> {
    if page.since.is_none() && page.version.is_none() && page.len.is_none() {
        return table;
    }
    let asked = page.version.filter(|text| !text.is_empty());
    let same = asked
        .is_none_or(|text| serde_json::from_str::<DataVersion>(text).is_ok_and(|asked| asked == *version));
    let since = page
        .since
        .filter(|_| same)
        .map_or(0, |since| since.max(0) as usize);
    let len = page
        .len
        .map_or(PAGE_MAX, |len| (len.max(0) as usize).min(PAGE_MAX));
    table.into_iter().skip(since).take(len).collect()
}

/// One topic (351).
///
/// # Errors
/// 17 if there is none.
pub fn show(topics: &Topics, topic: &str) -> Result<TopicConfig, Refusal> {
    let found = topics.get(topic);
    let missing = || {
        Refusal::new(
            response::TOPIC_NOT_EXIST,
            format!("No topic in this broker. topic: {topic}"),
        )
    };
    found.map(|found| TopicConfig::clone(&found)).ok_or_else(missing)
}

/// The topic, for requests about its queues.
///
/// # Errors
/// 17 if there is none.
pub fn existing(topics: &Topics, topic: &str) -> Result<std::sync::Arc<TopicConfig>, Refusal> {
    topics
        .get(topic)
        .ok_or_else(|| Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")))
}

/// The bounds of each queue of a topic and when it was last written (202).
///
/// # Errors
/// 17 if there is no such topic.
pub fn stats(
    topics: &Topics,
    stats: &Stats,
    store: &Store,
    broker_name: &str,
    topic: &str,
) -> Result<TopicStatsTable, Refusal> {
    let config = existing(topics, topic)?;
    let queues = config.read_queue_nums.max(config.write_queue_nums);
    let mut table = TopicStatsTable {
        topic_put_tps: stats.topic_rate(topic),
        ..TopicStatsTable::default()
    };
    for queue_id in 0..queues {
        let (min, end) = store
            .queue(topic, queue_id)
            .map_or((0, 0), |queue| (queue.min, queue.end));
        let last = end
            .checked_sub(1)
            .and_then(|last| store.store_time_of(topic, queue_id, last));
        let offset = TopicOffset {
            last_update_timestamp: last.unwrap_or(0),
            max_offset: end as i64,
            min_offset: min as i64,
        };
        table
            .offset_table
            .0
            .insert(MessageQueue::new(topic, broker_name, queue_id), offset);
    }
    Ok(table)
}

/// The system topics (305).
pub fn system(topics: &Topics) -> TopicList {
    TopicList {
        broker_addr: None,
        topic_list: topics.system_names(),
    }
}
