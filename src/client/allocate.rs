//! Which queues of a topic belong to which member of a group. Every member computes this by itself from the same sorted
//! lists, so that no queue has two owners: the strategies are Apache's, to the bit (`AllocateMessageQueueStrategy`).
//! Pure; called by the rebalance.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use crate::protocol::request::body::MessageQueue;

/// Places a member holds on the ring of [`Allocation::ConsistentHash`] unless chosen otherwise, as in Apache's clients.
pub const VIRTUAL_NODES: u32 = 10;

/// How a topic's queues are divided among the members of a group. All members must use the same one.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Allocation {
    /// Neighbouring queues together; the first members get one more (`AVG`).
    #[default]
    Averagely,
    /// Dealt out like cards (`AVG_BY_CIRCLE`).
    Circle,
    /// By MD5 on a ring, so that a member that comes or goes moves few queues (`CONSISTENT_HASH`).
    ConsistentHash { virtual_nodes: u32 },
    /// Only queues of brokers named `room@…` of these rooms, averagely (`MACHINE_ROOM`).
    MachineRooms(Vec<String>),
    /// These queues, whoever else consumes (`CONFIG`).
    Fixed(Vec<MessageQueue>),
}

impl Allocation {
    /// The queues of `own` among `queues` (one topic, sorted), shared by `members` (client ids, sorted). Empty when `own`
    /// is not among the members yet.
    pub fn allocate(&self, own: &str, queues: &[MessageQueue], members: &[String]) -> Vec<MessageQueue> {
        let Some(index) = members.iter().position(|member| member == own) else {
            return Vec::new();
        };
        match self {
            Allocation::Averagely => averagely(index, queues, members.len()),
            Allocation::Circle => queues
                .iter()
                .skip(index)
                .step_by(members.len())
                .cloned()
                .collect(),
            Allocation::ConsistentHash { virtual_nodes } => by_ring(own, queues, members, *virtual_nodes),
            Allocation::MachineRooms(rooms) => by_rooms(index, queues, members.len(), rooms),
            Allocation::Fixed(fixed) => queues
                .iter()
                .filter(|queue| fixed.contains(queue))
                .cloned()
                .collect(),
        }
    }
}

fn averagely(index: usize, queues: &[MessageQueue], members: usize) -> Vec<MessageQueue> {
    let (share, rest) = (queues.len() / members, queues.len() % members);
    let (start, count) = if index < rest {
        (index * (share + 1), share + 1)
    } else {
        (index * share + rest, share)
    };
    queues[start..start + count].to_vec()
}

fn by_ring(own: &str, queues: &[MessageQueue], members: &[String], virtual_nodes: u32) -> Vec<MessageQueue> {
    let mut ring = BTreeMap::new();
    for member in members {
        for node in 0..virtual_nodes {
            ring.insert(ring_place(&format!("{member}-{node}")), member);
        }
    }
    let owner = |queue: &MessageQueue| {
        let text = format!(
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            queue.topic, queue.broker_name, queue.queue_id
        );
        let place = ring_place(&text);
        ring.range(place..)
            .next()
            .or_else(|| ring.first_key_value())
            .map(|(_, member)| *member)
    };
    queues
        .iter()
        .filter(|queue| owner(queue).is_some_and(|member| member == own))
        .cloned()
        .collect()
}

/// The first four bytes of the MD5 of `text`.
fn ring_place(text: &str) -> u32 {
    let digest = Md5::digest(text.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Apache deals the remainder out from the end of the list here, unlike [`averagely`].
fn by_rooms(index: usize, queues: &[MessageQueue], members: usize, rooms: &[String]) -> Vec<MessageQueue> {
    let in_rooms: Vec<&MessageQueue> = queues.iter().filter(|queue| is_in_rooms(queue, rooms)).collect();
    let (share, rest) = (in_rooms.len() / members, in_rooms.len() % members);
    let even = in_rooms[index * share..(index + 1) * share].iter();
    let extra = (index < rest).then(|| &in_rooms[share * members + index]);
    even.chain(extra).map(|queue| (*queue).clone()).collect()
}

fn is_in_rooms(queue: &MessageQueue, rooms: &[String]) -> bool {
    match queue.broker_name.split_once('@') {
        Some((room, broker)) => !broker.contains('@') && rooms.iter().any(|known| known == room),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(broker: &str, count: i32) -> Vec<MessageQueue> {
        (0..count)
            .map(|queue_id| MessageQueue {
                topic: "T".into(),
                broker_name: broker.into(),
                queue_id,
            })
            .collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("10.0.0.{index}@client")).collect()
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    fn shares(allocation: &Allocation, queues: &[MessageQueue], members: &[String]) -> Vec<Vec<i32>> {
        members
            .iter()
            .map(|own| ids(&allocation.allocate(own, queues, members)))
            .collect()
    }

    #[test]
    fn averagely_gives_five_queues_to_two_members_as_three_and_two() {
        let shares = shares(&Allocation::Averagely, &queues("a", 5), &members(2));
        assert_eq!(shares, [vec![0, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn more_members_than_queues_leaves_the_last_ones_without() {
        let shares = shares(&Allocation::Averagely, &queues("a", 2), &members(3));
        assert_eq!(shares, [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn circle_deals_queues_out_in_turn() {
        let shares = shares(&Allocation::Circle, &queues("a", 5), &members(2));
        assert_eq!(shares, [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn rooms_count_only_brokers_of_the_named_rooms() {
        let mut all = queues("hz@a", 5);
        all.extend(queues("sh@b", 4));
        all.extend(queues("c", 4));
        let shares = shares(&Allocation::MachineRooms(vec!["hz".into()]), &all, &members(2));
        assert_eq!(shares, [vec![0, 1, 4], vec![2, 3]]);
    }

    #[test]
    fn fixed_queues_are_taken_of_the_asked_topic_only() {
        let mut fixed = queues("a", 1);
        fixed.push(MessageQueue {
            topic: "Other".into(),
            broker_name: "a".into(),
            queue_id: 1,
        });
        let shares = shares(&Allocation::Fixed(fixed), &queues("a", 5), &members(2));
        assert_eq!(shares, [vec![0], vec![0]]);
    }

    /// Each queue has one owner, and a member that leaves moves only its own queues.
    #[test]
    fn consistent_hash_moves_only_the_queues_of_a_member_that_left() {
        let (allocation, all) = (
            Allocation::ConsistentHash {
                virtual_nodes: VIRTUAL_NODES,
            },
            queues("a", 64),
        );
        let (before, after) = (
            shares(&allocation, &all, &members(4)),
            shares(&allocation, &all, &members(3)),
        );
        assert_eq!(before.iter().map(Vec::len).sum::<usize>(), 64);
        assert_eq!(after.iter().map(Vec::len).sum::<usize>(), 64);
        for (kept, grown) in before.iter().zip(&after) {
            assert!(kept.iter().all(|id| grown.contains(id)));
        }
    }

    /// The ring of Apache's clients: MD5, first four bytes, ten places a member.
    #[test]
    fn ring_places_are_the_first_bytes_of_the_md5() {
        assert_eq!(ring_place(""), 0xd41d_8cd9);
        assert_eq!(ring_place("abc"), 0x9001_5098);
    }

    #[test]
    fn a_stranger_to_the_group_owns_nothing() {
        for allocation in [Allocation::Averagely, Allocation::Circle] {
            assert!(
                allocation
                    .allocate("nobody", &queues("a", 5), &members(2))
                    .is_empty()
            );
        }
    }
}
