//! What changed between two looks: each object with the marks that it carries for a while. Pure.
//! Next: `looks.rs`, which looks.

use std::collections::HashMap;

use crate::ls;
use crate::objects::{Identity, Kind, Object, State};
use crate::output::Output;
use crate::printable;
use crate::view;

/// For how many looks a change stays marked.
const LOOKS: u64 = 2;

/// What stays the same as long as it is the same object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Device and inode.
    File(u64, u64),
    /// The kernel does not use an id again soon; the time beside it changes with owner and mode.
    Segment(i32),
    Set(i32),
}

impl Key {
    pub fn of(object: &Object) -> Key {
        match object.identity {
            Identity::File(dev, ino) => Key::File(dev, ino),
            Identity::Segment(id, _) => Key::Segment(id),
            Identity::Set(id) => Key::Set(id),
        }
    }
}

/// What was before a change, and the look that found the change.
type Mark<T> = Option<(T, u64)>;

/// The changes of one object that are still marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub new: Mark<()>,
    pub gone: Mark<()>,
    pub size: Mark<u64>,
    pub users: Mark<u64>,
    pub state: Mark<State>,
}

/// How many users can be seen: where others may be, too, what changes is still known.
fn seen_users(object: &Object) -> u64 {
    object.counted.unwrap_or(0).max(object.uses.len() as u64)
}

fn faded<T: Copy>(mark: Mark<T>, look: u64) -> Mark<T> {
    mark.filter(|(_, at)| look - at < LOOKS)
}

/// The mark of a value: of a change now, or of one that is not long ago and has not been undone.
fn marked<T: Copy + PartialEq>(before: Option<T>, mark: Mark<T>, now: Option<T>, look: u64) -> Mark<T> {
    match (before, now) {
        (Some(before), Some(now)) if before != now => Some((before, look)),
        _ => faded(mark, look),
    }
}

/// One object as this view knows it.
#[derive(Clone, Debug)]
pub struct Item {
    pub object: Object,
    pub key: Key,
    /// Its address, fit to be printed.
    pub address: String,
    pub owner: String,
    pub marks: Marks,
}

impl Item {
    pub fn new(object: Object, marks: Marks) -> Item {
        let (address, owner) = (printable::text(&object.address), view::owner_text(object.uid));
        Item { key: Key::of(&object), address, owner, marks, object }
    }

    /// Whether the list has it, as with `ls::wants`. What just lost its name is not left out at once.
    pub fn is_wanted(&self, all: bool, kinds: &[Kind], states: &[State]) -> bool {
        let just_unlinked =
            self.object.state == State::Unlinked && self.marks.state.is_some() && !self.object.elsewhere;
        ls::wants(&self.object, all || just_unlinked, kinds, states)
    }

    /// What changed, in words, or in words alone without figures.
    pub fn change(&self, figures: bool, output: &Output) -> String {
        let marks = &self.marks;
        if marks.gone.is_some() {
            return "gone".to_string();
        }
        let mut parts = Vec::new();
        if marks.new.is_some() {
            parts.push("new".to_string());
        }
        let signed = |before: u64, now: Option<u64>, text: &dyn Fn(u64) -> String| match now {
            Some(now) if now > before => format!(" +{}", text(now - before)),
            Some(now) if now < before => format!(" -{}", text(before - now)),
            // It is again what it was.
            _ => " was other".to_string(),
        };
        if let Some((before, _)) = marks.size {
            let change = signed(before, self.object.size.known(), &|size| output.size(size));
            parts.push(format!("size{}", if figures { &change } else { "" }));
        }
        if let Some((before, _)) = marks.users {
            let change = signed(before, Some(seen_users(&self.object)), &|count| count.to_string());
            parts.push(format!("users{}", if figures { &change } else { "" }));
        }
        // The state itself stands in its column.
        if let Some((before, _)) = marks.state.filter(|_| figures || parts.is_empty()) {
            parts.push(if figures { format!("was {}", before.name()) } else { "state".to_string() });
        }
        parts.join(if figures { ", " } else { "," })
    }

    /// For sorting: what is marked comes before what is not.
    pub fn rank(&self) -> u8 {
        let marks = &self.marks;
        match () {
            () if marks.gone.is_some() => 4,
            () if marks.new.is_some() => 3,
            () if marks.state.is_some() => 2,
            () if marks.size.is_some() || marks.users.is_some() => 1,
            () => 0,
        }
    }
}

/// The objects of this look, marked by what the look before had; `None` at the first, where nothing is new. What is
/// gone stays for as long as it is marked.
pub fn merge(before: Option<&[Item]>, now: Vec<Object>, look: u64) -> Vec<Item> {
    let Some(before) = before else {
        return now.into_iter().map(|object| Item::new(object, Marks::default())).collect();
    };
    let old: HashMap<Key, &Item> = before.iter().map(|item| (item.key, item)).collect();
    let mut items: Vec<Item> = Vec::with_capacity(now.len());
    for object in now {
        let marks = match old.get(&Key::of(&object)) {
            Some(item) if item.marks.gone.is_none() => Marks {
                new: faded(item.marks.new, look),
                gone: None,
                size: marked(item.object.size.known(), item.marks.size, object.size.known(), look),
                users: marked(Some(seen_users(&item.object)), item.marks.users, Some(seen_users(&object)), look),
                state: marked(Some(item.object.state), item.marks.state, Some(object.state), look),
            },
            _ => Marks { new: Some(((), look)), ..Marks::default() },
        };
        items.push(Item::new(object, marks));
    }
    let there: std::collections::HashSet<Key> = items.iter().map(|item| item.key).collect();
    for item in before.iter().filter(|item| !there.contains(&item.key)) {
        let gone = faded(item.marks.gone.or(Some(((), look))), look);
        if gone.is_some() {
            items.push(Item { marks: Marks { gone, ..Marks::default() }, ..item.clone() });
        }
    }
    items
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::objects::{Fact, Time};

    pub fn object(name: &str, ino: u64, size: u64, users: u64) -> Object {
        let mut object = Object::new(Kind::Posix, format!("posix:/{name}").into_bytes(), Identity::File(1, ino));
        (object.size, object.reserved) = (Fact::Known(size), Fact::Known(size));
        (object.uid, object.time) = (Fact::Known(0), Time::Created(1_000_000_000 * ino));
        object.counted = Some(users);
        object.decide();
        object
    }

    pub fn output() -> Output {
        Output { json: false, bytes: false, headings: true, color: false }
    }

    fn changes(items: &[Item]) -> Vec<(String, String)> {
        items.iter().map(|item| (item.address.clone(), item.change(true, &output()))).collect()
    }

    fn pair(name: &str, change: &str) -> (String, String) {
        (format!("posix:/{name}"), change.to_string())
    }

    #[test]
    fn changes_are_marked_for_two_looks() {
        let first = merge(None, vec![object("a", 1, 4096, 1), object("b", 2, 4096, 1)], 1);
        assert_eq!(changes(&first), [pair("a", ""), pair("b", "")], "nothing is new at first");
        let second = merge(Some(&first), vec![object("a", 1, 8192, 3), object("c", 3, 1, 0)], 2);
        assert_eq!(changes(&second), [pair("a", "size +4.0K, users +2"), pair("c", "new"), pair("b", "gone")]);
        assert_eq!(second[0].change(false, &output()), "size,users");
        let now = || vec![object("a", 1, 8192, 3), object("c", 3, 1, 0)];
        let third = merge(Some(&second), now(), 3);
        assert_eq!(changes(&third), changes(&second), "they stay for one more look");
        let fourth = merge(Some(&third), now(), 4);
        assert_eq!(changes(&fourth), [pair("a", ""), pair("c", "")]);
    }

    #[test]
    fn what_comes_back_is_new_and_a_state_that_changes_is_told() {
        let first = merge(None, vec![object("a", 1, 10, 1)], 1);
        let second = merge(Some(&first), Vec::new(), 2);
        assert_eq!(changes(&second), [pair("a", "gone")]);
        let third = merge(Some(&second), vec![object("a", 1, 10, 1)], 3);
        assert_eq!(changes(&third), [pair("a", "new")]);
        let fourth = merge(Some(&first), vec![object("a", 1, 10, 0)], 4);
        assert_eq!(changes(&fourth), [pair("a", "users -1, was live")]);
        let fifth = merge(Some(&fourth), vec![object("a", 1, 10, 1)], 5);
        assert_eq!(changes(&fifth), [pair("a", "users +1, was unknown")]);
    }

    #[test]
    fn what_loses_its_name_is_shown_as_long_as_that_is_marked() {
        let unlinked = || {
            let mut object = object("a", 1, 10, 1);
            object.unlinked = true;
            object.decide();
            vec![object]
        };
        let mut items = merge(None, vec![object("a", 1, 10, 1)], 1);
        for (look, shown) in [(2, true), (3, true), (4, false)] {
            items = merge(Some(&items), unlinked(), look);
            assert_eq!(items[0].is_wanted(false, &[], &[]), shown, "look {look}");
            assert!(items[0].is_wanted(true, &[], &[]));
        }
    }

    #[test]
    fn a_segment_stays_itself_when_its_mode_changes() {
        let segment = |changed| Object::new(Kind::Sysv, b"sysv:0x1".to_vec(), Identity::Segment(7, changed));
        let first = merge(None, vec![segment(100)], 1);
        let second = merge(Some(&first), vec![segment(200)], 2);
        assert_eq!((second.len(), second[0].change(true, &output())), (1, String::new()));
    }
}
