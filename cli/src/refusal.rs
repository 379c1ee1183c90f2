//! The library's refusals as the tool's failures: their words with figures, and the exit code that stands for them.
//! Next: `exit.rs`.

use shmkit::checks::words::{self, Call, Invocation};
use shmkit::error::Status;
use shmkit::region;
use shmkit::text::Text;

use crate::exit::{Exit, Failure};
use crate::printable;

fn rendered(template: &str, failure: &region::Failure, address: &[u8]) -> String {
    let call = Invocation::with_name(Call::List, address, [0; 6]);
    let mut text = Text::<1024>::new();
    match words::render(template, &call, &failure.figures, &mut text) {
        true => String::from_utf8_lossy(text.bytes()).into_owned(),
        // A figure that only a call has.
        false => failure.status.words().cause.to_string(),
    }
}

/// Why a call on a region failed, with its figures.
pub fn cause(failure: &region::Failure, address: &[u8]) -> String {
    rendered(failure.cause, failure, address)
}

/// The failure of a command. It names the address, whatever the library's words say.
pub fn failure(failure: &region::Failure, address: &[u8]) -> Failure {
    let exit = match failure.status {
        Status::ErrNotFound | Status::ErrRemoved => Exit::NotFound,
        Status::ErrAccess | Status::ErrNotPermitted => Exit::NotPermitted,
        Status::ErrInvalidArgument | Status::ErrNameTooLong => Exit::Usage,
        _ => Exit::Failed,
    };
    let mut cause = cause(failure, address);
    if !failure.cause.contains("{name}") {
        cause = format!("{}: {cause}", printable::text(address));
    }
    Failure::new(exit, cause, rendered(failure.remedy, failure, address))
}
