//! Rings between processes: who may have an end, blocking on both sides, deaths of either, pid namespaces, descriptors in
//! an epoll loop, and a storm of SIGKILLs on both ends. Each test runs alone and ends by an alarm clock if something hangs.
//! `SHMKIT_STORM_SECONDS` is the storm's length (2). Next: `ring_kill_points.rs` for deaths at every instruction.

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shmkit::capi::survey::{SHMKIT_ANSWER_NO, SHMKIT_ANSWER_UNKNOWN, SHMKIT_ANSWER_YES};
use shmkit::error::Status;
use support::containers::*;
use support::message;
use support::ring_room::*;
use support::sync_room::{STALLED, alarm, good, is_asleep, kill, reap, reap_well, start, state_of, until};

/// Kills a process, and leaves it to be reaped later: it is a zombie then.
fn kill_only(pid: i32) {
    // SAFETY: takes no pointers; the process is a child that is not reaped yet.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    until(|| state_of(pid) == 'Z');
}

fn attached(memory: Memory, how: i32, then: impl FnOnce(End)) -> i32 {
    let at = if how & PRODUCE != 0 { PRODUCER_AT } else { CONSUMER_AT };
    let before = memory.word(at).load(SeqCst);
    let pid = start(|| then(End::attach(memory, how).unwrap_or_else(|status| panic!("{status}: {}", message()))));
    until(|| memory.word(at).load(SeqCst) != before);
    pid
}

// ------------------------------------------------------------------------------------------------------------------
// Who has an end
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn one_at_a_time() {
    apart("one_at_a_time", || {
        for how in [PRODUCE, CONSUME] {
            let memory = Memory::ring(256);
            let lives = |memory: Memory| {
                let stat = memory.stat().expect("it is a ring");
                if how == PRODUCE { (stat.producer, stat.producer_lives) } else { (stat.consumer, stat.consumer_lives) }
            };
            assert_eq!(lives(memory), (0, SHMKIT_ANSWER_NO));
            // This process has it.
            let own = End::attach(memory, how).expect("it is free");
            assert_eq!(lives(memory), (std::process::id(), SHMKIT_ANSWER_YES));
            refused(End::attach(memory, how), Status::ErrBusy);
            assert!(message().contains(&std::process::id().to_string()), "{}", message());
            reap_well(start(|| {
                refused(End::attach(memory, how), Status::ErrBusy);
                // What a forked child has is no end: it does not give its parent's back.
                own.detach();
            }));
            assert_eq!(lives(memory), (std::process::id(), SHMKIT_ANSWER_YES));
            own.detach();
            assert_eq!(lives(memory), (0, SHMKIT_ANSWER_NO));
            // Another process has it, and dies; whether its parent has asked for it or not.
            for reaped in [true, false] {
                let pid = attached(memory, how, |_end| pause());
                assert_eq!(lives(memory), (pid as u32, SHMKIT_ANSWER_YES));
                refused(End::attach(memory, how), Status::ErrBusy);
                if reaped {
                    kill(pid)
                } else {
                    kill_only(pid)
                }
                assert_eq!(lives(memory), (pid as u32, SHMKIT_ANSWER_NO));
                let own = End::attach(memory, how).expect("the one that had it is dead");
                assert_eq!(lives(memory), (std::process::id(), SHMKIT_ANSWER_YES));
                own.detach();
                if !reaped {
                    reap(pid);
                }
            }
            // Another one has it, and it is taken from that one, which then gives back nothing.
            let signs = signs();
            let pid = attached(memory, how, |end| {
                until(|| signs.word(0).load(SeqCst) != 0);
                end.detach();
            });
            let own = End::attach(memory, how | TAKE_OVER).expect("it is taken over");
            signs.word(0).store(1, SeqCst);
            reap_well(pid);
            assert_eq!(lives(memory), (std::process::id(), SHMKIT_ANSWER_YES));
            refused(End::attach(memory, how), Status::ErrBusy);
            own.detach();
        }
    });
}

/// A process whose first thread has ended is a zombie by its state, and lives.
#[test]
fn a_process_without_its_first_thread_lives() {
    apart("a_process_without_its_first_thread_lives", || {
        let (memory, signs) = (Memory::ring(256), signs());
        let pid = start(|| {
            std::thread::spawn(move || {
                let _end = End::producer(memory);
                until(|| signs.word(0).load(SeqCst) != 0);
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            });
            // SAFETY: ends this thread alone; what it leaves behind, nobody needs.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
        until(|| memory.word(PRODUCER_AT).load(SeqCst) != 0 && state_of(pid) == 'Z');
        assert_eq!(memory.stat().expect("it is a ring").producer_lives, SHMKIT_ANSWER_YES);
        refused(End::attach(memory, PRODUCE), Status::ErrBusy);
        refused(End::consumer(memory).read(600_000_000), Status::ErrTimeout);
        signs.word(0).store(1, SeqCst);
        reap_well(pid);
        End::producer(memory).detach();
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Waiting
// ------------------------------------------------------------------------------------------------------------------

/// Both wait for the other again and again: a small ring, and pauses on either side.
#[test]
fn both_sides_block() {
    apart("both_sides_block", || {
        const MESSAGES: u64 = 20_000;
        let memory = Memory::ring(256);
        let dawdle = |random: &mut Random| {
            if random.below(400) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
            }
        };
        let pid = start(|| {
            let end = End::producer(memory);
            let mut random = Random(7);
            let mut next = 0;
            while next < MESSAGES {
                dawdle(&mut random);
                if random.below(4) == 0 {
                    let batch: Vec<_> =
                        (next..MESSAGES.min(next + 5)).map(|number| letter(number, memory.longest())).collect();
                    next += end.write_batch(&batch, FOREVER).expect("the reader lives") as u64;
                } else {
                    good(end.write(&letter(next, memory.longest()), FOREVER));
                    next += 1;
                }
            }
            good(end.close());
            end.detach();
        });
        let end = End::consumer(memory);
        let mut random = Random(8);
        let mut next = 0;
        loop {
            dawdle(&mut random);
            // Before the producer has come it is not dead.
            match end.peek_batch(1 + random.below(4), FOREVER) {
                Ok(shown) => {
                    assert!(!shown.is_empty());
                    for bytes in &shown {
                        assert_eq!(opened(bytes), next);
                        next += 1;
                    }
                    good(end.release(shown.len()));
                }
                Err(status) => {
                    assert!(is(status, Status::ErrClosed), "{status}: {}", message());
                    break;
                }
            }
        }
        assert_eq!(next, MESSAGES);
        reap_well(pid);
    });
}

/// Who waits is told of the death of the other, also when nobody has reaped the dead one; when another one comes, it goes on.
#[test]
fn the_death_of_the_other_is_told() {
    apart("the_death_of_the_other_is_told", || {
        for reaped in [true, false] {
            for timeout in [FOREVER, LONG] {
                let (memory, signs) = (Memory::ring(256), signs());
                // The reader waits.
                let writer = attached(memory, PRODUCE, |end| {
                    good(end.write(b"last", 0));
                    signs.word(8).store(1, SeqCst);
                    pause();
                });
                until(|| signs.word(8).load(SeqCst) != 0);
                let reader = start(|| {
                    let end = End::consumer(memory);
                    assert_eq!(end.read(timeout), Ok(b"last".to_vec()));
                    signs.word(0).store(1, SeqCst);
                    refused(end.read(timeout), Status::ErrOwnerDied);
                    refused(end.peek(timeout), Status::ErrOwnerDied);
                    refused(end.peek_batch(2, timeout), Status::ErrOwnerDied);
                    refused(end.read(0), Status::ErrAgain);
                    signs.word(0).store(2, SeqCst);
                    until(|| signs.word(0).load(SeqCst) == 3);
                    assert_eq!(end.read(timeout), Ok(b"another".to_vec()));
                });
                until(|| signs.word(0).load(SeqCst) == 1 && is_asleep(reader));
                if reaped {
                    kill(writer)
                } else {
                    kill_only(writer)
                }
                let dead = Instant::now();
                until(|| signs.word(0).load(SeqCst) == 2);
                assert!(dead.elapsed() < Duration::from_secs(10), "three beats are less than one second");
                let another = attached(memory, PRODUCE, |end| {
                    until(|| is_asleep(reader) && signs.word(0).load(SeqCst) == 3);
                    good(end.write(b"another", 0));
                    pause();
                });
                signs.word(0).store(3, SeqCst);
                reap_well(reader);
                kill(another);
                // The writer waits.
                signs.word(0).store(0, SeqCst);
                let reader = attached(memory, CONSUME, |_end| pause());
                let waiting = start(|| {
                    let end = End::producer(memory);
                    while end.write(&[1; 100], 0) == 0 {}
                    signs.word(0).store(1, SeqCst);
                    assert!(is(end.write(&[1; 100], timeout), Status::ErrOwnerDied));
                    refused(end.reserve(100, timeout), Status::ErrOwnerDied);
                    refused(end.write_batch(&[vec![1; 100]], timeout), Status::ErrOwnerDied);
                    signs.word(0).store(2, SeqCst);
                    good(end.write(&[2; 100], timeout));
                    signs.word(0).store(4, SeqCst);
                    pause();
                });
                until(|| signs.word(0).load(SeqCst) == 1 && is_asleep(waiting));
                if reaped {
                    kill(reader)
                } else {
                    kill_only(reader)
                }
                until(|| signs.word(0).load(SeqCst) == 2);
                // Still dead when it waits again, or there is another one by then.
                let own = End::consumer(memory);
                until(|| is_asleep(waiting));
                assert_eq!(own.read(0), Ok(vec![1; 100]));
                until(|| signs.word(0).load(SeqCst) == 4);
                kill(waiting);
                if !reaped {
                    reap(writer);
                    reap(reader);
                }
            }
        }
    });
}

/// Where nobody has ever come, nobody has died.
#[test]
fn nobody_is_not_dead() {
    apart("nobody_is_not_dead", || {
        let memory = Memory::ring(64);
        let consumer = End::consumer(memory);
        refused(consumer.read(600_000_000), Status::ErrTimeout);
        consumer.detach();
        let producer = End::producer(memory);
        while producer.write(&[0; 24], 0) == 0 {}
        refused(producer.reserve(24, 600_000_000), Status::ErrTimeout);
    });
}

/// Looked at from outside while it is used: a mapping for reading, and counts that can be.
#[test]
fn seen_from_outside() {
    apart("seen_from_outside", || {
        let memory = Memory::ring(4096);
        let pid = start(|| {
            let end = End::producer(memory);
            for number in 0..200_000u64 {
                good(end.write(&number.to_le_bytes(), FOREVER));
            }
            good(end.close());
        });
        let reader = start(|| {
            let end = End::consumer(memory);
            while end.read(FOREVER).is_ok() {}
        });
        // This process can only read it from now on.
        memory.protect(libc::PROT_READ);
        let (mut looks, mut last) = (0u64, (0, 0));
        loop {
            let stat = memory.stat().expect("it is a ring");
            assert!(stat.used <= stat.capacity && stat.capacity == 4096);
            assert!(stat.written >= last.0 && stat.read >= last.1 && stat.written <= 200_000);
            last = (stat.written, stat.read);
            looks += 1;
            if stat.closed != 0 && stat.used == 0 {
                break;
            }
        }
        reap_well(pid);
        reap_well(reader);
        let stat = memory.stat().expect("it is a ring");
        assert_eq!((stat.written, stat.read, stat.used, stat.closed), (200_000, 200_000, 0, 1));
        assert_eq!((stat.producer_lives, stat.consumer_lives), (SHMKIT_ANSWER_NO, SHMKIT_ANSWER_NO));
        println!("{looks} looks");
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Pid namespaces
// ------------------------------------------------------------------------------------------------------------------

/// Runs `work` as process 2 of a pid namespace of its own; its pid here is given to nobody.
fn start_namespace(work: impl FnOnce()) -> i32 {
    start(|| {
        // SAFETY: take no pointers.
        unsafe {
            let own = if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
            let words = "this test needs root or unprivileged user namespaces";
            assert_eq!(libc::unshare(libc::CLONE_NEWPID | own), 0, "{words}: {}", std::io::Error::last_os_error());
        }
        reap_well(start(|| {
            let pid = start(|| {
                assert_eq!(std::process::id(), 2);
                work();
            });
            // The work ends by itself, or kills itself.
            let status = reap(pid);
            assert!(status == 0 || libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "{status:#x}");
        }));
    })
}

fn die() {
    // SAFETY: this process alone.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Who cannot be looked at is not taken for dead, neither by who waits nor by who wants its end.
#[test]
fn two_pid_namespaces() {
    apart("two_pid_namespaces", || {
        for (how, other) in [(PRODUCE, CONSUME), (CONSUME, PRODUCE)] {
            let (memory, signs) = (Memory::ring(64), signs());
            let lives = |memory: Memory, how: i32| {
                let stat = memory.stat().expect("it is a ring");
                if how == PRODUCE { (stat.producer, stat.producer_lives) } else { (stat.consumer, stat.consumer_lives) }
            };
            let waits = |end: &End| match other {
                CONSUME => refused(end.read(600_000_000), Status::ErrTimeout),
                _ => {
                    while end.write(&[0; 24], 0) == 0 {}
                    refused(end.reserve(24, 600_000_000), Status::ErrTimeout);
                }
            };
            let pid = start_namespace(|| {
                let _end = End::attach(memory, how).expect("it is free");
                signs.word(0).store(1, SeqCst);
                until(|| signs.word(0).load(SeqCst) == 2);
                // The one outside, looked at from within.
                assert_eq!(lives(memory, other).1, SHMKIT_ANSWER_UNKNOWN);
                refused(End::attach(memory, other), Status::ErrBusy);
                assert!(message().contains("cannot be looked at"), "{}", message());
                // Its own end is not known either: the ring is of another namespace.
                assert_eq!(lives(memory, how), (2, SHMKIT_ANSWER_UNKNOWN));
                die();
            });
            until(|| signs.word(0).load(SeqCst) == 1);
            let end = End::attach(memory, other).expect("it is free");
            assert_eq!(lives(memory, how), (2, SHMKIT_ANSWER_UNKNOWN));
            signs.word(0).store(2, SeqCst);
            reap_well(pid);
            // Dead, and nobody here can know.
            assert_eq!(lives(memory, how), (2, SHMKIT_ANSWER_UNKNOWN));
            refused(End::attach(memory, how), Status::ErrBusy);
            waits(&end);
            let taken = End::attach(memory, how | TAKE_OVER).expect("it is taken over");
            assert_eq!(lives(memory, how), (std::process::id(), SHMKIT_ANSWER_YES));
            taken.detach();
            end.detach();
            // Made inside, used outside; another one inside a third.
            reap_well(start_namespace(|| {
                memory.init();
                let _end = End::attach(memory, how).expect("it is free");
                // /proc is that of the outer namespace: whether it is the same process cannot be told, only that there is one.
                assert_eq!(lives(memory, how), (2, SHMKIT_ANSWER_UNKNOWN));
                reap_well(start(|| {
                    End::attach(memory, how | TAKE_OVER).expect("it is taken over");
                }));
                assert_eq!(lives(memory, how).1, SHMKIT_ANSWER_NO);
                let _end = End::attach(memory, how).expect("the one that had it is gone");
                die();
            }));
            let inside = || {
                assert_eq!(lives(memory, how), (2, SHMKIT_ANSWER_UNKNOWN));
                refused(End::attach(memory, how), Status::ErrBusy);
                let end = End::attach(memory, other).expect("it is free");
                waits(&end);
                end.detach();
            };
            inside();
            reap_well(start_namespace(inside));
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Descriptors
// ------------------------------------------------------------------------------------------------------------------

/// Both ends sleep in epoll alone, and nothing looks again by itself: a wake that is lost hangs.
#[test]
fn twenty_thousand_messages_through_epoll() {
    apart("twenty_thousand_messages_through_epoll", || {
        const MESSAGES: u64 = 20_000;
        let memory = Memory::ring(512);
        let (message_fd, room_fd) = (event_fd(), event_fd());
        let pid = start(|| {
            let (end, epoll) = (End::producer(memory), epoll_of(room_fd));
            good(end.notify_fd(message_fd));
            let mut sleeps = 0u64;
            for number in 0..MESSAGES {
                let bytes = letter(number, memory.longest());
                while end.write(&bytes, 0) != 0 {
                    if end.arm() == 0 {
                        sleep_on(epoll, room_fd);
                        sleeps += 1;
                    }
                }
                if number % 701 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            good(end.close());
            println!("the writer slept {sleeps} times");
            assert!(sleeps > 10 && sleeps < MESSAGES);
            end.detach();
        });
        let (end, epoll) = (End::consumer(memory), epoll_of(message_fd));
        good(end.notify_fd(room_fd));
        let (mut next, mut sleeps) = (0, 0u64);
        loop {
            match end.read(0) {
                Ok(bytes) => {
                    assert_eq!(opened(&bytes), next);
                    next += 1;
                    if next % 503 == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                Err(status) if is(status, Status::ErrClosed) => break,
                Err(status) => {
                    assert!(is(status, Status::ErrAgain), "{}", message());
                    if end.arm() == 0 {
                        sleep_on(epoll, message_fd);
                        sleeps += 1;
                    }
                }
            }
        }
        println!("the reader slept {sleeps} times");
        assert!(next == MESSAGES && sleeps > 10 && sleeps < MESSAGES);
        reap_well(pid);
    });
}

/// What is written to a descriptor, and when; and what is none.
#[test]
fn descriptors() {
    apart("descriptors", || {
        let memory = Memory::ring(256);
        let (producer, consumer) = (End::producer(memory), End::consumer(memory));
        let fd = event_fd();
        let gone = event_fd();
        // SAFETY: it is this test's.
        unsafe { libc::close(gone) };
        for wrong in [gone, -2, i32::MIN, i32::MAX] {
            assert!(is(producer.notify_fd(wrong), Status::ErrBadDescriptor), "{wrong}: {}", message());
        }
        // What is no eventfd: a pipe that nobody reads would kill who writes to it.
        let mut pipe = [0; 2];
        // SAFETY: the places are writable; the end that reads is this test's.
        unsafe {
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC), 0);
            libc::close(pipe[0]);
        }
        assert!(is(producer.notify_fd(pipe[1]), Status::ErrInvalidArgument), "{}", message());
        // Who sleeps already is told at the beginning, once: one that died may not have come to it.
        good(producer.notify_fd(fd));
        assert_eq!(drain(fd), 0);
        good(consumer.arm());
        good(producer.notify_fd(fd));
        good(producer.notify_fd(fd));
        assert_eq!(drain(fd), 1);
        // Nobody sleeps: nobody pays.
        good(producer.write(b"one", 0));
        assert_eq!(drain(fd), 0);
        assert!(is(consumer.arm(), Status::ErrAgain), "there is a message");
        assert_eq!(consumer.read(0), Ok(b"one".to_vec()));
        // The first arm has left a sign, and so has this one: one wake for both, and none after it.
        good(consumer.arm());
        good(producer.write(b"two", 0));
        good(producer.write(b"three", 0));
        assert_eq!(drain(fd), 1);
        assert_eq!(consumer.read(0), Ok(b"two".to_vec()));
        assert_eq!(consumer.read(0), Ok(b"three".to_vec()));
        // Each way of writing tells, and so does the end.
        let ways: [&dyn Fn(); 3] = [
            &|| {
                producer.reserve(8, 0).expect("there is room");
                good(producer.commit(8));
            },
            &|| assert_eq!(producer.write_batch(&[vec![1], vec![2]], 0), Ok(2)),
            &|| good(producer.close()),
        ];
        for way in ways {
            while consumer.read(0).is_ok() {}
            good(consumer.arm());
            way();
            assert_eq!(drain(fd), 1);
        }
        // The end that writes sleeps until there is room for what it could not write.
        memory.init();
        let (producer, consumer) = (
            End::attach(memory, PRODUCE | TAKE_OVER).expect("it is taken"),
            End::attach(memory, CONSUME | TAKE_OVER).expect("it is taken"),
        );
        good(consumer.notify_fd(fd));
        assert_eq!(drain(fd), 0);
        for _ in 0..3 {
            good(producer.write(&[3; 56], 0));
        }
        good(producer.write(&[4; 32], 0));
        assert!(is(producer.write(&[5; 100], 0), Status::ErrAgain));
        good(producer.arm());
        assert_eq!(drain(fd), 0);
        assert_eq!(consumer.read(0), Ok(vec![3; 56]));
        assert_eq!(drain(fd), 1, "it looks for itself whether that is enough");
        good(producer.arm());
        assert_eq!(consumer.read(0), Ok(vec![3; 56]));
        assert_eq!(drain(fd), 1);
        assert!(is(producer.arm(), Status::ErrAgain), "there is room");
        good(producer.write(&[5; 100], 0));
        // No descriptor any more.
        good(consumer.notify_fd(-1));
        assert!(is(producer.write(&[5; 100], 0), Status::ErrAgain));
        good(producer.arm());
        assert!(consumer.read(0).is_ok());
        assert_eq!(drain(fd), 0);
        // It wakes threads alone, and leaves the sign of who sleeps on a descriptor to one who has it.
        assert_eq!(memory.half(WRITABLE_AT).load(SeqCst) & 3, 2);
        good(consumer.notify_fd(fd));
        assert_eq!(drain(fd), 1);
        assert_eq!(memory.half(WRITABLE_AT).load(SeqCst) & 3, 0);
        refused(producer.reserve(100, SHORT), Status::ErrTimeout);
    });
}

/// Every way of writing and of reading tells who sleeps on a descriptor, wherever in the ring the message lies: in place, by
/// copy, in a batch; behind bytes that fill the end too, of which a call's fast way knows nothing.
#[test]
fn every_way_tells_wherever_the_message_lies() {
    apart("every_way_tells_wherever_the_message_lies", || {
        let memory = Memory::ring(256);
        let (producer, consumer) = (End::producer(memory), End::consumer(memory));
        let (message, room) = (event_fd(), event_fd());
        good(producer.notify_fd(message));
        good(consumer.notify_fd(room));
        drain(message);
        drain(room);
        let in_place = |bytes: &[u8]| {
            let at = producer.reserve(bytes.len(), 0).expect("there is room");
            producer.fill(at, bytes);
            good(producer.commit(bytes.len()));
        };
        let by_copy = |bytes: &[u8]| good(producer.write(bytes, 0));
        let in_a_batch = |bytes: &[u8]| assert_eq!(producer.write_batch(&[bytes.to_vec()], 0), Ok(1));
        type Way<'a> = &'a dyn Fn(&[u8]);
        for way in [&in_place as Way, &by_copy, &in_a_batch] {
            for length in [90, 24, 7, 104, 0, 61] {
                for _ in 0..12 {
                    good(consumer.arm());
                    way(&vec![length as u8; length]);
                    assert_eq!(drain(message), 1, "{length} bytes were written");
                    // The writer sleeps for room: each way of reading tells it.
                    let mut written = 1;
                    while producer.write(&vec![length as u8; length], 0) == 0 {
                        written += 1;
                    }
                    good(producer.arm());
                    assert_eq!(drain(room), 0);
                    for number in 0..written {
                        match number % 2 {
                            0 => assert_eq!(consumer.read(0), Ok(vec![length as u8; length])),
                            _ => {
                                consumer.peek(0).expect("there is one");
                                good(consumer.release(1));
                            }
                        }
                        let told = drain(room);
                        assert_eq!(told, u64::from(number == 0), "{number} of {written}");
                    }
                    drain(message);
                }
            }
        }
    });
}

/// A writer whose time is over arms for what it could not write.
#[test]
fn a_writer_out_of_time_arms_for_what_it_had() {
    apart("a_writer_out_of_time_arms_for_what_it_had", || {
        let memory = Memory::ring(256);
        let producer = End::producer(memory);
        let _consumer = End::consumer(memory);
        for _ in 0..2 {
            good(producer.write(&[1; 90], 0));
        }
        good(producer.write(&[1; 8], 0));
        assert!(is(producer.write(&[2; 100], SHORT), Status::ErrTimeout));
        good(producer.arm());
        good(producer.write(&[2; 8], 0));
    });
}

// ------------------------------------------------------------------------------------------------------------------
// A storm
// ------------------------------------------------------------------------------------------------------------------

/// What the processes of the storm share beside the ring. A message's number is its producer, the first being 1, and which
/// one of that producer's messages it is, the first being 0: numbers only go up.
#[derive(Clone, Copy)]
struct Storm {
    ring: Memory,
    /// Of each producer: so many commits have returned.
    committed: Memory,
    signs: Memory,
}

const MOST_PRODUCERS: u64 = 1 << 18;
/// The latest message that was looked at, the latest that was released, and how many were looked at for the first time.
const LAST: usize = 0;
const RELEASED: usize = 8;
const THROUGH: usize = 16;
/// How many came again after a consumer's death.
const AGAIN: usize = 24;
/// No message: before the first.
const NONE: u64 = u32::MAX as u64;

fn number_of(producer: u64, message: u64) -> u64 {
    producer << 32 | message
}

/// Now and then so long that the other one sleeps, or that this one is killed with something half done.
fn dawdle(random: &mut Random) {
    if random.below(100) == 0 {
        std::thread::sleep(Duration::from_micros(random.below(600) as u64));
    }
}

impl Storm {
    /// Writes until it is killed; the last of them, so many, and then it closes.
    fn produce(self, own: u64, most: u64) {
        let end = End::producer(self.ring);
        let note = self.committed.word(8 * own as usize);
        let mut random = Random(own);
        let mut next = 0;
        let letter_of = |message| letter(number_of(own, message), self.ring.longest() >> (message % 4));
        while next < most {
            dawdle(&mut random);
            let count = match random.below(3) {
                0 => end.write_batch(&(next..next + 4).map(letter_of).collect::<Vec<_>>(), FOREVER),
                1 => {
                    let bytes = letter_of(next);
                    // More than is needed in the end.
                    end.reserve((bytes.len() + 20).min(self.ring.longest()), FOREVER).map(|at| {
                        end.fill(at, &bytes);
                        good(end.commit(bytes.len()));
                        1
                    })
                }
                _ => match end.write(&letter_of(next), FOREVER) {
                    0 => Ok(1),
                    status => Err(status),
                },
            };
            match count {
                Ok(count) => {
                    next += count as u64;
                    note.store(next, SeqCst);
                }
                Err(status) => assert!(is(status, Status::ErrOwnerDied), "{status}: {}", message()),
            }
        }
        good(end.close());
        end.detach();
    }

    /// Reads until it is killed, or to the end.
    fn consume(self, own: u64) {
        let end = End::consumer(self.ring);
        let mut random = Random(own ^ 0xc0);
        // What was looked at last, by this one.
        let mut before = None;
        loop {
            let shown = match end.peek_batch(1 + random.below(5), FOREVER) {
                Ok(shown) => shown,
                Err(status) if is(status, Status::ErrClosed) => return end.detach(),
                Err(status) => {
                    assert!(is(status, Status::ErrOwnerDied), "{status}: {}", message());
                    continue;
                }
            };
            for bytes in &shown {
                let number = opened(bytes);
                let last = self.signs.word(LAST).load(SeqCst);
                match before {
                    Some(before) => self.follows(before, number),
                    // The first of a new consumer: what the dead one had looked at, and not released, comes again.
                    None if number <= last => assert!(number > self.signs.word(RELEASED).load(SeqCst), "twice"),
                    None => self.follows(last, number),
                }
                before = Some(number);
                if number > last {
                    self.signs.word(THROUGH).fetch_add(1, SeqCst);
                    self.signs.word(LAST).store(number, SeqCst);
                } else {
                    self.signs.word(AGAIN).fetch_add(1, SeqCst);
                }
            }
            dawdle(&mut random);
            good(end.release(shown.len()));
            self.signs.word(RELEASED).store(before.expect("there was one"), SeqCst);
        }
    }

    /// Nothing that was committed lies between the two.
    #[track_caller]
    fn follows(self, before: u64, number: u64) {
        let (producer, message) = (number >> 32, number & NONE);
        let (last, seen) = (before >> 32, (before & NONE).wrapping_add(1) & NONE);
        if producer == last {
            assert_eq!(message, seen, "lost or twice: {before:#x}, then {number:#x}");
            return;
        }
        assert!(producer > last && message == 0, "lost or twice: {before:#x}, then {number:#x}");
        self.all_seen(last, seen, producer);
    }

    /// Of the producers from one on, which was seen up to a message, to another nothing else was committed.
    #[track_caller]
    fn all_seen(self, first: u64, seen: u64, end: u64) {
        for producer in first..end {
            let seen = if producer == first { seen } else { 0 };
            let committed = self.committed.word(8 * producer as usize).load(SeqCst);
            assert!(committed <= seen, "{committed} were committed by producer {producer}, and {seen} were read");
        }
    }
}

/// Processes are killed at both ends again and again, and others take their places, sometimes before anybody has reaped the
/// dead one: every message comes whole, in order, and once, but for those that a dead consumer had not released.
#[test]
fn a_storm_at_both_ends() {
    let seconds = std::env::var("SHMKIT_STORM_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    apart("a_storm_at_both_ends", || {
        alarm(STALLED + seconds as u32);
        let storm =
            Storm { ring: Memory::ring(2048), committed: Memory::new(8 * MOST_PRODUCERS as usize), signs: signs() };
        storm.signs.word(LAST).store(NONE, SeqCst);
        storm.signs.word(RELEASED).store(NONE, SeqCst);
        let mut random = Random(1);
        let (mut producers, mut consumers) = (1, 1);
        let mut producer = start(|| storm.produce(1, u64::from(u32::MAX)));
        let mut consumer = start(|| storm.consume(1));
        let mut zombies = Vec::new();
        let begin = Instant::now();
        let (through, again) = (|| storm.signs.word(THROUGH).load(SeqCst), || storm.signs.word(AGAIN).load(SeqCst));
        // Longer where others have the processors.
        let enough = |deaths: u64| deaths > 20 && through() > 1000 && again() > 0;
        while (begin.elapsed() < Duration::from_secs(seconds) || !enough(producers + consumers))
            && producers < MOST_PRODUCERS - 2
        {
            std::thread::sleep(Duration::from_micros(random.below(4000) as u64));
            let (dead_producer, dead_consumer) = [(true, false), (false, true), (true, true)][random.below(3)];
            // Both are stopped before another one comes.
            let mut end = |pid: i32, random: &mut Random| match random.below(2) {
                0 => kill(pid),
                _ => {
                    kill_only(pid);
                    zombies.push(pid);
                }
            };
            if dead_producer {
                end(producer, &mut random);
            }
            if dead_consumer {
                end(consumer, &mut random);
            }
            if dead_producer {
                producers += 1;
                producer = start(|| storm.produce(producers, u64::from(u32::MAX)));
            }
            if dead_consumer {
                consumers += 1;
                consumer = start(|| storm.consume(consumers));
            }
            for pid in zombies.drain(..) {
                let status = reap(pid);
                assert!(libc::WIFSIGNALED(status), "process {pid} ended by itself: {status:#x}: see its output");
            }
        }
        kill(producer);
        producers += 1;
        reap_well(start(|| storm.produce(producers, 100)));
        reap_well(consumer);
        let last = storm.signs.word(LAST).load(SeqCst);
        assert_eq!(last >> 32, producers, "the last one wrote something");
        storm.all_seen(producers, (last & NONE) + 1, producers + 1);
        let stat = storm.ring.stat().expect("it is a ring");
        assert_eq!((stat.used, stat.closed), (0, 1));
        let (through, again) = (through(), again());
        // A count is written just before its message: each death of a producer may leave it too high. A consumer here counts a
        // message just before it notes which one that was: each death of one may count it once more.
        let written = stat.written;
        assert!(written + consumers >= through && written <= through + 4 * producers, "{written} {through}");
        assert!(storm.ring.is_untouched());
        println!(
            "storm on the ring: {} producers and {} consumers killed, {through} messages went through, {again} again",
            producers - 1,
            consumers - 1
        );
        assert!(producers + consumers > 20 && through > 1000 && again > 0);
    });
}
