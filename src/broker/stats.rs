//! Counts of what the broker stores and serves: since the start, per topic, per group, and as rates.
//!
//! The data path only adds to atomics. [`Stats::step`], called about once a second with the time, takes the samples that
//! rates are made of; requests 28, 202, 208, 315 and 317 read them. Tables are bounded: traffic beyond their size is
//! counted in the totals only.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::protocol::request::broker::{StatsBody, StatsPeriod};

/// Most topics, and most pairs of topic and group, with counts of their own.
pub const TOPICS_MAX: usize = 8192;
pub const PAIRS_MAX: usize = 16384;

/// Samples for "the last minute", "hour" and "day", as Apache takes them: the time between two, and how many are kept.
const MINUTE: Window = Window {
    every_ms: 10_000,
    kept: 7,
};
const HOUR: Window = Window {
    every_ms: 600_000,
    kept: 7,
};
const DAY: Window = Window {
    every_ms: 3_600_000,
    kept: 25,
};
/// Samples of the whole broker for rates over 10, 60 and 600 seconds.
const SECONDS: Window = Window {
    every_ms: 1000,
    kept: 601,
};

struct Window {
    every_ms: i64,
    kept: usize,
}

/// One kind of traffic: how often, how many messages, how many bytes.
#[derive(Default)]
pub struct Flow {
    times: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    samples: Mutex<Samples>,
    /// Nothing happened for as long as samples are kept.
    idle: AtomicBool,
}

/// Counts at one moment.
#[derive(Clone, Copy, Default)]
struct Sample {
    at_ms: i64,
    times: u64,
    messages: u64,
    bytes: u64,
}

#[derive(Default)]
struct Samples {
    minute: VecDeque<Sample>,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
}

/// What a flow is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Messages,
    Bytes,
}

impl Measure {
    fn of(self, sample: &Sample) -> u64 {
        match self {
            Measure::Messages => sample.messages,
            Measure::Bytes => sample.bytes,
        }
    }
}

impl Flow {
    /// Counts one event of so many messages and bytes.
    pub fn add(&self, messages: u64, bytes: u64) {
        self.times.fetch_add(1, Relaxed);
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn now(&self, at_ms: i64) -> Sample {
        Sample {
            at_ms,
            times: self.times.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    fn step(&self, now_ms: i64) {
        let now = self.now(now_ms);
        let samples = &mut *self.samples.lock().expect("nothing panics while it samples");
        if samples.day.is_empty() {
            // What came before the first sample counts too.
            let begin = Sample {
                at_ms: now_ms - SECONDS.every_ms,
                ..Sample::default()
            };
            let all = [&mut samples.minute, &mut samples.hour, &mut samples.day];
            all.into_iter().for_each(|kept| kept.push_back(begin));
        }
        keep(&mut samples.minute, &MINUTE, now);
        keep(&mut samples.hour, &HOUR, now);
        keep(&mut samples.day, &DAY, now);
        let oldest = samples.day.front().filter(|_| samples.day.len() == DAY.kept);
        self.idle
            .store(oldest.is_some_and(|oldest| oldest.times == now.times), Relaxed);
    }

    fn rates(&self, measure: Measure) -> StatsBody {
        let samples = self.samples.lock().expect("nothing panics while it samples");
        StatsBody {
            stats_day: rate(&samples.day, measure),
            stats_hour: rate(&samples.hour, measure),
            stats_minute: rate(&samples.minute, measure),
        }
    }
}

/// Adds a sample if one is due, and drops the oldest beyond the window.
fn keep<T: Timed>(samples: &mut VecDeque<T>, window: &Window, now: T) {
    match samples.back() {
        // The clock was set back: what lies between the two is unknown.
        Some(last) if now.at_ms() < last.at_ms() => samples.clear(),
        Some(last) if now.at_ms() < last.at_ms() + window.every_ms => return,
        _ => {}
    }
    if samples.len() == window.kept {
        samples.pop_front();
    }
    samples.push_back(now);
}

/// Counts with the moment they were taken at.
trait Timed {
    fn at_ms(&self) -> i64;
}

impl Timed for Sample {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

impl Timed for Totals {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

fn rate(samples: &VecDeque<Sample>, measure: Measure) -> StatsPeriod {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return StatsPeriod::default();
    };
    let sum = measure.of(last) - measure.of(first);
    let times = last.times - first.times;
    let average = if times == 0 {
        0.0
    } else {
        sum as f64 / times as f64
    };
    StatsPeriod {
        avgpt: average,
        sum: sum as i64,
        tps: per_second(sum, last.at_ms - first.at_ms),
    }
}

fn per_second(count: u64, span_ms: i64) -> f64 {
    if span_ms <= 0 {
        0.0
    } else {
        count as f64 * 1000.0 / span_ms as f64
    }
}

/// Flows by two names; the second is empty where one name is enough. Two levels, so that a look-up copies no text.
struct Flows {
    table: RwLock<Table>,
    max: usize,
}

#[derive(Default)]
struct Table {
    flows: HashMap<Box<str>, ByName, RandomState>,
    len: usize,
}

type ByName = HashMap<Box<str>, Arc<Flow>, RandomState>;

impl Table {
    fn get(&self, first: &str, second: &str) -> Option<&Arc<Flow>> {
        self.flows.get(first)?.get(second)
    }
}

impl Flows {
    fn new(max: usize) -> Flows {
        Flows {
            table: RwLock::default(),
            max,
        }
    }

    fn get(&self, first: &str, second: &str) -> Option<Arc<Flow>> {
        self.read().get(first, second).cloned()
    }

    /// Called for every message: one shared lock, and no copy of a name or a pointer.
    fn add(&self, first: &str, second: &str, messages: u64, bytes: u64) {
        if let Some(flow) = self.read().get(first, second) {
            return flow.add(messages, bytes);
        }
        if let Some(flow) = self.insert(first, second) {
            flow.add(messages, bytes);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().expect("nothing panics under this lock")
    }

    /// `None` when the table is full.
    fn insert(&self, first: &str, second: &str) -> Option<Arc<Flow>> {
        let mut table = self.table.write().expect("nothing panics under this lock");
        if table.len == self.max {
            return None;
        }
        let Table { flows, len } = &mut *table;
        let flow = flows
            .entry(first.into())
            .or_default()
            .entry(second.into())
            .or_insert_with(|| {
                *len += 1;
                Arc::default()
            });
        Some(flow.clone())
    }

    fn retain(&self, keep: impl Fn(&str, &str, &Flow) -> bool) {
        let mut table = self.table.write().expect("nothing panics under this lock");
        let Table { flows, len } = &mut *table;
        flows.retain(|first, seconds| {
            seconds.retain(|second, flow| keep(first, second, flow));
            !seconds.is_empty()
        });
        *len = flows.values().map(HashMap::len).sum();
    }

    fn step(&self, now_ms: i64) {
        let table = self.read();
        let flows: Vec<Arc<Flow>> = table.flows.values().flat_map(HashMap::values).cloned().collect();
        drop(table);
        flows.iter().for_each(|flow| flow.step(now_ms));
        if flows.iter().any(|flow| flow.idle.load(Relaxed)) {
            self.retain(|_, _, flow| !flow.idle.load(Relaxed));
        }
    }
}

/// How long stores took: Apache's thirteen classes, and a finer scale for the percentiles.
struct Latency {
    classes: [AtomicU64; CLASSES.len() + 1],
    scale: [AtomicU64; SCALE_LEN],
    max_ms: AtomicU64,
}

/// Upper ends of the classes in milliseconds, and their names.
const CLASSES: [(u64, &str); 12] = [
    (0, "<=0ms"),
    (10, "0~10ms"),
    (50, "10~50ms"),
    (100, "50~100ms"),
    (200, "100~200ms"),
    (500, "200~500ms"),
    (1000, "500ms~1s"),
    (2000, "1~2s"),
    (3000, "2~3s"),
    (4000, "3~4s"),
    (5000, "4~5s"),
    (10_000, "5~10s"),
];
const LAST_CLASS: &str = "10s~";

/// Four steps to each doubling of a microsecond: within a fifth of the true value, up to over a minute.
const SCALE_LEN: usize = 4 * 28;

impl Latency {
    fn new() -> Latency {
        Latency {
            classes: [const { AtomicU64::new(0) }; CLASSES.len() + 1],
            scale: [const { AtomicU64::new(0) }; SCALE_LEN],
            max_ms: AtomicU64::new(0),
        }
    }

    fn add(&self, took: Duration) {
        let ms = took.as_millis() as u64;
        let class = CLASSES
            .iter()
            .position(|(end, _)| ms <= *end)
            .unwrap_or(CLASSES.len());
        self.classes[class].fetch_add(1, Relaxed);
        self.scale[scale_step(took.as_micros() as u64)].fetch_add(1, Relaxed);
        if ms > self.max_ms.load(Relaxed) {
            self.max_ms.fetch_max(ms, Relaxed);
        }
    }

    /// `[<=0ms]:12 [0~10ms]:3 …`, a space behind each, as Apache writes it.
    fn distribution(&self) -> String {
        let names = CLASSES.iter().map(|(_, name)| *name).chain([LAST_CLASS]);
        names
            .zip(&self.classes)
            .map(|(name, count)| format!("[{name}]:{} ", count.load(Relaxed)))
            .collect()
    }

    fn scale(&self) -> [u64; SCALE_LEN] {
        std::array::from_fn(|step| self.scale[step].load(Relaxed))
    }
}

fn scale_step(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2)) as usize & 3;
    (4 * (octave - 1) + quarter).min(SCALE_LEN - 1)
}

/// The upper end of a step in microseconds.
fn scale_end(step: usize) -> u64 {
    if step < 4 {
        return step as u64;
    }
    let octave = step / 4 + 1;
    ((step as u64 % 4 + 5) << (octave - 2)) - 1
}

/// The value in milliseconds below which this share of the counts lies; 0 without counts.
fn percentile(counts: &[u64; SCALE_LEN], share: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    let step = counts.iter().position(|count| {
        seen += count;
        total > 0 && seen >= wanted
    });
    step.map_or(0.0, |step| scale_end(step) as f64 / 1000.0)
}

/// Totals of the broker at one moment.
#[derive(Clone, Copy, Default)]
struct Totals {
    at_ms: i64,
    puts: u64,
    found: u64,
    missed: u64,
    transferred: u64,
}

/// What only [`Stats::step`] changes, and readers of rates look at.
struct Sampled {
    totals: VecDeque<Totals>,
    /// Day in local time for which the morning counts hold.
    day: i64,
    yesterday_morning: (u64, u64),
    today_morning: (u64, u64),
    scale: [u64; SCALE_LEN],
    scale_at_ms: i64,
    /// 99th and 99.9th percentile of the last ten seconds, in milliseconds.
    put_latency: (f64, f64),
}

/// Every count of the broker.
pub struct Stats {
    puts: Flow,
    puts_failed: AtomicU64,
    put_latency: Latency,
    /// Answered pulls that found something, their messages and bytes.
    gets: Flow,
    gets_missed: AtomicU64,
    get_max_ms: AtomicU64,
    topics: Flows,
    /// By topic and group.
    groups: Flows,
    /// By topic and group.
    sent_back: Flows,
    started_ms: AtomicI64,
    sampled: Mutex<Sampled>,
}

impl Stats {
    /// All counts at zero.
    pub fn new(now_ms: i64) -> Stats {
        Stats {
            puts: Flow::default(),
            puts_failed: AtomicU64::new(0),
            put_latency: Latency::new(),
            gets: Flow::default(),
            gets_missed: AtomicU64::new(0),
            get_max_ms: AtomicU64::new(0),
            topics: Flows::new(TOPICS_MAX),
            groups: Flows::new(PAIRS_MAX),
            sent_back: Flows::new(PAIRS_MAX),
            started_ms: AtomicI64::new(now_ms),
            sampled: Mutex::new(Sampled {
                totals: VecDeque::from([Totals {
                    at_ms: now_ms,
                    ..Totals::default()
                }]),
                day: local_day(now_ms),
                yesterday_morning: (0, 0),
                today_morning: (0, 0),
                scale: [0; SCALE_LEN],
                scale_at_ms: now_ms,
                put_latency: (0.0, 0.0),
            }),
        }
    }

    /// A send was stored: its messages, its bytes, how long it took.
    pub fn put(&self, topic: &str, messages: u64, bytes: u64, took: Duration) {
        self.puts.add(messages, bytes);
        self.put_latency.add(took);
        self.topics.add(topic, "", messages, bytes);
    }

    /// A send was refused by the store.
    pub fn put_failed(&self) {
        self.puts_failed.fetch_add(1, Relaxed);
    }

    /// A pull was answered with messages.
    pub fn got(&self, topic: &str, group: &str, messages: u64, bytes: u64) {
        self.gets.add(messages, bytes);
        self.groups.add(topic, group, messages, bytes);
    }

    /// A pull found nothing.
    pub fn missed(&self) {
        self.gets_missed.fetch_add(1, Relaxed);
    }

    /// How long reading for a pull took.
    pub fn got_in(&self, took: Duration) {
        self.get_max_ms.fetch_max(took.as_millis() as u64, Relaxed);
    }

    /// A consumer sent a message back.
    pub fn sent_back(&self, topic: &str, group: &str) {
        self.sent_back.add(topic, group, 1, 0);
    }

    /// Forgets the counts of a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.topics.retain(|first, _, _| first != topic);
        self.groups.retain(|first, _, _| first != topic);
        self.sent_back.retain(|first, _, _| first != topic);
    }

    /// Forgets the counts of a deleted group.
    pub fn forget_group(&self, group: &str) {
        self.groups.retain(|_, second, _| second != group);
        self.sent_back.retain(|_, second, _| second != group);
    }

    /// Takes the samples that are due; call it about once a second.
    pub fn step(&self, now_ms: i64) {
        self.puts.step(now_ms);
        self.gets.step(now_ms);
        self.topics.step(now_ms);
        self.groups.step(now_ms);
        self.sent_back.step(now_ms);
        let totals = self.totals(now_ms);
        let scale = self.put_latency.scale();
        let morning = (self.puts.messages.load(Relaxed), self.gets.messages.load(Relaxed));
        let day = local_day(now_ms);
        let sampled = &mut *self.sampled.lock().expect("nothing panics while it samples");
        keep(&mut sampled.totals, &SECONDS, totals);
        if day != sampled.day {
            sampled.yesterday_morning = sampled.today_morning;
            sampled.today_morning = morning;
            sampled.day = day;
        }
        if now_ms >= sampled.scale_at_ms + MINUTE.every_ms {
            let recent = std::array::from_fn(|step| scale[step] - sampled.scale[step]);
            sampled.put_latency = (percentile(&recent, 0.99), percentile(&recent, 0.999));
            sampled.scale = scale;
            sampled.scale_at_ms = now_ms;
        }
    }

    fn totals(&self, at_ms: i64) -> Totals {
        Totals {
            at_ms,
            puts: self.puts.messages.load(Relaxed),
            found: self.gets.times.load(Relaxed),
            missed: self.gets_missed.load(Relaxed),
            transferred: self.gets.messages.load(Relaxed),
        }
    }

    /// Messages a second stored into a topic, over the last minute.
    pub fn topic_rate(&self, topic: &str) -> f64 {
        let flow = self.topics.get(topic, "");
        flow.map_or(0.0, |flow| flow.rates(Measure::Messages).stats_minute.tps)
    }

    /// Messages a second a group took from a topic, over the last minute.
    pub fn group_rate(&self, topic: &str, group: &str) -> f64 {
        let flow = self.groups.get(topic, group);
        flow.map_or(0.0, |flow| flow.rates(Measure::Messages).stats_minute.tps)
    }

    /// One of Apache's statistics by its name and key; `None` if nothing was counted under them.
    pub fn view(&self, name: &str, key: &str, cluster: &str) -> Option<StatsBody> {
        let pair = || key.split_once('@');
        let (flow, measure) = match name {
            "TOPIC_PUT_NUMS" => (self.topics.get(key, "")?, Measure::Messages),
            "TOPIC_PUT_SIZE" => (self.topics.get(key, "")?, Measure::Bytes),
            "GROUP_GET_NUMS" => (
                pair().and_then(|(topic, group)| self.groups.get(topic, group))?,
                Measure::Messages,
            ),
            "GROUP_GET_SIZE" => (
                pair().and_then(|(topic, group)| self.groups.get(topic, group))?,
                Measure::Bytes,
            ),
            "SNDBCK_PUT_NUMS" => (
                pair().and_then(|(topic, group)| self.sent_back.get(topic, group))?,
                Measure::Messages,
            ),
            "BROKER_PUT_NUMS" if key == cluster => return Some(self.puts.rates(Measure::Messages)),
            "BROKER_GET_NUMS" if key == cluster => return Some(self.gets.rates(Measure::Messages)),
            _ => return None,
        };
        Some(flow.rates(measure))
    }

    /// The counts that request 28 shows, under Apache's names. Every one is always there: its exporter drops a broker
    /// that leaves one out.
    pub fn runtime(&self, now_ms: i64) -> Vec<(&'static str, String)> {
        let now = self.totals(now_ms);
        let puts = self.puts.now(now_ms);
        let sampled = self.sampled.lock().expect("nothing panics while it samples");
        let rates = |of: fn(&Totals) -> u64| {
            let rate = |seconds| rate_over(&sampled.totals, &now, seconds, of);
            format!("{:?} {:?} {:?}", rate(10), rate(60), rate(600))
        };
        let average = if puts.messages == 0 {
            0.0
        } else {
            puts.bytes as f64 / puts.messages as f64
        };
        vec![
            ("bootTimestamp", self.started_ms.load(Relaxed).to_string()),
            ("runtime", span_text(now_ms - self.started_ms.load(Relaxed))),
            (
                "putMessageEntireTimeMax",
                self.put_latency.max_ms.load(Relaxed).to_string(),
            ),
            ("putMessageTimesTotal", puts.messages.to_string()),
            (
                "putMessageFailedTimes",
                self.puts_failed.load(Relaxed).to_string(),
            ),
            ("putMessageSizeTotal", puts.bytes.to_string()),
            ("putMessageDistributeTime", self.put_latency.distribution()),
            ("putMessageAverageSize", format!("{average:?}")),
            (
                "getMessageEntireTimeMax",
                self.get_max_ms.load(Relaxed).to_string(),
            ),
            ("putTps", rates(|totals| totals.puts)),
            ("getFoundTps", rates(|totals| totals.found)),
            ("getMissTps", rates(|totals| totals.missed)),
            ("getTotalTps", rates(|totals| totals.found + totals.missed)),
            ("getTransferredTps", rates(|totals| totals.transferred)),
            ("getTransferedTps", rates(|totals| totals.transferred)), // The spelling of 4.9.
            ("putLatency99", format!("{:.2}", sampled.put_latency.0)),
            ("putLatency999", format!("{:.2}", sampled.put_latency.1)),
            (
                "msgPutTotalYesterdayMorning",
                sampled.yesterday_morning.0.to_string(),
            ),
            ("msgPutTotalTodayMorning", sampled.today_morning.0.to_string()),
            ("msgPutTotalTodayNow", now.puts.to_string()),
            (
                "msgGetTotalYesterdayMorning",
                sampled.yesterday_morning.1.to_string(),
            ),
            ("msgGetTotalTodayMorning", sampled.today_morning.1.to_string()),
            ("msgGetTotalTodayNow", now.transferred.to_string()),
        ]
    }
}

/// Events a second since the sample that lies this many seconds back, or the oldest one there is.
fn rate_over(samples: &VecDeque<Totals>, now: &Totals, seconds: i64, of: fn(&Totals) -> u64) -> f64 {
    let since = samples
        .iter()
        .find(|sample| sample.at_ms >= now.at_ms - seconds * 1000);
    since.map_or(0.0, |since| {
        per_second(of(now) - of(since), now.at_ms - since.at_ms)
    })
}

/// `[ 0 days, 0 hours, 0 minutes, 28 seconds ]`.
fn span_text(span_ms: i64) -> String {
    let seconds = span_ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!(
        "[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]",
        seconds % 60
    )
}

/// Number of the day in local time.
fn local_day(now_ms: i64) -> i64 {
    let offset = jiff::Timestamp::from_millisecond(now_ms)
        .map_or(0, |now| jiff::tz::TimeZone::system().to_offset(now).seconds());
    (now_ms / 1000 + i64::from(offset)).div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn runtime(stats: &Stats, now_ms: i64, key: &str) -> String {
        let entries = stats.runtime(now_ms);
        entries
            .into_iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .expect("a known name")
    }

    /// Twenty seconds of ten messages a second in five sends.
    fn busy() -> Stats {
        let stats = Stats::new(START);
        stats.step(START);
        for second in 1..=20 {
            for _ in 0..5 {
                stats.put("orders", 2, 200, Duration::from_micros(300));
                stats.got("orders", "billing", 1, 100);
            }
            stats.missed();
            stats.step(START + second * 1000);
        }
        stats
    }

    #[test]
    fn a_topic_is_seen_with_its_rate_sum_and_average() {
        let stats = busy();
        stats.put("orders", 2, 200, Duration::ZERO);
        stats.step(START + 30_000);
        let minute = stats
            .view("TOPIC_PUT_NUMS", "orders", "c")
            .expect("counted")
            .stats_minute;
        assert_eq!((minute.sum, minute.avgpt), (202, 2.0));
        assert_eq!(minute.tps, 202.0 / 30.0);
        assert_eq!(
            stats
                .view("TOPIC_PUT_SIZE", "orders", "c")
                .expect("counted")
                .stats_minute
                .sum,
            minute.sum * 100
        );
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "nothing", "c"), None);
        assert!(stats.view("GROUP_GET_NUMS", "orders@billing", "c").is_some());
        assert!(stats.view("BROKER_PUT_NUMS", "c", "c").is_some());
        assert_eq!(stats.view("BROKER_PUT_NUMS", "other", "c"), None);
        assert!(stats.group_rate("orders", "billing") > 0.0);
    }

    #[test]
    fn the_rates_of_the_broker_are_three_numbers() {
        let stats = busy();
        let now = START + 20_000;
        assert_eq!(runtime(&stats, now, "putTps"), "10.0 10.0 10.0");
        assert_eq!(runtime(&stats, now, "getTotalTps"), "6.0 6.0 6.0");
        assert_eq!(runtime(&stats, now, "putMessageTimesTotal"), "200");
        assert_eq!(
            runtime(&stats, now, "runtime"),
            "[ 0 days, 0 hours, 0 minutes, 20 seconds ]"
        );
    }

    #[test]
    fn stores_are_sorted_into_apaches_classes_and_percentiles() {
        let stats = Stats::new(START);
        for _ in 0..990 {
            stats.put("t", 1, 1, Duration::from_micros(800));
        }
        for _ in 0..10 {
            stats.put("t", 1, 1, Duration::from_millis(30));
        }
        stats.step(START + 10_000);
        let distribution = runtime(&stats, START, "putMessageDistributeTime");
        assert!(
            distribution.starts_with("[<=0ms]:990 [0~10ms]:0 [10~50ms]:10 "),
            "{distribution}"
        );
        let p99: f64 = runtime(&stats, START, "putLatency99").parse().expect("a number");
        let p999: f64 = runtime(&stats, START, "putLatency999").parse().expect("a number");
        assert!(
            (0.8..1.0).contains(&p99) && (30.0..36.0).contains(&p999),
            "{p99} {p999}"
        );
    }

    #[test]
    fn at_midnight_the_counts_move_to_the_morning() {
        let stats = busy();
        stats.step(START + 86_400_000);
        assert_eq!(runtime(&stats, START, "msgPutTotalTodayMorning"), "200");
        assert_eq!(runtime(&stats, START, "msgPutTotalYesterdayMorning"), "0");
        stats.step(START + 2 * 86_400_000);
        assert_eq!(runtime(&stats, START, "msgPutTotalYesterdayMorning"), "200");
        assert_eq!(runtime(&stats, START, "msgGetTotalTodayMorning"), "100");
    }

    #[test]
    fn what_had_no_traffic_for_a_day_is_forgotten() {
        let stats = Stats::new(START);
        stats.got("orders", "visitor", 1, 1);
        let hours = |hours: i64| START + hours * 3_600_000;
        for hour in 0..=25 {
            stats.put("orders", 1, 1, Duration::ZERO);
            stats.step(hours(hour));
        }
        assert!(stats.view("TOPIC_PUT_NUMS", "orders", "c").is_some());
        assert!(stats.view("GROUP_GET_NUMS", "orders@visitor", "c").is_none());
    }

    #[test]
    fn rates_go_on_after_the_clock_was_set_back() {
        let stats = busy();
        for second in 0..=20 {
            stats.put("orders", 3, 3, Duration::ZERO);
            stats.step(START - 7_200_000 + second * 1000);
        }
        let minute = stats
            .view("TOPIC_PUT_NUMS", "orders", "c")
            .expect("counted")
            .stats_minute;
        assert_eq!((minute.sum, minute.tps), (60, 3.0));
    }

    #[test]
    fn a_full_table_still_counts_the_totals() {
        let stats = Stats::new(START);
        for topic in 0..TOPICS_MAX + 10 {
            stats.put(&topic.to_string(), 1, 1, Duration::ZERO);
        }
        assert_eq!(
            runtime(&stats, START, "putMessageTimesTotal"),
            (TOPICS_MAX + 10).to_string()
        );
        assert!(
            stats
                .view("TOPIC_PUT_NUMS", &(TOPICS_MAX + 9).to_string(), "")
                .is_none()
        );
        stats.forget_topic("0");
        stats.put("after", 1, 1, Duration::ZERO);
        assert!(stats.view("TOPIC_PUT_NUMS", "after", "").is_some());
    }

    #[test]
    fn every_step_of_the_scale_holds_what_is_sorted_into_it() {
        for micros in (0..100_000).chain([1 << 25, 1 << 27]) {
            let step = scale_step(micros);
            assert!(micros <= scale_end(step), "{micros}");
            assert!(step == 0 || micros > scale_end(step - 1), "{micros}");
        }
        assert!(scale_step(u64::MAX) < SCALE_LEN);
    }
}
