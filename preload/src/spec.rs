//! What faults to inject, as `--inject` and `SHMKIT_INJECT` say it. Pure; shared with `cli/`, which refuses what it
//! cannot read before a program runs.
//!
//! `CALL:WHAT[@WHEN]`, several separated by commas. WHAT is the name of an errno (`ENOSPC`), a delay (`10ms`, `5us`,
//! `1s`), or `short` (of ftruncate and posix_fallocate: half is done, then ENOSPC). WHEN is `3` (the third call of that
//! kind in each process), `3+` (the third and all later ones), `/3` (every third), `5%` (five of a hundred, by the
//! seed); always without it.

/// Which calls it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Nth(u64),
    From(u64),
    Every(u64),
    /// Of a million.
    Chance(u32),
}

/// What then happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Errno(i32),
    /// Nanoseconds.
    Delay(u64),
    Short,
}

/// One part of a specification; the call is still a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub call: &'a str,
    pub what: What,
    pub when: When,
}

/// The parts of a specification. `errno` knows the numbers of names. An error names the part and what is wrong with it.
pub fn parts<'a>(
    text: &'a str,
    errno: impl Fn(&str) -> Option<i32> + Copy + 'a,
) -> impl Iterator<Item = Result<Part<'a>, (&'a str, &'static str)>> + 'a {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(move |part| one(part.trim(), errno).map_err(|why| (part, why)))
}

fn one(text: &str, errno: impl Fn(&str) -> Option<i32>) -> Result<Part<'_>, &'static str> {
    let (call, rest) = text.split_once(':').ok_or("a call and a fault belong together, as shm_open:ENOSPC")?;
    let (what, when) = match rest.split_once('@') {
        Some((what, when)) => (what, self::when(when)?),
        None => (rest, When::Always),
    };
    let what = match what {
        "short" if matches!(call, "ftruncate" | "posix_fallocate") => What::Short,
        "short" => return Err("only ftruncate and posix_fallocate can fall short"),
        what => match (errno(what), delay(what)) {
            (Some(number), _) => What::Errno(number),
            (None, Some(time)) => What::Delay(time),
            (None, None) => return Err("the fault is no errno (as ENOSPC), no delay (as 10ms) and not short"),
        },
    };
    Ok(Part { call, what, when })
}

fn when(text: &str) -> Result<When, &'static str> {
    const WRONG: &str = "after @ stands 3, 3+, /3 or 5%";
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0).ok_or(WRONG);
    if let Some(every) = text.strip_prefix('/') {
        return number(every).map(When::Every);
    }
    if let Some(from) = text.strip_suffix('+') {
        return number(from).map(When::From);
    }
    if let Some(share) = text.strip_suffix('%') {
        let share: f64 = share.parse().map_err(|_| WRONG)?;
        return if (0.0..=100.0).contains(&share) { Ok(When::Chance((share * 10_000.0) as u32)) } else { Err(WRONG) };
    }
    number(text).map(When::Nth)
}

fn delay(text: &str) -> Option<u64> {
    let units = [("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let (digits, unit) = units.iter().find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, unit)))?;
    digits.parse::<u64>().ok()?.checked_mul(*unit)
}

/// Whether the call of this number, from 1, is struck. The same answer for the same seed, in any order.
pub fn strikes(when: When, seed: u64, part: u64, number: u64) -> bool {
    match when {
        When::Always => true,
        When::Nth(wanted) => number == wanted,
        When::From(first) => number >= first,
        When::Every(step) => number.is_multiple_of(step),
        When::Chance(share) => {
            // SplitMix64 of seed, part and number.
            let mut word = seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word ^ (word >> 31)) % 1_000_000 < u64::from(share)
        }
    }
}
