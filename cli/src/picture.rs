//! Which pages of an object are holes, which are in memory, which are elsewhere (swap, or a file's device): asked of
//! the kernel, never by touching them. Drawn as one row of cells. Next: `show.rs`.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::fs::SeekFrom;
use serde::Serialize;
use shmkit::sys::limits::page_size;
use shmkit::sys::memory;

/// Cells of a picture, at most.
const CELLS: u64 = 60;
/// Bytes that are asked about at once.
const STEP: u64 = 1 << 30;

/// What the pages of an object are.
#[derive(Serialize)]
pub struct Picture {
    pub page_size: u64,
    /// Bytes of whole pages in memory.
    pub resident: u64,
    /// Bytes that have a place, but not in memory now.
    pub elsewhere: u64,
    /// Bytes that have no place.
    pub holes: u64,
    /// One letter a cell: `#` in memory, `+` partly, `-` elsewhere, `.` a hole.
    pub cells: String,
    pub bytes_per_cell: u64,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    resident: u64,
    elsewhere: u64,
    holes: u64,
}

/// Asks about every page of a file.
pub fn of(file: &File) -> std::io::Result<Picture> {
    let page = page_size() as u64;
    let pages = file.metadata()?.len().div_ceil(page);
    let per_cell = pages.div_ceil(CELLS).max(1);
    let mut cells = vec![Cell::default(); pages.div_ceil(per_cell) as usize];
    let mut put = |first: u64, count: u64, which: fn(&mut Cell) -> &mut u64| {
        let (mut at, end) = (first, (first + count).min(pages));
        while at < end {
            let next = ((at / per_cell + 1) * per_cell).min(end);
            *which(&mut cells[(at / per_cell) as usize]) += next - at;
            at = next;
        }
    };
    let end = pages * page;
    let mut at = 0;
    while at < end {
        let (data, hole) = extent(file, at, end)?;
        put(at / page, (data - at) / page, |cell| &mut cell.holes);
        let mut from = data;
        while from < hole {
            let to = hole.min(from + STEP);
            for (index, resident) in residency(file, from, to - from)?.iter().enumerate() {
                let which: fn(&mut Cell) -> &mut u64 =
                    if resident & 1 == 1 { |cell| &mut cell.resident } else { |cell| &mut cell.elsewhere };
                put(from / page + index as u64, 1, which);
            }
            from = to;
        }
        at = hole;
    }
    let total = |which: fn(&Cell) -> u64| cells.iter().map(which).sum::<u64>() * page;
    Ok(Picture {
        page_size: page,
        resident: total(|cell| cell.resident),
        elsewhere: total(|cell| cell.elsewhere),
        holes: total(|cell| cell.holes),
        cells: cells.iter().map(letter).collect(),
        bytes_per_cell: per_cell * page,
    })
}

fn letter(cell: &Cell) -> char {
    match (cell.resident, cell.elsewhere, cell.holes) {
        (_, 0, 0) => '#',
        (0, 0, _) => '.',
        (0, _, _) => '-',
        _ => '+',
    }
}

/// The next data and its end, in whole pages; `at` and `end` are whole pages. A file system that knows no holes has data up to the end.
pub fn extent(file: &File, at: u64, end: u64) -> std::io::Result<(u64, u64)> {
    let page = page_size() as u64;
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => (data / page * page).max(at),
        // Nothing but a hole up to the end.
        Err(rustix::io::Errno::NXIO) => end,
        Err(rustix::io::Errno::INVAL) => return Ok((at, end)),
        Err(error) => return Err(error.into()),
    };
    // The object may grow or be cut while it is looked at.
    if data >= end {
        return Ok((end, end));
    }
    let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap_or(end);
    Ok((data, hole.div_ceil(page).saturating_mul(page).clamp(data + page, end)))
}

/// One byte a page: whether it is in memory. A mapping is made for it, and none of it is touched.
fn residency(file: &File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let error = |errno: shmkit::error::Errno| std::io::Error::from_raw_os_error(errno.0);
    let mut pages = vec![0; length.div_ceil(page_size() as u64) as usize];
    let (length, offset) = (length as usize, offset as i64);
    let at = memory::mmap(0, length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), offset).map_err(error)?;
    let asked = memory::mincore(at, length, &mut pages);
    memory::munmap(at, length).map_err(error)?;
    asked.map_err(error)?;
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_and_pages_in_memory_are_told_apart() {
        let page = page_size() as u64;
        let file = File::from(rustix::fs::memfd_create("picture", rustix::fs::MemfdFlags::CLOEXEC).expect("memfds"));
        assert_eq!(of(&file).expect("an empty object can be asked about").cells, "");
        file.set_len(5 * page + 1).expect("it can grow");
        file.write_all_at(b"x", page).expect("it can be written");
        file.write_all_at(b"x", 5 * page).expect("it can be written");
        let picture = of(&file).expect("it can be asked about");
        assert_eq!(picture.cells, ".#...#");
        assert_eq!((picture.resident, picture.elsewhere, picture.holes), (2 * page, 0, 4 * page));
        file.set_len(600 * page).expect("it can grow");
        let picture = of(&file).expect("it can be asked about");
        assert_eq!(picture.cells, format!("+{}", ".".repeat(59)));
        assert_eq!(picture.bytes_per_cell, 10 * page);
    }
}
