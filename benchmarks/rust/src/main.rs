//! What tokio asks for a life: `peer TARGET group`, or `peer TARGET death` with the parent-death signal as well.
//!
//! For each line "K" on standard input it does K of them, and prints so many lines of microseconds.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Instant;

async fn life(target: &str, dies_with_parent: bool) -> f64 {
    let start = Instant::now();
    let mut command = std::process::Command::new(target);
    command.stdin(Stdio::null()).process_group(0);
    if dies_with_parent {
        let parent = unsafe { libc::getpid() };
        // The parent may have died before the signal was armed.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid() != parent {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }
    let mut child = tokio::process::Command::from(command).spawn().expect("spawn");
    child.wait().await.expect("wait");
    start.elapsed().as_secs_f64() * 1e6
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        for _ in 0..line.expect("line").trim().parse::<usize>().expect("number") {
            let micros = runtime.block_on(life(&words[1], words[2] == "death"));
            writeln!(out, "{micros:.1}").expect("write");
        }
        out.flush().expect("flush");
    }
}
