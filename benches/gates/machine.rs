//! The machine under the measurement: which CPUs are ours, who uses them, and what a process costs. Reads `/proc` only.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which CPUs a measurement uses. The generator has one thread and one CPU of its own in both layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// The server has one CPU, the generator another: the layout in which ratios repeat best.
    Pinned,
    /// The server may use all CPUs, the generator's included.
    Free,
}

/// The CPUs of the server and of the generator.
#[derive(Clone, Debug)]
pub struct Cpus {
    server: Vec<usize>,
    generator: Vec<usize>,
}

impl Cpus {
    /// Takes the CPUs this process may run on and moves the calling thread, the generator, to its own.
    /// With a single CPU both sides share it.
    pub fn divide(layout: Layout) -> io::Result<Cpus> {
        let allowed = sched_getaffinity(None)?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let last = *all.last().expect("a running thread is allowed on some CPU");
        let server = match layout {
            Layout::Pinned => vec![all[0]],
            Layout::Free => all,
        };
        let cpus = Cpus {
            server,
            generator: vec![last],
        };
        pin(&cpus.generator)?;
        Ok(cpus)
    }

    /// Starts a server on its CPUs: a child inherits them from the thread that starts it, before it has threads itself.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        pin(&self.server)?;
        let child = command.spawn();
        pin(&self.generator)?;
        child
    }

    /// How both sides are placed, for the head of the report.
    pub fn describe(&self) -> String {
        format!(
            "server on CPU {:?}, generator on CPU {:?}",
            self.server, self.generator
        )
    }
}

fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Heap and stacks: what the process costs the machine.
    pub anon: u64,
    /// Resident pages of files: the page cache seen through mappings.
    pub file: u64,
}

/// Resident memory of the process.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line
            .and_then(|line| line.split_whitespace().nth(1))
            .and_then(|number| number.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    Ok(Memory {
        anon: field("RssAnon:"),
        file: field("RssFile:"),
    })
}

/// CPU seconds, user and system, that the process has used in all its threads.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; the 14th and 15th fields are the 12th and 13th behind it.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / ticks_per_second())
}

/// CPU seconds of the calling thread.
pub fn thread_cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// CPU seconds of all CPUs since the machine started.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    busy: f64,
    stolen: f64,
}

impl Ticks {
    fn read() -> io::Result<Ticks> {
        let stat = fs::read_to_string("/proc/stat")?;
        let fields: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0.0) / ticks_per_second();
        // user nice system idle iowait irq softirq steal
        Ok(Ticks {
            busy: at(0) + at(1) + at(2) + at(5) + at(6),
            stolen: at(7),
        })
    }
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Share of the machine above which others disturb a measurement.
pub const FOREIGN_SHARE_MAX: f64 = 0.05;

/// Watches server, generator and everybody else over one window.
pub struct Watch {
    begun: Instant,
    machine: Ticks,
    server: u32,
    server_cpu: f64,
    own_cpu: f64,
    generator_cpu: f64,
}

/// What a [`Watch`] saw.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub seconds: f64,
    /// CPU seconds of the server.
    pub server_cpu: f64,
    /// Share of its CPU that the generator used; near 1 it measured itself.
    pub generator_share: f64,
    /// Share of the machine that others used or the hypervisor took.
    pub foreign_share: f64,
}

impl Watch {
    /// Begins to watch the server with this process id, and the calling thread as the generator.
    pub fn begin(server: u32) -> io::Result<Watch> {
        Ok(Watch {
            begun: Instant::now(),
            machine: Ticks::read()?,
            server,
            server_cpu: cpu_seconds(server)?,
            own_cpu: cpu_seconds(std::process::id())?,
            generator_cpu: thread_cpu_seconds(),
        })
    }

    pub fn end(self) -> io::Result<Usage> {
        let generator = thread_cpu_seconds() - self.generator_cpu;
        let seconds = self.begun.elapsed().as_secs_f64();
        let server_cpu = cpu_seconds(self.server)? - self.server_cpu;
        let own_cpu = cpu_seconds(std::process::id())? - self.own_cpu;
        let now = Ticks::read()?;
        let foreign =
            (now.busy - self.machine.busy - server_cpu - own_cpu).max(0.0) + now.stolen - self.machine.stolen;
        let cpus = online_cpus()?;
        Ok(Usage {
            seconds,
            server_cpu,
            generator_share: generator / seconds,
            foreign_share: foreign / (seconds * cpus),
        })
    }
}

/// CPUs that `/proc/stat` sums up.
fn online_cpus() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let count = stat.lines().filter(|line| line.starts_with("cpu")).count();
    Ok(count.saturating_sub(1).max(1) as f64)
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load_average() -> io::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
