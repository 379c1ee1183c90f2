// SPDX-License-Identifier: MIT OR Apache-2.0
//! The side of iceoryx2 for benches/queues.c: publish and subscribe between two processes, in place, with nothing dropped; the
//! same messages, made and read by the same machine code. Prints one line for the harness: the ticks of `count` messages, or
//! p50, p99 and p99.9 of as many round trips; then how often other programs took a processor away.
//!
//! `shmkit-bench-iceoryx2 throughput|roundtrip SIZE COUNT WARM ROOM CPU CPU FOLDER PREFIX`, the first processor being that of
//! the process that measures.

use std::arch::x86_64::{_mm_pause, _rdtsc};
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use iceoryx2::config::Config;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

unsafe extern "C" {
    fn payload_fill(message: *mut u64, bytes: usize, number: u64) -> u64;
    fn payload_sum(message: *const u64, bytes: usize) -> u64;
    fn payload_pin(cpu: i32) -> i32;
    fn payload_taken_away() -> i64;
    fn payload_percentiles(ticks: *mut u64, count: usize, chosen: *mut u64);
}

type Done<T> = Result<T, Box<dyn Error>>;
type Service = ipc::Service;

/// The longest that a message may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Plan {
    what: String,
    size: usize,
    count: u64,
    warm: u64,
    room: usize,
    cpus: [i32; 2],
    config: Config,
    prefix: String,
}

fn plan(args: &[String]) -> Done<Plan> {
    let [what, size, count, warm, room, near, far, folder, prefix] = args else {
        return Err("throughput|roundtrip SIZE COUNT WARM ROOM CPU CPU FOLDER PREFIX".into());
    };
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix.as_bytes())?;
    config.global.set_root_path(&Path::new(folder.as_bytes())?);
    Ok(Plan {
        what: what.clone(),
        size: size.parse()?,
        count: count.parse()?,
        warm: warm.parse()?,
        room: room.parse()?,
        cpus: [near.parse()?, far.parse()?],
        config,
        prefix: prefix.clone(),
    })
}

fn ticks() -> u64 {
    unsafe { _rdtsc() }
}

fn service(node: &Node<Service>, plan: &Plan, name: &str) -> Done<PortFactory<Service, [u64], ()>> {
    Ok(node
        .service_builder(&format!("{}/{name}", plan.prefix).as_str().try_into()?)
        .publish_subscribe::<[u64]>()
        .enable_safe_overflow(false)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(1)
        .subscriber_max_buffer_size(plan.room)
        .subscriber_max_borrowed_samples(1)
        .open_or_create()?)
}

struct Writer(Publisher<Service, [u64], ()>);

impl Writer {
    fn new(service: &PortFactory<Service, [u64], ()>, plan: &Plan) -> Done<Writer> {
        let builder = service.publisher_builder().initial_max_slice_len(plan.size / 8);
        Ok(Writer(builder.max_loaned_samples(1).create()?))
    }

    fn send(&self, size: usize, number: u64) -> Done<u64> {
        let mut sample = self.0.loan_slice_uninit(size / 8)?;
        let sum = unsafe { payload_fill(sample.payload_mut().as_mut_ptr().cast(), size, number) };
        let sample = unsafe { sample.assume_init() };
        if sample.send()? != 1 {
            return Err("a message did not reach the subscriber".into());
        }
        Ok(sum)
    }
}

struct Reader(Subscriber<Service, [u64], ()>);

impl Reader {
    fn new(service: &PortFactory<Service, [u64], ()>, plan: &Plan) -> Done<Reader> {
        Ok(Reader(service.subscriber_builder().buffer_size(plan.room).create()?))
    }

    fn receive(&self, size: usize, number: u64) -> Done<u64> {
        let mut turns = 0u64;
        let mut waits_since = Instant::now();
        loop {
            if let Some(sample) = self.0.receive()? {
                let payload = sample.payload();
                if payload.len() * 8 != size || payload[0] != number {
                    return Err("another message than the next one came".into());
                }
                return Ok(unsafe { payload_sum(payload.as_ptr(), size) });
            }
            _mm_pause();
            turns += 1;
            if turns % 1000 == 0 {
                std::thread::yield_now();
                if turns == 1000 {
                    waits_since = Instant::now();
                } else if waits_since.elapsed() > PATIENCE {
                    return Err("no message came for a long time".into());
                }
            }
        }
    }
}

/// What the other process does: writes, or answers. Its sum and how often it lost its processor.
fn other(plan: &Plan, node: &Node<Service>) -> Done<(u64, i64)> {
    let there = service(node, plan, "there")?;
    let all = plan.warm + plan.count;
    let mut sum = 0u64;
    if plan.what == "throughput" {
        let writer = Writer::new(&there, plan)?;
        std::io::stdin().read_exact(&mut [0])?;
        let before = unsafe { payload_taken_away() };
        for number in 0..all {
            sum = sum.wrapping_add(writer.send(plan.size, number)?);
        }
        let taken_away = unsafe { payload_taken_away() } - before;
        // What was sent is gone with its publisher.
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok((sum, taken_away));
    }
    let back = service(node, plan, "back")?;
    let (writer, reader) = (Writer::new(&back, plan)?, Reader::new(&there, plan)?);
    std::io::stdin().read_exact(&mut [0])?;
    let before = unsafe { payload_taken_away() };
    for number in 0..all {
        sum = sum.wrapping_add(reader.receive(plan.size, number)?);
        sum = sum.wrapping_add(writer.send(plan.size, number)?);
    }
    let taken_away = unsafe { payload_taken_away() } - before;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok((sum, taken_away))
}

fn measure(plan: &Plan, node: &Node<Service>, args: &[String]) -> Done<String> {
    let there = service(node, plan, "there")?;
    let back = if plan.what == "throughput" { None } else { Some(service(node, plan, "back")?) };
    let reader = Reader::new(back.as_ref().unwrap_or(&there), plan)?;
    let writer = if back.is_some() { Some(Writer::new(&there, plan)?) } else { None };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("other").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: one system call, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    // What is sent before both sides have seen each other may be lost.
    let ours = back.as_ref().unwrap_or(&there);
    while ours.dynamic_config().number_of_publishers() == 0 || there.dynamic_config().number_of_subscribers() == 0 {
        if child.try_wait()?.is_some() {
            return Err("the other process ended".into());
        }
        std::thread::yield_now();
    }
    reader.0.has_samples()?;
    if let Some(writer) = &writer {
        writer.0.update_connections()?;
    }
    child.stdin.as_mut().ok_or("no pipe")?.write_all(b"g")?;
    let mut sum = 0u64;
    let mut times = vec![0u64; plan.count as usize];
    let mut before = unsafe { payload_taken_away() };
    let mut start = ticks();
    for number in 0..plan.warm + plan.count {
        if number == plan.warm {
            (start, before) = (ticks(), unsafe { payload_taken_away() });
        }
        if let Some(writer) = &writer {
            sum = sum.wrapping_add(writer.send(plan.size, number)?);
            sum = sum.wrapping_add(reader.receive(plan.size, number)?);
            let now = ticks();
            if number >= plan.warm {
                times[(number - plan.warm) as usize] = now - start;
            }
            start = now;
        } else {
            sum = sum.wrapping_add(reader.receive(plan.size, number)?);
        }
    }
    let took = ticks() - start;
    let taken_away = unsafe { payload_taken_away() } - before;
    drop(child.stdin.take());
    let mut said = String::new();
    child.stdout.take().ok_or("no pipe")?.read_to_string(&mut said)?;
    if !child.wait()?.success() {
        return Err("the other process failed".into());
    }
    let mut words = said.split_whitespace();
    let (its_sum, its_taken_away): (u64, i64) =
        (words.next().ok_or("nothing said")?.parse()?, words.next().ok_or("nothing said")?.parse()?);
    if its_sum != sum {
        return Err("the sums of both sides differ".into());
    }
    let taken_away = taken_away + its_taken_away;
    if writer.is_none() {
        return Ok(format!("{took} {taken_away}"));
    }
    let mut chosen = [0u64; 3];
    unsafe { payload_percentiles(times.as_mut_ptr(), times.len(), chosen.as_mut_ptr()) };
    Ok(format!("{} {} {} {taken_away}", chosen[0], chosen[1], chosen[2]))
}

fn main() -> Done<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let is_other = args.first().is_some_and(|first| first == "other");
    if is_other {
        args.remove(0);
    }
    let plan = plan(&args)?;
    set_log_level(LogLevel::Error);
    if unsafe { payload_pin(plan.cpus[usize::from(is_other)]) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let node = NodeBuilder::new().config(&plan.config).create::<Service>()?;
    if is_other {
        let (sum, taken_away) = other(&plan, &node)?;
        println!("{sum} {taken_away}");
    } else {
        println!("{}", measure(&plan, &node, &args)?);
    }
    Ok(())
}
