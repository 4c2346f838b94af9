//! Names that clients give: themselves (`ip@pid#time`) and every message they send (Apache: `MessageClientIDSetter`), in
//! the layout that tools take apart to find the sender's address and the time.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// The wall clock in epoch milliseconds.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set after 1970");
    since.as_millis() as i64
}

/// The id of one client at brokers: unique among all clients of a group, or two of them take each other's queues.
/// `instance` names it; `None` makes a name that no other client has.
pub fn client_id(instance: Option<&str>) -> String {
    let address = own_address();
    match instance {
        Some(name) => format!("{address}@{name}"),
        None => format!("{address}@{}#{:016x}", std::process::id(), fastrand::u64(..)),
    }
}

/// The name under which this host keeps what outlives a client, like local offsets: the same in every run (Apache's
/// broadcasting consumers keep their instance name `DEFAULT`).
pub fn lasting_name(instance: Option<&str>) -> String {
    format!("{}@{}", own_address(), instance.unwrap_or("DEFAULT"))
}

/// The address this host uses towards others; loopback where it has no route to anywhere.
fn own_address() -> IpAddr {
    // Connecting a datagram socket sends nothing: it only asks the routing table. The target is a documentation address.
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    route.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// A new message id: upper-case hex of address, process id (2 bytes), a number of this process (4 bytes), milliseconds since
/// the month began (4 bytes) and a counter (2 bytes).
pub fn message_id() -> String {
    static IDS: LazyLock<Mutex<MessageIds>> = LazyLock::new(|| Mutex::new(MessageIds::new(own_address())));
    IDS.lock().expect("making an id does not panic").next(now_ms())
}

/// What the ids of one process share. Own synchronization: one lock around it, held for one formatting.
struct MessageIds {
    prefix: String,
    counter: u16,
    /// The month that the times in the ids count from, as epoch milliseconds: its begin and its end.
    month: (i64, i64),
}

impl MessageIds {
    fn new(address: IpAddr) -> MessageIds {
        let mut prefix = String::new();
        let octets = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets
            .iter()
            .for_each(|byte| prefix.push_str(&format!("{byte:02X}")));
        prefix.push_str(&format!(
            "{:04X}{:08X}",
            std::process::id() as u16,
            fastrand::u32(..)
        ));
        MessageIds {
            prefix,
            counter: 0,
            month: (0, 0),
        }
    }

    fn next(&mut self, now_ms: i64) -> String {
        if !(self.month.0..self.month.1).contains(&now_ms) {
            self.month = month_of(now_ms);
        }
        let counter = self.counter;
        self.counter = counter.wrapping_add(1);
        format!(
            "{}{:08X}{counter:04X}",
            self.prefix,
            (now_ms - self.month.0) as u32
        )
    }
}

/// Begin and end of the local month around a time; readers of the ids count from the same begin.
fn month_of(now_ms: i64) -> (i64, i64) {
    let begin = Timestamp::from_millisecond(now_ms)
        .and_then(|now| now.to_zoned(TimeZone::system()).first_of_month())
        .and_then(|first| first.start_of_day());
    match begin.and_then(|begin| Ok((begin.timestamp(), begin.checked_add(1.month())?.timestamp()))) {
        Ok((begin, end)) => (begin.as_millisecond(), end.as_millisecond()),
        // A clock beyond the calendar: ids stay unique, their times mean nothing.
        Err(_) => (now_ms, i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_shows_address_process_and_time() {
        let mut ids = MessageIds::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)));
        let now = 1_700_000_000_000;
        let (first, second) = (ids.next(now), ids.next(now));
        assert_eq!(first.len(), 32);
        assert_eq!(&first[..8], "0A000005");
        assert_eq!(&first[8..12], format!("{:04X}", std::process::id() as u16));
        let since_month = u32::from_str_radix(&first[20..28], 16).expect("hex digits");
        assert_eq!(i64::from(since_month), now - month_of(now).0);
        assert_eq!((&first[28..], &second[28..]), ("0000", "0001"));
    }

    #[test]
    fn the_time_in_an_id_starts_again_with_the_month() {
        let (_, next_month) = month_of(1_700_000_000_000);
        let mut ids = MessageIds::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        ids.next(next_month - 1);
        assert_eq!(&ids.next(next_month)[20..28], "00000000");
    }

    #[test]
    fn ids_and_clients_are_never_the_same_twice() {
        let ids: std::collections::HashSet<String> = (0..10_000).map(|_| message_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert_ne!(client_id(None), client_id(None));
        assert!(client_id(Some("worker-1")).ends_with("@worker-1"));
        assert!(lasting_name(None).ends_with("@DEFAULT"));
        assert_eq!(lasting_name(Some("worker-1")), client_id(Some("worker-1")));
    }
}
