//! Lines of source for `MODULE+0xOFFSET`, from the debug information of the module, if it has any. Never fails: what
//! cannot be told is left as it is.

use std::collections::HashMap;

use addr2line::Loader;

/// Modules that were looked into.
#[derive(Default)]
pub struct Sources {
    modules: HashMap<String, Option<(Loader, u64)>>,
}

impl Sources {
    /// `function (file:line)`, as far as it is known.
    pub fn find(&mut self, site: &str) -> Option<String> {
        let (module, offset) = site.rsplit_once("+0x")?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        let entry = self.modules.entry(module.to_owned()).or_insert_with(|| {
            let loader = Loader::new(module).ok()?;
            Some((loader, base_of(module)))
        });
        let (loader, base) = entry.as_ref()?;
        let address = base + offset;
        let line = loader.find_location(address).ok().flatten().and_then(|place| {
            let file = place.file?.rsplit('/').next()?.to_owned();
            Some(format!("{file}:{}", place.line?))
        });
        let function = loader.find_symbol(address).map(str::to_owned);
        match (function, line) {
            (Some(function), Some(line)) => Some(format!("{function} ({line})")),
            (Some(function), None) => Some(function),
            (None, line) => line,
        }
    }
}

/// Where a program that cannot be moved wants to lie: 0 for all others.
fn base_of(module: &str) -> u64 {
    let Ok(bytes) = std::fs::read(module) else { return 0 };
    let word = |at: usize| bytes.get(at..at + 8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap_or_default()));
    let half = |at: usize| bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    const FIXED: u16 = 2;
    if half(16) != FIXED {
        return 0;
    }
    let (start, size, count) = (word(32).unwrap_or(0) as usize, half(54) as usize, half(56) as usize);
    let loads = (0..count).map(|index| start + index * size).filter(|at| bytes.get(*at..at + 4) == Some(&[1, 0, 0, 0]));
    loads.filter_map(|at| word(at + 16)).min().unwrap_or(0)
}
