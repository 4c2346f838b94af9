//! The consumer groups of this broker: one table, one lock (Apache: `SubscriptionGroupManager`).
//!
//! It decides who may consume and when a group is created unasked. It performs no I/O, see [`super::topics`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{self, FAQ};
use crate::protocol::GROUP_BYTES_MAX;
use crate::protocol::code::response;
use crate::protocol::request::body::DataVersion;
use crate::protocol::request::group::{GroupTable, SubscriptionGroupConfig};
use crate::protocol::request::topic::perm;
use foldhash::fast::RandomState;

/// Groups that exist from the start.
const BUILT_IN: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];
/// Groups with this prefix belong to RocketMQ itself and are created whatever the options say.
const SYSTEM_PREFIX: &str = "CID_RMQ_SYS_";

/// Checks a group's name: 29 if it is blank, too long, or has other characters than Apache allows.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let invalid = |remark| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    if name.trim().is_empty() {
        return invalid("The specified group is blank.".to_string());
    }
    if name.len() > GROUP_BYTES_MAX {
        return invalid(format!(
            "The specified group is longer than group max length {GROUP_BYTES_MAX}."
        ));
    }
    if !topics::has_name_characters(name) {
        return invalid(format!(
            "The specified group: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    Ok(())
}

struct Table {
    groups: HashMap<String, Arc<SubscriptionGroupConfig>, RandomState>,
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
    version: DataVersion,
}

/// All consumer groups of this broker.
pub struct Groups {
    table: RwLock<Table>,
}

/// What [`Groups::ensure`] found or made.
#[derive(Debug, Clone)]
pub struct EnsuredGroup {
    pub group: Arc<SubscriptionGroupConfig>,
    /// True if this call created it: it has to be saved.
    pub changed: bool,
}

impl Groups {
    /// The built-in groups under what was saved: a file's values win.
    pub fn open(saved: Option<GroupTable>) -> Groups {
        let saved = saved.unwrap_or_default();
        let mut groups: HashMap<_, _, _> = BUILT_IN
            .iter()
            .map(|name| (name.to_string(), Arc::new(SubscriptionGroupConfig::named(*name))))
            .collect();
        for (name, mut group) in saved.subscription_group_table {
            group.group_name.clone_from(&name);
            groups.insert(name, Arc::new(group));
        }
        Groups {
            table: RwLock::new(Table {
                groups,
                forbidden: saved.forbidden_table,
                version: saved.data_version,
            }),
        }
    }

    /// The group, if it exists.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.read().groups.get(name).cloned()
    }

    /// The group, created if it does not exist and may be created unasked.
    pub fn ensure(&self, name: &str, options: &BrokerOptions, now_ms: i64) -> Option<EnsuredGroup> {
        if let Some(group) = self.get(name) {
            return Some(EnsuredGroup {
                group,
                changed: false,
            });
        }
        let allowed = options.auto_create_groups || name.starts_with(SYSTEM_PREFIX);
        if !allowed || check_name(name).is_err() {
            return None;
        }
        let mut table = self.write();
        if let Some(group) = table.groups.get(name) {
            return Some(EnsuredGroup {
                group: Arc::clone(group),
                changed: false,
            });
        }
        Some(EnsuredGroup {
            group: table.put(SubscriptionGroupConfig::named(name), now_ms),
            changed: true,
        })
    }

    /// The group for a consumer of it, created unasked where allowed.
    ///
    /// # Errors
    /// 26 unknown, 16 if consuming is switched off for it.
    pub fn consumable(
        &self,
        name: &str,
        options: &BrokerOptions,
        now_ms: i64,
    ) -> Result<EnsuredGroup, Refusal> {
        let Some(ensured) = self.ensure(name, options, now_ms) else {
            return Err(not_exist(name));
        };
        if !ensured.group.consume_enable {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("subscription group no permission, {name}"),
            ));
        }
        Ok(ensured)
    }

    /// Creates the group or replaces it.
    pub fn update(&self, group: SubscriptionGroupConfig, now_ms: i64) -> Arc<SubscriptionGroupConfig> {
        self.write().put(group, now_ms)
    }

    /// Removes the group and what is forbidden to it; `None` if there was none.
    pub fn remove(&self, name: &str, now_ms: i64) -> Option<Arc<SubscriptionGroupConfig>> {
        let mut table = self.write();
        table.forbidden.remove(name);
        let removed = table.groups.remove(name)?;
        table.version.advance(now_ms);
        Some(removed)
    }

    /// Every group, by name.
    pub fn all(&self) -> Vec<Arc<SubscriptionGroupConfig>> {
        let mut all: Vec<_> = self.read().groups.values().cloned().collect();
        all.sort_unstable_by(|one, other| one.group_name.cmp(&other.group_name));
        all
    }

    /// The table and its version at one moment, as `config/subscriptionGroup.json` holds it.
    pub fn snapshot(&self) -> GroupTable {
        let table = self.read();
        GroupTable {
            data_version: table.version,
            forbidden_table: table.forbidden.clone(),
            subscription_group_table: table
                .groups
                .iter()
                .map(|(name, group)| (name.clone(), SubscriptionGroupConfig::clone(group)))
                .collect(),
        }
    }

    /// The version of the table.
    pub fn version(&self) -> DataVersion {
        self.read().version
    }

    /// Whether the group may read the topic (UPDATE_AND_GET_GROUP_FORBIDDEN says no).
    pub fn may_read(&self, group: &str, topic: &str) -> bool {
        let table = self.read();
        let bits = table
            .forbidden
            .get(group)
            .and_then(|topics| topics.get(topic))
            .copied()
            .unwrap_or(0);
        bits & FORBIDDEN_READ == 0
    }

    /// Allows or forbids the group to read the topic. Returns whether anything changed.
    pub fn set_readable(&self, group: &str, topic: &str, readable: bool, now_ms: i64) -> bool {
        let mut table = self.write();
        let topics = table.forbidden.entry(group.to_string()).or_default();
        let bits = topics.get(topic).copied().unwrap_or(0);
        let wanted = if readable {
            bits & !FORBIDDEN_READ
        } else {
            bits | FORBIDDEN_READ
        };
        if wanted == 0 {
            topics.remove(topic);
        } else {
            topics.insert(topic.to_string(), wanted);
        }
        if topics.is_empty() {
            table.forbidden.remove(group);
        }
        if wanted != bits {
            table.version.advance(now_ms);
        }
        wanted != bits
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table
            .read()
            .expect("no code panics while it holds the groups")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table
            .write()
            .expect("no code panics while it holds the groups")
    }
}

/// Apache stores forbidden permissions by the position of their bit: reading (4) is position 2, hence again 4.
const FORBIDDEN_READ: i32 = perm::READ;

impl Table {
    fn put(&mut self, group: SubscriptionGroupConfig, now_ms: i64) -> Arc<SubscriptionGroupConfig> {
        let group = Arc::new(group);
        self.groups.insert(group.group_name.clone(), Arc::clone(&group));
        self.version.advance(now_ms);
        group
    }
}

/// The refusal for a group that does not exist (26).
pub fn not_exist(name: &str) -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{name}] does not exist, {FAQ}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_created_unasked_only_where_allowed() {
        let groups = Groups::open(None);
        let closed = BrokerOptions {
            auto_create_groups: false,
            ..BrokerOptions::default()
        };
        assert!(groups.ensure("g", &closed, 1).is_none());
        assert!(
            groups
                .ensure("CID_RMQ_SYS_X", &closed, 1)
                .expect("a system group")
                .changed
        );
        assert!(
            groups
                .ensure("g", &BrokerOptions::default(), 1)
                .expect("allowed")
                .changed
        );
        assert!(!groups.ensure("g", &closed, 1).expect("it exists").changed);
        assert!(
            groups
                .ensure("bad group!", &BrokerOptions::default(), 1)
                .is_none()
        );
    }

    #[test]
    fn forbidding_a_topic_is_undone_without_a_trace() {
        let groups = Groups::open(None);
        assert!(groups.set_readable("g", "t", false, 1));
        assert!(!groups.may_read("g", "t") && groups.may_read("g", "other"));
        assert!(groups.set_readable("g", "t", true, 2));
        assert!(groups.may_read("g", "t"));
        assert!(groups.snapshot().forbidden_table.is_empty());
    }
}
