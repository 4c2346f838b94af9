//! Messages that are delivered later (Apache: `ScheduleMessageService`).

/// `messageDelayLevel` unless configured, in milliseconds: 1s 5s 10s 30s, 1m to 10m, 20m 30m 1h 2h.
pub const LEVELS_DEFAULT_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
    540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];
