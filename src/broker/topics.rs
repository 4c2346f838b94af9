//! The topics of this broker: one table, one lock (Apache: `TopicConfigManager`, `TopicValidator`).
//!
//! It decides who may write to and read from a topic and when a topic is created unasked. It performs no I/O: a change
//! bumps the table's version, and the caller asks the save and registration loops to carry it further.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, RwLock};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::protocol::code::response;
use crate::protocol::request::body::DataVersion;
use crate::protocol::request::topic::{TopicConfig, perm};
use crate::protocol::{RETRY_TOPIC_BYTES_MAX, TOPIC_BYTES_MAX};

/// What most topics allow.
pub const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// A permission as Java prints it: `RWX`, with `-` for what is missing.
pub fn show_perm(bits: i32) -> String {
    let bit = |mask, letter| if bits & mask != 0 { letter } else { '-' };
    [
        bit(perm::READ, 'R'),
        bit(perm::WRITE, 'W'),
        bit(perm::INHERIT, 'X'),
    ]
    .iter()
    .collect()
}

/// Names of topics that RocketMQ itself uses.
pub mod system {
    pub const DEFAULT: &str = "TBW102";
    pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
    pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
    pub const BENCHMARK: &str = "BenchmarkTest";
    pub const OFFSET_MOVED: &str = "OFFSET_MOVED_EVENT";
    pub const TRANSACTION_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
    pub const TRANSACTION_OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
    pub const TRANSACTION_CHECKED_OUT: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
    pub const TIMER: &str = "rmq_sys_wheel_timer";
    pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
    pub const CHECKPOINT: &str = "CHECKPOINT_TOPIC";
    /// Every topic with this prefix is a system topic.
    pub const PREFIX: &str = "rmq_sys_";

    /// System topics whatever the broker is called.
    pub(super) const ALL: [&str; 13] = [
        DEFAULT,
        SCHEDULE,
        SELF_TEST,
        BENCHMARK,
        OFFSET_MOVED,
        TRANSACTION_HALF,
        TRANSACTION_OP,
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
        TRANSACTION_CHECKED_OUT,
        TIMER,
        TRACE,
        CHECKPOINT,
    ];

    /// Topics that only the broker itself writes to. Apache lets clients write to the timer's topic, which then stops.
    pub(super) const BROKER_ONLY: [&str; 9] = [
        SCHEDULE,
        TRANSACTION_HALF,
        TRANSACTION_OP,
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
        TRANSACTION_CHECKED_OUT,
        SELF_TEST,
        OFFSET_MOVED,
        TIMER,
    ];
}

/// Prefix of the topic that holds a group's retries.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that holds a group's dead letters.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// The topic of a group's retries.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The topic of a group's dead letters.
pub fn dead_letter_topic(group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{group}")
}

/// Checks a topic's name as clients and Apache do: 29 if it is blank, too long, or has other characters.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let invalid = |remark| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    let bytes_max = match name.starts_with(RETRY_PREFIX) || name.starts_with(DEAD_LETTER_PREFIX) {
        true => RETRY_TOPIC_BYTES_MAX,
        false => TOPIC_BYTES_MAX,
    };
    if name.trim().is_empty() {
        return invalid("The specified topic is blank.".to_string());
    }
    if !has_name_characters(name) {
        return invalid(format!(
            "The specified topic: {}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
            name.chars().take(TOPIC_BYTES_MAX).collect::<String>()
        ));
    }
    if name.len() > bytes_max {
        return invalid(format!(
            "The specified topic is longer than topic max length {bytes_max}."
        ));
    }
    Ok(())
}

/// The characters that names of topics and groups are made of.
pub(super) fn has_name_characters(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-'))
}

/// `config/topics.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SavedTopics {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

type TopicTable = HashMap<String, Arc<TopicConfig>, RandomState>;

struct Table {
    topics: TopicTable,
    version: DataVersion,
}

/// All topics of this broker.
pub struct Topics {
    /// Names beside those of [`system::ALL`] that are system topics here: cluster, broker, their reply and sync topics.
    /// Constant after open.
    own_system: HashSet<String>,
    table: RwLock<Table>,
}

/// What [`Topics::create_from`] and its like found or made.
#[derive(Debug, Clone)]
pub struct Ensured {
    pub topic: Arc<TopicConfig>,
    /// True if this call created or changed it: save and register before relying on it.
    pub changed: bool,
}

impl Topics {
    /// The built-in topics of a broker, under what was saved: a file's values win.
    pub fn open(saved: Option<SavedTopics>, options: &BrokerOptions) -> Topics {
        let built_in = built_in_topics(options);
        let own_system = built_in.iter().map(|topic| topic.topic_name.clone()).collect();
        let mut topics: TopicTable = built_in
            .into_iter()
            .map(|topic| (topic.topic_name.clone(), Arc::new(topic)))
            .collect();
        let saved = saved.unwrap_or_default();
        for (name, mut topic) in saved.topic_config_table {
            topic.topic_name.clone_from(&name);
            topics.insert(name, Arc::new(topic));
        }
        if !options.auto_create_topics {
            // A template kept in the file from earlier days must not go on creating topics.
            if let Some(template) = topics.get_mut(system::DEFAULT) {
                Arc::make_mut(template).perm = READ_WRITE;
            }
        }
        Topics {
            own_system,
            table: RwLock::new(Table {
                topics,
                version: saved.data_version,
            }),
        }
    }

    /// The topic, if it exists.
    pub fn get(&self, name: &str) -> Option<Arc<TopicConfig>> {
        self.read().topics.get(name).cloned()
    }

    /// The topic for a message of a client. `None` if it does not exist and may have to be created.
    ///
    /// # Errors
    /// 29 for a name that no topic can have, 16 for topics that only the broker writes to and for read-only ones.
    pub fn writable(&self, name: &str) -> Result<Option<Arc<TopicConfig>>, Refusal> {
        let topic = self.get(name);
        if topic.is_none() {
            check_name(name)?;
        }
        if system::BROKER_ONLY.contains(&name) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("Sending message to topic[{name}] is forbidden."),
            ));
        }
        match topic {
            Some(topic) if topic.perm & perm::WRITE == 0 => Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the topic[{name}] sending message is forbidden"),
            )),
            topic => Ok(topic),
        }
    }

    /// The topic a consumer may pull `queue_id` from.
    ///
    /// # Errors
    /// 17 unknown, 16 not readable, 29 no such queue; `consumer` is named in the remark of the last.
    pub fn readable(
        &self,
        name: &str,
        queue_id: i32,
        consumer: std::net::SocketAddr,
    ) -> Result<Arc<TopicConfig>, Refusal> {
        let Some(topic) = self.get(name) else {
            return Err(Refusal::new(
                response::TOPIC_NOT_EXIST,
                format!("topic[{name}] not exist, apply first please! {FAQ}"),
            ));
        };
        if topic.perm & perm::READ == 0 {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the topic[{name}] pulling message is forbidden"),
            ));
        }
        if queue_id < 0 || queue_id >= topic.read_queue_nums {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "queueId[{queue_id}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{}] consumer:[/{consumer}]",
                    topic.read_queue_nums
                ),
            ));
        }
        Ok(topic)
    }

    /// The topic, made after `template` if it does not exist and the template may be inherited from. `None` otherwise.
    pub fn create_from(
        &self,
        template: &str,
        name: &str,
        queues_wished: i32,
        sys_flag: i32,
        now_ms: i64,
    ) -> Option<Ensured> {
        let mut table = self.write();
        if let Some(topic) = table.topics.get(name) {
            return Some(Ensured {
                topic: Arc::clone(topic),
                changed: false,
            });
        }
        let template = table
            .topics
            .get(template)
            .filter(|template| template.perm & perm::INHERIT != 0)?;
        let queues = queues_wished.min(template.write_queue_nums).max(0);
        let topic = TopicConfig {
            topic_sys_flag: sys_flag,
            topic_filter_type: template.topic_filter_type,
            ..TopicConfig::new(name, queues, queues, template.perm & !perm::INHERIT)
        };
        Some(Ensured {
            topic: table.put(topic, now_ms),
            changed: true,
        })
    }

    /// A topic that the broker itself needs (a group's retries, dead letters), with at least `queues` queues. It never loses
    /// queues here, so that what is in them stays readable. `order` is left as it is where `None`.
    pub fn ensure(&self, name: &str, queues: i32, order: Option<bool>, now_ms: i64) -> Ensured {
        let suffices = |topic: &TopicConfig| {
            topic.write_queue_nums >= queues
                && topic.read_queue_nums >= queues
                && order.is_none_or(|order| order == topic.order)
        };
        // Every heartbeat comes here, and hardly any changes something.
        if let Some(topic) = self.get(name).filter(|topic| suffices(topic)) {
            return Ensured {
                topic,
                changed: false,
            };
        }
        let mut table = self.write();
        let mut topic = match table.topics.get(name) {
            Some(topic) if suffices(topic) => {
                return Ensured {
                    topic: Arc::clone(topic),
                    changed: false,
                };
            }
            Some(topic) => TopicConfig::clone(topic),
            None => TopicConfig::new(name, queues, queues, READ_WRITE),
        };
        topic.read_queue_nums = topic.read_queue_nums.max(queues);
        topic.write_queue_nums = topic.write_queue_nums.max(queues);
        topic.order = order.unwrap_or(topic.order);
        Ensured {
            topic: table.put(topic, now_ms),
            changed: true,
        }
    }

    /// Marks topics as ordered that a name server's settings name. Nothing is unmarked: the settings may lack a topic that
    /// was made ordered here. Returns whether any changed.
    pub fn mark_ordered<'a>(&self, names: impl Iterator<Item = &'a str>, now_ms: i64) -> bool {
        let mut table = self.write();
        let mut changed = false;
        for name in names {
            if let Some(topic) = table.topics.get(name).filter(|topic| !topic.order) {
                let topic = TopicConfig {
                    order: true,
                    ..TopicConfig::clone(topic)
                };
                table.put(topic, now_ms);
                changed = true;
            }
        }
        changed
    }

    /// Creates the topic or replaces it.
    pub fn update(&self, topic: TopicConfig, now_ms: i64) -> Arc<TopicConfig> {
        self.write().put(topic, now_ms)
    }

    /// Removes the topic; `None` if there was none.
    pub fn remove(&self, name: &str, now_ms: i64) -> Option<Arc<TopicConfig>> {
        let mut table = self.write();
        let removed = table.topics.remove(name)?;
        table.version.advance(now_ms);
        Some(removed)
    }

    /// Marks the table as changed, for example because the broker's permission did.
    pub fn touch(&self, now_ms: i64) {
        self.write().version.advance(now_ms);
    }

    /// Every topic, by name.
    pub fn all(&self) -> Vec<Arc<TopicConfig>> {
        let mut all: Vec<_> = self.read().topics.values().cloned().collect();
        all.sort_unstable_by(|one, other| one.topic_name.cmp(&other.topic_name));
        all
    }

    /// The table and its version at one moment, as it is saved and registered.
    pub fn snapshot(&self) -> SavedTopics {
        let table = self.read();
        SavedTopics {
            data_version: table.version,
            topic_config_table: table
                .topics
                .iter()
                .map(|(name, topic)| (name.clone(), TopicConfig::clone(topic)))
                .collect(),
        }
    }

    /// The version of the table.
    pub fn version(&self) -> DataVersion {
        self.read().version
    }

    /// Whether RocketMQ itself uses the topic: it cannot be created, changed or deleted by request.
    pub fn is_system(&self, name: &str) -> bool {
        system::ALL.contains(&name) || name.starts_with(system::PREFIX) || self.own_system.contains(name)
    }

    /// The names of the system topics this broker has, sorted (GET_SYSTEM_TOPIC_LIST_FROM_BROKER).
    pub fn system_names(&self) -> Vec<String> {
        let names = self.own_system.iter().map(String::as_str).chain(system::ALL);
        let unique: std::collections::BTreeSet<&str> = names.collect();
        unique.into_iter().map(str::to_string).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table
            .read()
            .expect("no code panics while it holds the topics")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table
            .write()
            .expect("no code panics while it holds the topics")
    }
}

impl Table {
    fn put(&mut self, topic: TopicConfig, now_ms: i64) -> Arc<TopicConfig> {
        let topic = Arc::new(topic);
        self.topics.insert(topic.topic_name.clone(), Arc::clone(&topic));
        self.version.advance(now_ms);
        topic
    }
}

/// Ends remarks that Apache ends with a pointer to its FAQ; clients print them.
pub(super) const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// The topics that exist from the start. A name server refuses a first registration of a single topic, so that there are
/// several is part of the protocol.
fn built_in_topics(options: &BrokerOptions) -> Vec<TopicConfig> {
    let topic = |name: &str, queues, perm| TopicConfig::new(name, queues, queues, perm);
    let inheritable = READ_WRITE | perm::INHERIT;
    let (cluster, broker) = (&options.cluster, &options.name);
    let mut topics = vec![
        topic(system::SELF_TEST, 1, READ_WRITE),
        topic(system::BENCHMARK, 1024, READ_WRITE),
        topic(cluster, 16, inheritable),
        topic(broker, 1, inheritable),
        topic(system::OFFSET_MOVED, 1, READ_WRITE),
        topic(system::SCHEDULE, 18, READ_WRITE),
        topic(&format!("{cluster}_REPLY_TOPIC"), 1, READ_WRITE),
        topic(&format!("rmq_sys_REVIVE_LOG_{cluster}"), 8, READ_WRITE),
        topic(&format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}"), 1, perm::INHERIT),
        topic(system::TRANSACTION_HALF, 1, READ_WRITE),
        topic(system::TRANSACTION_OP, 1, READ_WRITE),
        topic(system::TIMER, 1, READ_WRITE),
    ];
    if options.auto_create_topics {
        topics.push(topic(system::DEFAULT, options.default_topic_queues, inheritable));
    }
    if let Some(trace) = &options.trace_topic {
        topics.push(topic(trace, 1, READ_WRITE));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::open(None, &BrokerOptions::default())
    }

    #[test]
    fn a_new_topic_takes_the_smaller_queue_count_and_loses_the_inherit_bit() {
        let topics = topics();
        let made = topics
            .create_from(system::DEFAULT, "orders", 4, 0, 1)
            .expect("TBW102 may be inherited from");
        assert!(made.changed);
        assert_eq!((made.topic.read_queue_nums, made.topic.perm), (4, READ_WRITE));
        let wide = topics
            .create_from(system::DEFAULT, "wide", 64, 0, 1)
            .expect("TBW102 may be inherited from");
        assert_eq!(wide.topic.write_queue_nums, 8);
        assert!(
            !topics
                .create_from(system::DEFAULT, "orders", 4, 0, 2)
                .expect("it exists")
                .changed
        );
        assert!(
            topics.create_from("orders", "child", 4, 0, 2).is_none(),
            "orders is no template"
        );
    }

    #[test]
    fn without_auto_create_an_old_template_creates_nothing() {
        let saved = topics().snapshot();
        let options = BrokerOptions {
            auto_create_topics: false,
            ..BrokerOptions::default()
        };
        let topics = Topics::open(Some(saved), &options);
        assert!(topics.create_from(system::DEFAULT, "orders", 4, 0, 1).is_none());
    }

    #[test]
    fn names_are_checked_as_apache_checks_them() {
        assert!(check_name("a-Z_0|%").is_ok());
        assert!(check_name(&"t".repeat(127)).is_ok());
        assert!(check_name(&format!("%RETRY%{}", "g".repeat(200))).is_ok());
        for bad in [
            " ",
            "",
            "bad topic!",
            "ä",
            &"t".repeat(128),
            &format!("%DLQ%{}", "g".repeat(255)),
        ] {
            assert_eq!(check_name(bad).expect_err(bad).code, response::INVALID_PARAMETER);
        }
    }

    #[test]
    fn more_retry_queues_follow_at_once_and_fewer_stay_readable() {
        let topics = topics();
        topics.ensure("%RETRY%g", 1, Some(false), 1);
        let more = topics.ensure("%RETRY%g", 2, None, 2).topic;
        assert_eq!((more.read_queue_nums, more.write_queue_nums), (2, 2));
        let fewer = topics.ensure("%RETRY%g", 1, None, 3);
        assert!(!fewer.changed);
        assert_eq!(fewer.topic.read_queue_nums, 2);
    }

    #[test]
    fn clients_do_not_write_to_topics_of_the_broker_nor_to_read_only_ones() {
        let topics = topics();
        topics.update(
            TopicConfig {
                topic_name: "frozen".into(),
                perm: perm::READ,
                ..TopicConfig::default()
            },
            1,
        );
        for name in [
            system::SCHEDULE,
            system::TRANSACTION_HALF,
            system::TIMER,
            "frozen",
        ] {
            assert_eq!(
                topics.writable(name).expect_err(name).code,
                response::NO_PERMISSION
            );
        }
        assert!(topics.writable("unknown").expect("a fine name").is_none());
    }
}
