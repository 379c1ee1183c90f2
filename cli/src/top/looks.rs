//! The thread that looks: every so often at everything, and at the one object whose details are shown. The thread of
//! the keys never waits for it. Next: `marks.rs`, `screen.rs`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::exit::Failure;
use crate::gather;
use crate::machine::{Fact, Machine, OBJECTS, Room};
use crate::objects::{Objects, State};
use crate::output::Output;
use crate::show;
use crate::view;

use super::marks::{self, Item, Key};

/// Figures of the machine.
#[derive(Clone, Debug)]
pub struct Figures {
    pub room: Fact<Room>,
    pub segments: Fact<u64>,
    pub shmmni: Fact<u64>,
    /// Bytes of shared memory of the machine, of every kind.
    pub shared: Fact<u64>,
    pub orphans: u64,
    pub orphan_bytes: u64,
}

/// One look at everything.
#[derive(Debug)]
pub struct Look {
    pub number: u64,
    pub items: Vec<Item>,
    /// Without the objects themselves: those are in the items.
    pub objects: Objects,
    pub figures: Figures,
    pub now_ns: u64,
    pub took: Duration,
}

impl Look {
    pub fn now(before: Option<&Look>) -> Result<Look, Failure> {
        let begun = Instant::now();
        let mut objects = gather::everything()?;
        let number = before.map_or(1, |before| before.number + 1);
        let all = std::mem::take(&mut objects.all);
        let orphans = all.iter().filter(|object| object.state == State::Orphan && !object.is_part_of_region());
        let (count, bytes) =
            orphans.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.reserved.known().unwrap_or(0)));
        let machine = Machine::new();
        let system_v = machine.system_v();
        let figures = Figures {
            room: machine.room(OBJECTS),
            segments: system_v.segments,
            shmmni: system_v.shmmni,
            shared: machine.memory("Shmem"),
            orphans: count,
            orphan_bytes: bytes,
        };
        let items = marks::merge(before.map(|before| &before.items[..]), all, number);
        Ok(Look { number, items, objects, figures, now_ns: view::now_ns(), took: begun.elapsed() })
    }

    fn details(&self, key: Key, output: &Output) -> Details {
        let found = self.items.iter().find(|item| item.key == key && item.marks.gone.is_none());
        let text = found.map(|item| {
            let object = gather::looked_into(&item.object);
            show::text_of(&object, &self.objects, output).unwrap_or_else(|failure| failure.to_string())
        });
        Details { key, text }
    }
}

/// What `show` says of one object; `None` when it is gone.
#[derive(Debug)]
pub struct Details {
    pub key: Key,
    pub text: Option<String>,
}

/// What the thread of the keys asks for.
pub enum Ask {
    Pause(bool),
    Details(Option<Key>),
}

/// What the thread that looks tells.
pub enum Tell {
    Look(Arc<Look>),
    Details(Details),
    Failed(Failure),
}

/// Both ends of the thread that looks. When it ends, by a panic too, `tells` says so.
pub struct Looker {
    pub asks: Sender<Ask>,
    pub tells: Receiver<Tell>,
}

pub fn start(delay: Duration, output: Output) -> Looker {
    let (asks, asked) = channel();
    let (tell, tells) = channel();
    std::thread::spawn(move || run(delay, &output, &asked, &tell));
    Looker { asks, tells }
}

fn run(delay: Duration, output: &Output, asked: &Receiver<Ask>, tell: &Sender<Tell>) {
    let mut look: Option<Arc<Look>> = None;
    let mut shown: Option<Key> = None;
    let mut paused = false;
    loop {
        if !paused || look.is_none() {
            match Look::now(look.as_deref()) {
                Ok(now) => look = Some(Arc::new(now)),
                Err(failure) => {
                    let _ = tell.send(Tell::Failed(failure));
                    return;
                }
            }
            let Some(look) = &look else { return };
            if tell.send(Tell::Look(Arc::clone(look))).is_err() {
                return;
            }
            if let Some(key) = shown {
                let _ = tell.send(Tell::Details(look.details(key, output)));
            }
        }
        let next = Instant::now() + delay;
        loop {
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Ask::Pause(now)) => {
                    paused = now;
                    if !paused {
                        break;
                    }
                }
                Ok(Ask::Details(key)) => {
                    shown = key;
                    if let (Some(look), Some(key)) = (&look, key) {
                        let _ = tell.send(Tell::Details(look.details(key, output)));
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
