//! Which processes of a run are still there when its first one has ended. Next: `summary.rs`.

use std::fs;
use std::io;

use super::record::Process;

/// Whether a process is one of the run still: it maps the run's file, which nobody else does. `inode` is the file's.
pub fn is_running(process: &Process, inode: u64) -> bool {
    let folder = format!("/proc/{}", process.pid);
    match fs::read_to_string(format!("{folder}/maps")) {
        Ok(maps) => maps.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(4);
            fields.next().is_some_and(|number| number.parse() == Ok(inode))
                && fields.next().is_some_and(|name| name.starts_with("/memfd:shmkit-run"))
        }),
        // It keeps others from looking, as after prctl(PR_SET_DUMPABLE): its name has to do.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let name = fs::read(format!("{folder}/comm")).unwrap_or_default();
            crate::printable::text(name.strip_suffix(b"\n").unwrap_or(&name)) == process.program
        }
        Err(_) => false,
    }
}
