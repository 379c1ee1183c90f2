//! The terminal of the view: taken over, and given back however it ends. Next: `screen.rs`.

use std::io::{self, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use signal_hook::low_level::emulate_default_handler;

use crate::exit::{Done, Exit, Failure};

use super::looks::Looker;
use super::screen::{Action, Screen};

/// How long a key or a look may wait to be seen.
const TURN: Duration = Duration::from_millis(50);

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the terminal cannot be {what}: {error}"), "")
}

/// The last signal that asked this process to end or to stop; 0 for none.
fn signals() -> io::Result<Arc<AtomicUsize>> {
    let told = Arc::new(AtomicUsize::new(0));
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP] {
        signal_hook::flag::register_usize(signal, Arc::clone(&told), signal as usize)?;
    }
    Ok(told)
}

/// Gives the terminal back; what fails because it is gone does not matter any more.
fn give_back() {
    let _ = ratatui::try_restore();
    let _ = execute!(stdout(), Show);
}

/// Shows the view until its end.
pub fn run(screen: &mut Screen, looker: &Looker) -> Done {
    let told = signals().map_err(|error| failed("used", &error))?;
    // Its hook gives the terminal back before the words of a panic are printed.
    let mut terminal = ratatui::try_init().map_err(|error| failed("taken over", &error))?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let _ = execute!(stdout(), Show);
        before(info);
    }));
    let ended = AtomicI32::new(0);
    let done = turns(screen, looker, &mut terminal, &told, &ended);
    drop(terminal);
    give_back();
    let signal = ended.into_inner();
    if signal != 0 {
        // Whoever started this program sees what ended it.
        let _ = emulate_default_handler(signal);
    }
    done
}

/// Waits for keys, or a signal, no longer than `wait`. False: the terminal has gone.
fn is_there_after(wait: Duration) -> bool {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: one struct, readable and writable.
    unsafe { libc::poll(&mut input, 1, wait.as_millis() as libc::c_int) };
    input.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0
}

fn turns(
    screen: &mut Screen,
    looker: &Looker,
    terminal: &mut DefaultTerminal,
    told: &AtomicUsize,
    ended: &AtomicI32,
) -> Done {
    let mut changed = true;
    loop {
        if changed {
            terminal.draw(|frame| screen.draw(frame)).map_err(|error| failed("written", &error))?;
            changed = false;
        }
        let mut action = Action::Nothing;
        // All keys that wait are taken before one drawing.
        let mut wait = TURN;
        while action == Action::Nothing {
            // A terminal that went away always has something to read, which is nothing: what reads keys would go on for
            // ever.
            if !is_there_after(wait) {
                return Ok(Exit::Failed);
            }
            if !event::poll(Duration::ZERO).map_err(|error| failed("read", &error))? {
                break;
            }
            wait = Duration::ZERO;
            changed = true;
            match event::read().map_err(|error| failed("read", &error))? {
                Event::Key(key) if key.kind != KeyEventKind::Release => action = screen.key(key),
                _ => {}
            }
        }
        for ask in screen.asks.drain(..) {
            // That it has ended is seen below.
            let _ = looker.asks.send(ask);
        }
        loop {
            match looker.tells.try_recv() {
                Ok(told) => {
                    screen.tell(told)?;
                    changed = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::new(Exit::Failed, "the thread that looks has ended", ""));
                }
            }
        }
        match told.swap(0, Ordering::Relaxed) as i32 {
            0 => {}
            libc::SIGTSTP => action = Action::Suspend,
            signal => {
                ended.store(signal, Ordering::Relaxed);
                return Ok(Exit::Ok);
            }
        }
        match action {
            Action::Nothing => {}
            Action::Quit => return Ok(Exit::Ok),
            Action::Redraw => terminal.clear().map_err(|error| failed("written", &error))?,
            Action::Suspend => {
                give_back();
                let _ = emulate_default_handler(libc::SIGTSTP);
                enable_raw_mode()
                    .and_then(|()| execute!(stdout(), EnterAlternateScreen))
                    .and_then(|()| terminal.clear())
                    .map_err(|error| failed("taken over", &error))?;
                changed = true;
            }
        }
    }
}
