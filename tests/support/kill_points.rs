//! Kill points: proves that an operation survives the death of its process at any instruction.
//!
//! A walk runs the operation once in a child under ptrace, one instruction at a time, and writes down every boundary:
//! before each instruction, and at the entry and exit of each system call. Then, for each boundary, a fresh child runs
//! as far as there and is killed, and the caller's check looks at what is left. Fails when the operation itself dies.
//! Never touches the library under test. Only for x86-64; elsewhere a walk says that it did not run.

use std::fmt;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;

/// `all`: every boundary, whatever the budget. A number: that boundary alone, to repeat a failure.
const CHOICE: &str = "SHMKIT_KILL_POINTS";

/// A boundary is tried so often before it counts as missed.
const ATTEMPTS: usize = 3;

/// A recording is made anew until it equals the one before, at most so often, and in half of the budget, but twice at
/// least: the first ones warm the heap. If none equals another, the shortest counts: the others waited for somebody.
pub const RECORDINGS: usize = 6;

/// A longer operation is a mistake: a step takes up to 20 microseconds.
const MOST_BOUNDARIES: usize = 5_000_000;

/// The child's alarm clock: an operation that takes longer hangs.
const STALLED: Duration = Duration::from_secs(300);

/// Which boundaries a walk kills at. System calls belong to every scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every instruction, also those of the C library, of `core` and of the operation's own closure.
    Everything,
    /// Instructions of functions whose symbols are of the crate `shmkit`. What a debug build does not inline (the
    /// atomics of `core`, memcpy) is not among them.
    Library,
}

/// Where in a run a boundary lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before an instruction, or between two rounds of one with a `rep` prefix.
    Instruction,
    /// In the kernel, before the system call of this number has done anything.
    Entry(i64),
    /// In the kernel, after the system call of this number has done all.
    Exit(i64),
    /// The operation is done.
    End,
}

/// Where the child was killed, for the check.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Which boundary of the recorded run, from 0; `SHMKIT_KILL_POINTS` takes this number.
    pub index: usize,
    pub moment: Moment,
    /// The child was killed here. False: its run went another way than the recorded one, and it was killed at the end.
    pub reached: bool,
    /// The instruction that would have been next.
    pub address: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { index, moment, reached, address } = *self;
        match moment {
            Moment::Instruction => write!(out, "boundary {index}: before the instruction at ")?,
            Moment::Entry(number) => write!(out, "boundary {index}: entering system call {number} before ")?,
            Moment::Exit(number) => write!(out, "boundary {index}: leaving system call {number} before ")?,
            Moment::End => write!(out, "boundary {index}: at the end, before ")?,
        }
        write!(out, "{}", Place(address))?;
        out.write_str(if reached { "" } else { ", which this run did not reach" })
    }
}

/// What a walk did.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pub operation: &'static str,
    /// The boundaries of one run that are in the scope.
    pub boundaries: usize,
    /// How many of them a child was killed at.
    pub killed: usize,
    /// How many of them no child reached, because its run differed from the recorded one.
    pub missed: usize,
    /// Boundaries of one run in the library's own code, whatever the scope.
    pub library: usize,
    /// System calls in one run; each has two boundaries.
    pub system_calls: usize,
    /// Boundaries of one run at which the surviving state had just changed; 0 when nobody watches it.
    pub changes: usize,
    /// Two recordings in a row were the same, instruction by instruction.
    pub steady: bool,
    /// The longest time that the check of one death took: who survives has gone on by then.
    pub slowest: Duration,
    /// Stops of all children.
    pub stops: u64,
    pub took: Duration,
}

impl Walk {
    /// A child was killed at every boundary.
    pub fn is_complete(&self) -> bool {
        self.killed == self.boundaries
    }

    /// Boundaries that the budget left out.
    pub fn left_out(&self) -> usize {
        self.boundaries - self.killed - self.missed
    }

    fn print(&self, watched: bool, phase: usize) {
        let Walk { operation, boundaries, killed, missed, library, system_calls, changes, .. } = self;
        let seconds = self.took.as_secs_f64();
        let changes = if watched { format!(", {changes} changes") } else { String::new() };
        let mut line = format!("kill points: {operation}: {killed} of {boundaries} boundaries ");
        line += &format!(
            "({library} in the library, {system_calls} system calls{changes}), {missed} missed, {seconds:.1} s"
        );
        if self.left_out() > 0 {
            line += &format!(", {} left out, phase {phase}", self.left_out());
        }
        line += &format!(", survivors went on within {} ms", self.slowest.as_millis());
        if !self.steady {
            line += ", no two recordings were the same";
        }
        println!("{line}");
    }
}

/// What to walk and how far. Made by `new`, run by `walk`.
pub struct Plan<'a, S> {
    operation: &'static str,
    budget: Duration,
    scope: Scope,
    survivor: Option<&'a dyn Fn(&S) -> u64>,
    before: Option<&'a dyn Fn(&S)>,
    least: usize,
}

/// Walks everything between the operation's first and last instruction: `Plan::new(operation, budget).walk(...)`.
pub fn walk<S>(
    operation: &'static str,
    budget: Duration,
    prepare: impl FnMut() -> S,
    work: impl Fn(&S),
    check: impl FnMut(S, &Point),
) -> Option<Walk> {
    Plan::new(operation, budget).walk(prepare, work, check)
}

impl<'a, S> Plan<'a, S> {
    /// The budget is for the kills; recordings come on top, with 20 microseconds an instruction in a virtual machine. When
    /// it is used up, the boundaries not yet killed at are left out, except system calls and changes.
    pub fn new(operation: &'static str, budget: Duration) -> Self {
        Plan { operation, budget, scope: Scope::Everything, survivor: None, before: None, least: 0 }
    }

    pub fn scope(self, scope: Scope) -> Self {
        Plan { scope, ..self }
    }

    /// Gives a fingerprint of what outlives the child, read from outside: of shared memory that `prepare` mapped, or of
    /// a file. Taken at every boundary of the recorded run. Where it changes, the walk kills whatever the budget: so
    /// each state is seen even by a walk that leaves boundaries out. It must change nothing.
    pub fn watching(self, survivor: &'a dyn Fn(&S) -> u64) -> Self {
        Plan { survivor: Some(survivor), ..self }
    }

    /// At so many boundaries a child is killed whatever the budget, if there are as many.
    pub fn at_least(self, least: usize) -> Self {
        Plan { least, ..self }
    }

    /// What the child does before its first boundary: it is not walked, and nobody is killed in it.
    pub fn before(self, before: &'a dyn Fn(&S)) -> Self {
        Plan { before: Some(before), ..self }
    }

    /// `prepare` makes a fresh state before each run; `work` runs in a child and is killed; `check` is called when the
    /// child is gone. The state should be the same each time, down to the length of its names, or boundaries are
    /// missed. Must be called alone (see `support::alone`). None: did not run, which the one line printed says.
    pub fn walk(self, prepare: impl FnMut() -> S, work: impl Fn(&S), check: impl FnMut(S, &Point)) -> Option<Walk> {
        #[cfg(target_arch = "x86_64")]
        return Some(walker::walk(&self, prepare, work, check));
        #[cfg(not(target_arch = "x86_64"))]
        {
            drop((prepare, work, check));
            super::not_run(&format!("kill points of {}: this processor is not x86-64", self.operation));
            None
        }
    }
}

/// Runs children and chooses where they die.
#[cfg(target_arch = "x86_64")]
mod walker {
    use std::collections::HashMap;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::time::{Instant, SystemTime};

    use super::traced::{Child, Pinned, Stop, end_of_work, has_breakpoints};
    use super::*;

    struct Boundary {
        address: usize,
        moment: Moment,
        /// The stack's height since the beginning of the operation.
        height: u32,
        library: bool,
        changed: bool,
    }

    impl Boundary {
        fn is_system_call(&self) -> bool {
            matches!(self.moment, Moment::Entry(_) | Moment::Exit(_))
        }

        /// Killed at whatever the budget.
        fn is_needed(&self) -> bool {
            self.moment != Moment::Instruction || self.changed
        }
    }

    /// How a child gets to a boundary: so many stops of system calls, then so many hits of a breakpoint, then so many
    /// single steps. The breakpoint is where the steps begin.
    #[derive(Clone, Copy)]
    struct Route {
        calls: u32,
        hits: u32,
        steps: u32,
    }

    /// Costs on the way. In a virtual machine a hit or a step leaves it, and costs three times the stop of a call.
    const CALL: u32 = 1;
    const HIT: u32 = 3;
    const STEP: u32 = 3;
    const BREAKPOINT: u32 = 2;

    /// How often a run passed an address.
    #[derive(Default, Clone, Copy)]
    struct Passes {
        since_begin: u32,
        since_call: u32,
        /// Which stop of a system call `since_call` counts from.
        call: u32,
        /// Twice in a row: a `rep` prefix. A breakpoint may not stop at every round.
        repeats: bool,
    }

    /// A recorded run, and how to go after it. One is made and used again: its memory then stays where it is, and each
    /// child is born with the same heap. It is small, because each fork copies its page table.
    #[derive(Default)]
    struct Script {
        boundaries: Vec<Boundary>,
        routes: Vec<Route>,
        /// The boundaries to kill at: those needed, then the others in an order that lies evenly wherever it is cut.
        order: Vec<u32>,
        needed: usize,
        /// Of an address: it holds a system call; it is the library's.
        known: HashMap<usize, (bool, bool)>,
        passes: HashMap<usize, Passes>,
    }

    impl Script {
        fn count(&self, like: impl Fn(&Boundary) -> bool) -> usize {
            self.boundaries.iter().filter(|boundary| like(boundary)).count()
        }

        fn point(&self, index: usize, reached: bool) -> Point {
            let boundary = &self.boundaries[index];
            Point { index, moment: boundary.moment, reached, address: boundary.address }
        }

        fn last(&self) -> Point {
            self.point(self.boundaries.len() - 1, true)
        }

        /// A number that two runs share if they were the same.
        fn fingerprint(&self) -> u64 {
            self.boundaries.iter().fold(0, |all, boundary| {
                let own = boundary.address as u64 ^ u64::from(boundary.height) << 40;
                (all.rotate_left(5) ^ own).wrapping_mul(0x517c_c1b7_2722_0a95)
            })
        }

        /// Steps a child from the beginning to the end of its work.
        fn record<S>(&mut self, plan: &Plan<S>, state: &S, child: &mut Child) {
            self.boundaries.clear();
            let (_, bottom) = child.place();
            let look = || plan.survivor.map(|survivor| survivor(state));
            let mut seen = look();
            let mut moment = Moment::Instruction;
            loop {
                let (address, stack) = child.place();
                let facts = || (child.is_system_call(address), Symbols::get().is_library(address));
                let (calls, library) = *self.known.entry(address).or_insert_with(facts);
                if address == end_of_work() {
                    moment = Moment::End;
                }
                let now = look();
                let height = bottom.wrapping_sub(stack) as u32;
                let library = library && moment == Moment::Instruction;
                self.boundaries.push(Boundary { address, moment, height, library, changed: now != seen });
                seen = now;
                assert!(self.boundaries.len() < MOST_BOUNDARIES, "{}: too long for a walk", plan.operation);
                // At the exit of a system call the next instruction is due, as at any other boundary.
                let (stop, next) = match moment {
                    Moment::End => return,
                    Moment::Entry(number) => (child.until_system_call(), Moment::Exit(number)),
                    Moment::Instruction | Moment::Exit(_) if calls => {
                        let stop = child.until_system_call();
                        (stop, Moment::Entry(child.system_call()))
                    }
                    Moment::Instruction | Moment::Exit(_) => (child.step(), Moment::Instruction),
                };
                if stop == Stop::Gone {
                    panic!("kill points: {}: the operation {} after {}", plan.operation, child.end(), self.last());
                }
                moment = next;
            }
        }

        /// Finds a cheap route to each boundary: of its own, or on from the boundary before it.
        fn find_routes(&mut self) {
            self.passes.clear();
            self.routes.clear();
            for pair in self.boundaries.windows(2) {
                let again = pair[0].address == pair[1].address && !pair[1].is_system_call();
                self.passes.entry(pair[0].address).or_default().repeats |= again;
            }
            let mut calls = 0;
            let (mut best, mut cost) = (Route { calls: 0, hits: 0, steps: 0 }, 0);
            for (index, boundary) in self.boundaries.iter().enumerate() {
                if index > 0 {
                    best.steps += 1;
                    cost += STEP;
                }
                let mut offer = |calls, hits, offered| {
                    if offered < cost {
                        (best, cost) = (Route { calls, hits, steps: 0 }, offered);
                    }
                };
                if boundary.is_system_call() {
                    calls += 1;
                    offer(calls, 0, calls * CALL);
                }
                // At an entry the address is that of the instruction after the call, which is not due yet.
                if !matches!(boundary.moment, Moment::Entry(_)) {
                    let passes = self.passes.entry(boundary.address).or_default();
                    if passes.call != calls {
                        (passes.call, passes.since_call) = (calls, 0);
                    }
                    passes.since_begin += 1;
                    passes.since_call += 1;
                    if has_breakpoints() && !passes.repeats && !boundary.is_system_call() {
                        offer(0, passes.since_begin, passes.since_begin * HIT + BREAKPOINT);
                        offer(calls, passes.since_call, calls * CALL + passes.since_call * HIT + BREAKPOINT);
                    }
                }
                self.routes.push(best);
            }
        }

        fn choose(&mut self, scope: Scope, phase: usize) {
            let indices = |like: &dyn Fn(&Boundary) -> bool, into: &mut Vec<u32>| {
                into.extend((0..).zip(&self.boundaries).filter(|(_, one)| like(one)).map(|(index, _)| index));
            };
            self.order.clear();
            indices(&Boundary::is_needed, &mut self.order);
            self.needed = self.order.len();
            let mut others = Vec::new();
            indices(&|one| !one.is_needed() && (one.library || scope == Scope::Everything), &mut others);
            let stride = stride(others.len());
            self.order.extend((0..others.len()).map(|turn| others[(phase + turn * stride) % others.len()]));
        }

        /// Brings a child to a boundary; false when its run goes another way.
        fn lead(&self, child: &mut Child, index: usize) -> bool {
            let (_, bottom) = child.place();
            let route = self.routes[index];
            let steps_begin = index - route.steps as usize;
            for _ in 0..route.calls {
                if child.until_system_call() != Stop::SystemCall {
                    return false;
                }
            }
            if route.hits > 0 {
                let breakpoint = self.boundaries[steps_begin].address;
                child.set_breakpoint(breakpoint);
                for _ in 0..route.hits {
                    if child.go_on() != Stop::Trap || child.place().0 != breakpoint {
                        return false;
                    }
                }
                child.clear_breakpoint();
            }
            for boundary in &self.boundaries[steps_begin + 1..=index] {
                let as_recorded = match boundary.is_system_call() {
                    true => child.until_system_call() == Stop::SystemCall,
                    false => child.step() == Stop::Trap,
                };
                if !as_recorded {
                    return false;
                }
            }
            let boundary = &self.boundaries[index];
            let (address, stack) = child.place();
            let same_call = match boundary.moment {
                Moment::Entry(number) => child.system_call() == number,
                // At its exit, rt_sigreturn has lost its number.
                Moment::Exit(_) | Moment::Instruction | Moment::End => true,
            };
            address == boundary.address && bottom.wrapping_sub(stack) as u32 == boundary.height && same_call
        }
    }

    /// The golden section of a length, or the next number that shares no factor with it: in steps of that, each number
    /// below the length comes once, and the first few of them lie evenly.
    fn stride(length: usize) -> usize {
        fn common(a: usize, b: usize) -> usize {
            if b == 0 { a } else { common(b, a % b) }
        }
        let golden = (length as f64 * 0.618_034) as usize;
        (golden.max(1)..).find(|step| common(*step, length.max(1)) == 1).expect("there are primes")
    }

    /// Lets a child run on until the operation is done; it must not fail by itself.
    fn finish(operation: &str, child: &mut Child) {
        let mut last = None;
        child.clear_breakpoint();
        while child.until_system_call() == Stop::SystemCall {
            last = Some(Place(child.place().0));
        }
        if !child.is_at_end() && !child.ended_well() {
            let last = last.map_or(String::new(), |last| format!(", its last system call at {last}"));
            panic!("kill points: {operation}: the operation {}{last}", child.end());
        }
    }

    pub fn walk<S>(
        plan: &Plan<S>,
        mut prepare: impl FnMut() -> S,
        work: impl Fn(&S),
        mut check: impl FnMut(S, &Point),
    ) -> Walk {
        let begin = Instant::now();
        let operation = plan.operation;
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc is there").count();
        // This one, and that of the test harness, which waits for it.
        assert!(threads <= 2, "kill points: {operation}: other threads run: use support::alone");
        /// Who survives waits for a look that sleepers take by themselves, 20 to 4 times a second; the rest is patience with
        /// a machine that has other work.
        const MOST: Duration = Duration::from_secs(10);
        let choice = Choice::read();
        let phase = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_micros() as usize);
        let _until_the_end = Pinned::here();
        let mut stops = 0;
        // One closure for all children: what surrounds the work is then the same, too.
        let start =
            |state: &S| Child::start(|| plan.before.into_iter().for_each(|before| before(state)), || work(state));
        let mut slowest = Duration::ZERO;
        let mut judge = |state: S, point: &Point| {
            let dead = Instant::now();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(state, point))) {
                eprintln!("kill points: {operation}: the check failed after a kill at {point}");
                eprintln!("{CHOICE}={} repeats it", point.index);
                resume_unwind(panic);
            }
            slowest = slowest.max(dead.elapsed());
            assert!(slowest < MOST, "{operation}: who survived had not gone on {slowest:?} after a kill at {point}");
        };

        // The first child is not stepped: an operation that fails by itself, perhaps in a long unwinding, is told at once.
        let state = prepare();
        let mut child = start(&state);
        finish(operation, &mut child);
        assert!(child.is_at_end(), "kill points: {operation}: the operation {}", child.end());
        child.kill();
        stops += child.stops;
        judge(state, &Point { index: 0, moment: Moment::End, reached: true, address: end_of_work() });

        let (mut script, mut shortest) = (Script::default(), Script::default());
        let (mut before, mut steady) = (None, false);
        for turn in 0..RECORDINGS {
            let state = prepare();
            let mut child = start(&state);
            script.record(plan, &state, &mut child);
            child.kill();
            stops += child.stops;
            judge(state, &script.last());
            script.find_routes();
            script.choose(plan.scope, phase);
            let now = script.fingerprint();
            steady = before.replace(now) == Some(now);
            if steady || turn > 0 && begin.elapsed() > plan.budget / 2 {
                break;
            }
            if turn == 0 || script.boundaries.len() < shortest.boundaries.len() {
                std::mem::swap(&mut script, &mut shortest);
            }
        }
        if !steady && shortest.boundaries.len() < script.boundaries.len() {
            script = shortest;
        }

        let mut walk = Walk {
            operation,
            boundaries: script.order.len(),
            killed: 0,
            missed: 0,
            library: script.count(|one| one.library),
            system_calls: script.count(|one| matches!(one.moment, Moment::Entry(_))),
            changes: script.count(|one| one.changed),
            steady,
            slowest: Duration::ZERO,
            stops,
            took: Duration::ZERO,
        };
        let recorded = Instant::now();
        for (turn, index) in script.order.iter().map(|index| *index as usize).enumerate() {
            let taken = match choice {
                Choice::All => true,
                Choice::One(only) => index == only,
                Choice::Budget => turn < script.needed || walk.killed < plan.least || recorded.elapsed() < plan.budget,
            };
            if !taken {
                continue;
            }
            let mut reached = false;
            for _ in 0..ATTEMPTS {
                let state = prepare();
                let mut child = start(&state);
                reached = script.lead(&mut child, index);
                let point = script.point(index, reached);
                if !reached {
                    finish(operation, &mut child);
                }
                child.kill();
                assert!(!reached || child.was_killed(), "the child {} at {point}", child.end());
                walk.stops += child.stops;
                judge(state, &point);
                if reached {
                    break;
                }
            }
            walk.killed += usize::from(reached);
            walk.missed += usize::from(!reached);
        }
        walk.took = begin.elapsed();
        walk.slowest = slowest;
        walk.print(plan.survivor.is_some(), phase);
        walk
    }

    /// What the environment asks for.
    enum Choice {
        Budget,
        All,
        One(usize),
    }

    impl Choice {
        fn read() -> Choice {
            match std::env::var(CHOICE).unwrap_or_default().as_str() {
                "" => Choice::Budget,
                "all" => Choice::All,
                number => Choice::One(number.parse().expect("SHMKIT_KILL_POINTS is `all` or the number of a boundary")),
            }
        }
    }
}

/// One child under ptrace. The unsafe part.
#[cfg(target_arch = "x86_64")]
mod traced {
    use std::mem::offset_of;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;

    use libc::user_regs_struct as Registers;

    use super::*;

    // Two instructions of known address, around the work.
    std::arch::global_asm!(
        ".text",
        ".globl kill_points_work_begins",
        ".hidden kill_points_work_begins",
        ".type kill_points_work_begins, @function",
        "kill_points_work_begins:",
        "int3",
        "ret",
        ".size kill_points_work_begins, . - kill_points_work_begins",
        ".globl kill_points_work_ends",
        ".hidden kill_points_work_ends",
        ".type kill_points_work_ends, @function",
        "kill_points_work_ends:",
        "int3",
        "ret",
        ".size kill_points_work_ends, . - kill_points_work_ends",
    );

    unsafe extern "C" {
        fn kill_points_work_begins();
        fn kill_points_work_ends();
    }

    pub fn end_of_work() -> usize {
        kill_points_work_ends as *const () as usize
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Stop {
        /// After a single step, at a breakpoint, or at the end.
        Trap,
        SystemCall,
        /// The child died by itself.
        Gone,
    }

    pub struct Child {
        pid: i32,
        born: Instant,
        /// The status it ended with, when it is gone.
        status: Option<i32>,
        /// The last signal it got, and where.
        signal: Option<(i32, usize)>,
        /// The signal to pass on.
        pending: i32,
        pub stops: u64,
    }

    /// The exit codes of a child that could not begin and of one whose work panicked.
    const UNTRACED: i32 = 125;
    const PANICKED: i32 = 101;

    impl Child {
        /// Forks a child that stops after `before`, and before the first instruction of `work`.
        pub fn start(before: impl FnOnce(), work: impl FnOnce()) -> Child {
            let born = Instant::now();
            // SAFETY: the child runs `work` alone and leaves by _exit; it is the only thread in either process.
            let pid = unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::alarm(STALLED.as_secs() as u32);
                    if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                        libc::_exit(UNTRACED);
                    }
                    let done = catch_unwind(AssertUnwindSafe(|| {
                        before();
                        kill_points_work_begins();
                        work();
                        kill_points_work_ends();
                    }));
                    libc::_exit(if done.is_ok() { 0 } else { PANICKED });
                }
                pid
            };
            assert!(pid > 0, "fork failed: {}", std::io::Error::last_os_error());
            let mut child = Child { pid, born, status: None, signal: None, pending: 0, stops: 0 };
            assert_eq!(child.wait(), Some(Stop::Trap), "ptrace is not allowed here: the child {}", child.end());
            let options = libc::PTRACE_O_EXITKILL
                | libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEEXEC;
            child.ask(libc::PTRACE_SETOPTIONS, 0, options as usize);
            child
        }

        pub fn step(&mut self) -> Stop {
            self.resume(libc::PTRACE_SINGLESTEP)
        }

        pub fn until_system_call(&mut self) -> Stop {
            self.resume(libc::PTRACE_SYSCALL)
        }

        /// Runs to a breakpoint or the end.
        pub fn go_on(&mut self) -> Stop {
            self.resume(libc::PTRACE_CONT)
        }

        /// The next instruction and the stack pointer.
        pub fn place(&self) -> (usize, usize) {
            (self.register(offset_of!(Registers, rip)), self.register(offset_of!(Registers, rsp)))
        }

        /// The number of the system call that the child enters or leaves.
        pub fn system_call(&self) -> i64 {
            self.register(offset_of!(Registers, orig_rax)) as i64
        }

        fn register(&self, offset: usize) -> usize {
            let mut word = 0usize;
            // The system call itself writes the word; the C library's function would return it.
            self.ask(libc::PTRACE_PEEKUSER, offset_of!(libc::user, regs) + offset, &raw mut word as usize);
            word
        }

        /// Whether the instruction there enters the kernel: `syscall` or `int 0x80`.
        pub fn is_system_call(&self, address: usize) -> bool {
            let mut code = [0u8; 2];
            let here = libc::iovec { iov_base: code.as_mut_ptr().cast(), iov_len: code.len() };
            let there = libc::iovec { iov_base: address as *mut _, iov_len: code.len() };
            // SAFETY: both bytes are writable; the kernel checks the child's side.
            let read = unsafe { libc::process_vm_readv(self.pid, &here, 1, &there, 1, 0) };
            assert!(read > 0, "the child's code at {address:#x}: {}", std::io::Error::last_os_error());
            matches!(code, [0x0f, 0x05] | [0xcd, 0x80])
        }

        pub fn set_breakpoint(&self, address: usize) {
            self.set_debug_register(0, address);
            // The breakpoint of register 0 is on, for execution.
            self.set_debug_register(7, 1);
        }

        pub fn clear_breakpoint(&self) {
            self.set_debug_register(7, 0);
        }

        fn set_debug_register(&self, number: usize, value: usize) {
            self.ask(libc::PTRACE_POKEUSER, offset_of!(libc::user, u_debugreg) + number * size_of::<usize>(), value);
        }

        /// Kills the child where it is, and waits until nothing of it is left.
        pub fn kill(&mut self) {
            while self.status.is_none() {
                // SAFETY: takes no pointers; the child is not reaped yet, so the number is its own.
                unsafe { libc::kill(self.pid, libc::SIGKILL) };
                self.wait();
            }
        }

        /// It died of what `kill` did, and not of anything before that.
        pub fn was_killed(&self) -> bool {
            self.status.is_some_and(|status| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL)
        }

        /// The child left the end of its work behind.
        pub fn ended_well(&self) -> bool {
            self.status == Some(0)
        }

        /// The child ran into the end of its work, and waits there.
        pub fn is_at_end(&self) -> bool {
            self.status.is_none() && self.place().0 == end_of_work() + 1
        }

        /// How the child ended, in words that follow "the operation".
        pub fn end(&self) -> String {
            let Some(status) = self.status else { return format!("traps at {}", Place(self.place().0)) };
            match self.signal {
                _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == PANICKED => "panicked".to_string(),
                _ if libc::WIFEXITED(status) => format!("exits with code {}", libc::WEXITSTATUS(status)),
                Some((signal, address)) if signal == libc::WTERMSIG(status) => {
                    format!("died of signal {signal} at {}", Place(address))
                }
                _ => format!("died of signal {}", libc::WTERMSIG(status)),
            }
        }

        /// Lets the child run until it stops for us. Signals that it gets on the way are passed on.
        fn resume(&mut self, request: u32) -> Stop {
            loop {
                if self.status.is_some() {
                    return Stop::Gone;
                }
                let signal = std::mem::take(&mut self.pending);
                self.ask(request, 0, signal as usize);
                if let Some(stop) = self.wait() {
                    return stop;
                }
            }
        }

        /// Waits for the next stop; none when it is for a signal, which is then pending.
        fn wait(&mut self) -> Option<Stop> {
            let mut status = 0;
            // SAFETY: the status is writable.
            while unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) } != self.pid {
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR), "the child is ours");
            }
            self.stops += 1;
            if !libc::WIFSTOPPED(status) {
                self.status = Some(status);
                return Some(Stop::Gone);
            }
            match status >> 8 {
                libc::SIGTRAP => Some(Stop::Trap),
                signal if signal == libc::SIGTRAP | 0x80 => Some(Stop::SystemCall),
                event if event >> 8 != 0 => {
                    let mut other: libc::c_ulong = 0;
                    self.ask(libc::PTRACE_GETEVENTMSG, 0, &raw mut other as usize);
                    // SAFETY: takes no pointers. A new process or thread is traced and waits; after exec it is the child.
                    unsafe { libc::kill(other as i32, libc::SIGKILL) };
                    self.kill();
                    panic!("kill points: the operation starts a process, a thread or a program: a walk cannot follow");
                }
                signal => {
                    let (address, _) = self.place();
                    let stalled = signal == libc::SIGALRM && self.born.elapsed() >= STALLED;
                    assert!(
                        !stalled,
                        "kill points: the operation hangs, {STALLED:?} after it began, at {}",
                        Place(address)
                    );
                    self.signal = Some((signal, address));
                    self.pending = signal;
                    None
                }
            }
        }

        /// A ptrace request. It cannot fail while the child is stopped; of a child that is gone it does nothing.
        fn ask(&self, request: u32, address: usize, data: usize) {
            // SAFETY: `data` is a number, or the address of a word to write to when the request reads a register or a
            // message.
            let result = unsafe { libc::syscall(libc::SYS_ptrace, request as usize, self.pid as usize, address, data) };
            let error = std::io::Error::last_os_error();
            assert!(result == 0 || error.raw_os_error() == Some(libc::ESRCH), "ptrace request {request}: {error}");
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            self.kill();
        }
    }

    /// Whether hardware breakpoints work here; some virtual machines take them and never stop.
    pub fn has_breakpoints() -> bool {
        static WORK: OnceLock<bool> = OnceLock::new();
        *WORK.get_or_init(|| {
            let mut child = Child::start(|| {}, || {});
            child.set_breakpoint(end_of_work());
            child.go_on() == Stop::Trap && child.place().0 == end_of_work()
        })
    }

    /// This process on one processor, for as long as the value lives: a child's stop then costs no other's wakening.
    pub struct Pinned(libc::cpu_set_t);

    impl Pinned {
        pub fn here() -> Pinned {
            // SAFETY: the sets are writable and of the size given; a set of zeros is an empty one.
            unsafe {
                let mut before: libc::cpu_set_t = std::mem::zeroed();
                let mut here: libc::cpu_set_t = std::mem::zeroed();
                libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut before);
                libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut here);
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &here);
                Pinned(before)
            }
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            // SAFETY: the set is readable and of the size given.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
        }
    }
}

/// The functions of this executable, by address in its file.
struct Symbols {
    functions: Vec<Function>,
    /// The file's bytes from where the names begin.
    names: &'static [u8],
    /// Address in memory less address in the file.
    bias: usize,
}

/// Small, because each fork copies the page table of the list.
struct Function {
    begin: u32,
    length: u32,
    /// Where its name begins in `names`.
    name: u32,
    library: bool,
}

impl Symbols {
    fn get() -> &'static Symbols {
        static READ: OnceLock<Symbols> = OnceLock::new();
        READ.get_or_init(|| Symbols::read(executable()).expect("this test is a 64-bit ELF file with symbols"))
    }

    /// Reads the symbol table: the ELF header, the section headers, `.symtab` and its strings.
    fn read(file: &'static [u8]) -> Option<Symbols> {
        const SYMBOL_TABLE: u64 = 2;
        const SYMBOL_SIZE: usize = 24;
        const FUNCTION: u64 = 2;
        let number = |at: usize, bytes: usize| -> Option<u64> {
            let raw = file.get(at..at + bytes)?;
            Some(raw.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
        };
        let (entry, headers) = (number(24, 8)? as usize, number(40, 8)? as usize);
        let (header_size, header_count) = (number(58, 2)? as usize, number(60, 2)? as usize);
        let header = |index: usize| headers + index * header_size;
        let table = (0..header_count).map(header).find(|at| number(at + 4, 4) == Some(SYMBOL_TABLE))?;
        let (start, size) = (number(table + 24, 8)? as usize, number(table + 32, 8)? as usize);
        let names = file.get(number(header(number(table + 40, 4)? as usize) + 24, 8)? as usize..)?;
        let mut functions = Vec::new();
        for at in (start..start + size).step_by(SYMBOL_SIZE) {
            let (name, kind) = (number(at, 4)? as u32, number(at + 4, 1)? & 15);
            let (begin, length) = (number(at + 8, 8)? as u32, number(at + 16, 8)? as u32);
            if kind == FUNCTION && length > 0 {
                functions.push(Function { begin, length, name, library: is_of_library(string(names, name)) });
            }
        }
        functions.sort_by_key(|function| function.begin);
        // SAFETY: takes no pointers.
        let entry_in_memory = unsafe { libc::getauxval(libc::AT_ENTRY) } as usize;
        Some(Symbols { functions, names, bias: entry_in_memory.wrapping_sub(entry) })
    }

    /// The function in which an address lies, and how far in.
    fn function(&self, address: usize) -> Option<(&Function, u32)> {
        let address = u32::try_from(address.wrapping_sub(self.bias)).ok()?;
        let after = self.functions.partition_point(|function| function.begin <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        Some((function, address - function.begin)).filter(|(function, offset)| *offset < function.length)
    }

    fn is_library(&self, address: usize) -> bool {
        self.function(address).is_some_and(|(function, _)| function.library)
    }
}

/// This executable's file, mapped for good: a fork does not copy it.
fn executable() -> &'static [u8] {
    let file = std::fs::File::open("/proc/self/exe").expect("/proc is there");
    let length = file.metadata().expect("an open file has a size").len() as usize;
    // SAFETY: a new mapping of the whole file, which nobody unmaps, and nobody writes to a program that runs.
    unsafe {
        let at = libc::mmap(null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        std::slice::from_raw_parts(at.cast(), length)
    }
}

fn string(names: &[u8], at: u32) -> &str {
    let bytes = names[at as usize..].split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Whether a linker's name is of the crate `shmkit`: its functions and implementations, in both ways of mangling, and
/// its C functions.
fn is_of_library(name: &str) -> bool {
    let crate_name = name.find("6shmkit").is_some_and(|at| !name[..at].ends_with(|last: char| last.is_ascii_digit()));
    let implementation =
        name.strip_prefix("_ZN").map(|rest| rest.trim_start_matches(|first: char| first.is_ascii_digit()));
    crate_name || name.starts_with("shmkit_") || implementation.is_some_and(|rest| rest.starts_with("_$LT$shmkit.."))
}

/// An address in words: the function it lies in, and how far.
struct Place(usize);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = Symbols::get();
        if let Some((function, offset)) = symbols.function(self.0) {
            return write!(out, "{}+{offset:#x}", readable(string(symbols.names, function.name)));
        }
        // SAFETY: the struct is writable; the strings live as long as their libraries, which stay.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            if libc::dladdr(self.0 as *const _, &mut info) == 0 || info.dli_fname.is_null() {
                return write!(out, "{:#x}", self.0);
            }
            let file = std::ffi::CStr::from_ptr(info.dli_fname).to_string_lossy();
            let file = file.rsplit('/').next().unwrap_or_default();
            if info.dli_sname.is_null() {
                return write!(out, "{file}+{:#x}", self.0 - info.dli_fbase as usize);
            }
            let name = std::ffi::CStr::from_ptr(info.dli_sname).to_string_lossy();
            write!(out, "{name}+{:#x} ({file})", self.0 - info.dli_saddr as usize)
        }
    }
}

/// A name without the older mangling; the newer one stays as it is.
fn readable(name: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = name.strip_prefix("_ZN").unwrap_or_default();
    while let Some(digits) = rest.find(|letter: char| !letter.is_ascii_digit()).filter(|digits| *digits > 0) {
        let end = digits + rest[..digits].parse().unwrap_or(0);
        let Some(part) = rest.get(digits..end) else { break };
        parts.push(part.strip_prefix("_$").map_or(part.to_string(), |part| format!("${part}")));
        rest = &rest[end..];
    }
    // The last part is a hash.
    parts.pop();
    if parts.is_empty() {
        return name.to_string();
    }
    let signs =
        [("$LT$", "<"), ("$GT$", ">"), ("$u20$", " "), ("$u7b$", "{"), ("$u7d$", "}"), ("$C$", ","), ("$RF$", "&")];
    signs.iter().fold(parts.join("::"), |all, (code, sign)| all.replace(code, sign)).replace("..", "::")
}
