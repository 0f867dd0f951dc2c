//! Runs a program on a terminal, presses keys, and prints what it shows then: the screens in the README are made so.
//!
//! `cargo run -p memmon-tests --example screen -- WIDTHxHEIGHT SECONDS KEYS PROGRAM [ARG..]`
//!
//! In KEYS, `\r` is Enter, `\e` Esc, `\t` Tab, and `\w` waits for a second.

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result};
use memmon_tests::screen::Screen;

fn main() -> Result<()> {
    let usage = "WIDTHxHEIGHT SECONDS KEYS PROGRAM [ARG..]";
    let mut args = std::env::args().skip(1);
    let size = args.next().context(usage)?;
    let (width, height) = size.split_once('x').context(usage)?;
    let seconds: f64 = args.next().context(usage)?.parse()?;
    let keys = args.next().context(usage)?;
    let mut command = Command::new(args.next().context(usage)?);
    command.args(args);
    let mut screen = Screen::start(command, (width.parse()?, height.parse()?))?;
    sleep(Duration::from_secs_f64(seconds));
    let mut letters = keys.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('r') => screen.press("\r")?,
                Some('e') => screen.press("\x1b")?,
                Some('t') => screen.press("\t")?,
                _ => sleep(Duration::from_secs(1)),
            },
            (letter, false) => screen.press(&letter.to_string())?,
        }
    }
    sleep(Duration::from_millis(500));
    print!("{}", screen.text());
    screen.press("\x03")?;
    screen.ended()?;
    Ok(())
}
