//! `--tracy`, seen by a profiler that keeps Tracy's own rules (`memmon_tests::tracy`).

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{self, Daemon},
    tracy::{self, Books, Profiler, Query, Question},
};

/// What the program holds, by pool of a device: address → charged bytes on it.
type Truth = BTreeMap<String, BTreeMap<u64, u64>>;

/// A program on two chips, and what is true of it.
struct Work {
    driver: Driver,
    truth: Truth,
    named: BTreeMap<String, (String, u64)>,
}

impl Work {
    fn start() -> Result<Self> {
        let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
        driver.ask("open chips 2 l1_small 16384 trace 1048576")?;
        Ok(Self {
            driver,
            truth: Truth::new(),
            named: BTreeMap::new(),
        })
    }

    fn alloc(&mut self, id: &str, pool: &str, rest: &str) -> Result<u64> {
        let answer = self.driver.ask(&format!("alloc {id} {pool} {rest}"))?;
        let (address, charged) = (answer["address"].as_u64(), answer["charged"].as_u64());
        let (address, charged) = (address.context("an address")?, charged.context("a size")?);
        for chip in 0..2 {
            let pool = self
                .truth
                .entry(format!("tt-metal:{chip} {pool}"))
                .or_default();
            pool.insert(address, charged);
        }
        self.named.insert(id.to_owned(), (pool.to_owned(), address));
        Ok(address)
    }

    fn free(&mut self, id: &str) -> Result<()> {
        self.driver.ask(&format!("free {id}"))?;
        let (pool, address) = self.named.remove(id).context("no such name")?;
        for chip in 0..2 {
            if let Some(pool) = self.truth.get_mut(&format!("tt-metal:{chip} {pool}")) {
                pool.remove(&address);
            }
        }
        Ok(())
    }

    fn some(&mut self) -> Result<()> {
        self.alloc("a", "DRAM", "2097152 2048")?;
        self.alloc("b", "L1", "32768 4096 shards 8")?;
        self.alloc("c", "L1_SMALL", "4096 64")?;
        self.alloc("d", "TRACE", "65536 4096")?;
        self.alloc("e", "DRAM", "1000 100")?;
        self.alloc("f", "DRAM", "65536 4096")?;
        self.free("e")
    }

    /// Whether the profiler sees exactly this: blocks, and the plots that they add up to.
    fn is_shown(&self, books: &Books) -> bool {
        let plots = books.plots();
        self.truth.iter().all(|(name, blocks)| {
            let sum: u64 = blocks.values().sum();
            let plot = plots.get(format!("fixture[{}] {name}", self.driver.pid()).as_str());
            let shown = books.pool(name).map(|pool| &pool.live);
            shown == Some(blocks) && plot == Some(&(sum as f64))
        })
    }
}

/// A port that nobody has, as far as one can know.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Observes these processes only: others of the machine may be on mock devices of the same names.
fn daemon(address: SocketAddr, works: &[&Work]) -> Result<Daemon> {
    let address = address.to_string();
    let pids: Vec<String> = works
        .iter()
        .map(|work| work.driver.pid().to_string())
        .collect();
    let pids = pids.join(",");
    let mut args = vec!["--refresh", "100", "--tracy-listen", &address];
    if !works.is_empty() {
        args.extend(["--pid", &pids]);
    }
    Daemon::start(&args)
}

#[test]
fn who_comes_late_sees_what_stands_and_then_what_happens() -> Result<()> {
    let address = free_address()?;
    // Before memmon: recovered.
    let mut work = Work::start()?;
    work.some()?;
    let daemon = daemon(address, &[&work])?;
    // Before the profiler.
    work.alloc("g", "DRAM", "8192 2048")?;
    work.driver.ask("oom L1")?;
    let mut profiler = Profiler::connect(address)?;
    profiler.wait_for("what stood", |books| {
        work.is_shown(books) && books.frames > 2
    })?;
    assert_eq!(profiler.books.pool_names().len(), 8);
    assert!(profiler.books.plots_are_bytes());
    let told = |books: &Books| {
        let pool = format!("fixture[{}] asked for ", work.driver.pid());
        books
            .messages
            .iter()
            .filter(|message| message.severity == 4 && message.text.contains(&pool))
            .count()
    };
    assert_eq!(told(&profiler.books), 1, "{:#?}", profiler.books.messages);

    // While it looks: also what is gone within one refresh.
    work.alloc("h", "L1", "8192 1024")?;
    work.free("a")?;
    let before = profiler
        .books
        .pool("tt-metal:0 DRAM")
        .context("no DRAM")?
        .allocations;
    work.driver.ask("burst 100 size 4096 page 1024")?;
    work.driver.ask("oom DRAM")?;
    profiler.wait_for("what happened", |books| {
        let burst = books
            .pool("tt-metal:0 DRAM")
            .is_some_and(|pool| pool.allocations == before + 100);
        let told = books
            .messages
            .iter()
            .filter(|message| message.severity == 4)
            .count();
        burst && told == 2 && work.is_shown(books)
    })?;

    // The window is closed, and opened again.
    profiler.disconnect()?;
    work.free("b")?;
    work.alloc("i", "TRACE", "4096 4096")?;
    let mut profiler = Profiler::connect(address)?;
    profiler.wait_for("what stands now", |books| work.is_shown(books))?;
    let Profiler { books, .. } = &profiler;
    let freed: usize = books
        .pool_names()
        .iter()
        .filter_map(|name| books.pool(name))
        .map(|pool| pool.frees)
        .sum();
    assert_eq!(freed, 0, "frees of what this profiler was never told");

    // The device is closed; all of it is free at once.
    work.driver.ask("close")?;
    for blocks in work.truth.values_mut() {
        blocks.clear();
    }
    profiler.wait_for("everything free", |books| work.is_shown(books))?;

    // memmon ends: so does the connection, in order.
    std::thread::scope(|scope| {
        scope.spawn(|| drop(daemon));
        profiler.to_the_end()
    })
}

#[test]
fn a_process_that_is_killed_holds_nothing() -> Result<()> {
    let address = free_address()?;
    // Two programs, the same mock chips, the same addresses: none hides the other.
    let (mut one, mut two) = (Work::start()?, Work::start()?);
    let _daemon = daemon(address, &[&one, &two])?;
    let mut profiler = Profiler::connect(address)?;
    let first = one.alloc("a", "DRAM", "2097152 2048")?;
    let second = two.alloc("a", "DRAM", "4194304 2048")?;
    assert_eq!(first, second, "the case that is meant");
    let sizes = |books: &Books| -> u64 {
        let names: Vec<_> = books
            .pool_names()
            .into_iter()
            .filter(|name| name.starts_with("tt-metal:0"))
            .collect();
        names
            .iter()
            .filter_map(|name| books.pool(name))
            .map(tracy::Pool::bytes)
            .sum()
    };
    let truth = |work: &Work| -> u64 { work.truth["tt-metal:0 DRAM"].values().sum() };
    profiler.wait_for("both", |books| sizes(books) == truth(&one) + truth(&two))?;
    let (name, pid) = ("tt-metal:0", one.driver.pid());
    one.driver.tell("kill9")?;
    one.driver.wait()?;
    profiler.wait_for("one", |books| {
        let plot = |pid: u32| {
            let plots = books.plots();
            let of_pid = plots
                .iter()
                .filter(|(plot, _)| plot.contains(&format!("[{pid}] {name}")));
            of_pid.map(|(_, value)| *value).sum::<f64>()
        };
        sizes(books) == truth(&two)
            && plot(pid) == 0.0
            && plot(two.driver.pid()) == truth(&two) as f64
    })?;
    profiler.wait_for("that it ended holding memory", |books| {
        let text = format!("fixture[{pid}] ended holding memory");
        books
            .messages
            .iter()
            .any(|message| message.severity == 3 && message.text.contains(&text))
    })
}

#[test]
fn a_command_from_its_first_instruction_on() -> Result<()> {
    let address = free_address()?;
    let fixture = Fixture::get(Layout::Inline, Fault::None)?;
    let mut child = memmon::command([
        "run",
        "-r",
        "100",
        "--tracy-listen",
        &address.to_string(),
        "--",
    ])
    .arg(fixture.driver())
    .args([
        "sleep", "1500", ",", "alloc", "a", "DRAM", "2097152", "2048", ",", "free", "a", ",",
        "sleep", "300",
    ])
    .args([",", "alloc", "b", "L1", "8192", "1024"])
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()?;
    let mut profiler = first(address, &mut child)?;
    // All of it, with the last allocation before the end.
    profiler.to_the_end()?;
    let books = &profiler.books;
    let pool = |name: &str| {
        books
            .pool(name)
            .cloned()
            .with_context(|| format!("no {name}: {books:#?}"))
    };
    assert_eq!(pool("tt-metal:0 DRAM")?.allocations, 1);
    assert_eq!(pool("tt-metal:0 L1")?.allocations, 1);
    assert_eq!(pool("tt-metal:0 L1")?.frees, 1);
    ensure!(child.wait()?.success());
    Ok(())
}

/// The view feeds a profiler, too: on Tracy's own port, unless told otherwise.
#[test]
fn watching() -> Result<()> {
    let mut work = Work::start()?;
    work.some()?;
    let pid = work.driver.pid().to_string();
    let mut child = memmon::command(["--tracy", "-r", "100", "--format", "json", "-p", &pid])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut profiler = first(SocketAddr::from((Ipv4Addr::LOCALHOST, 8086)), &mut child)?;
    profiler.wait_for("what stands", |books| work.is_shown(books))?;
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    profiler.to_the_end()?;
    ensure!(child.wait()?.success());
    for args in [["-q", "--tracy"], ["--socket=/nonexistent", "--tracy"]] {
        assert_eq!(memmon::run(&args)?.status.code(), Some(2), "{args:?}");
    }
    Ok(())
}

/// It costs nothing unless it is asked for, and little until somebody comes.
#[test]
fn nothing_runs_while_nobody_looks() -> Result<()> {
    let quiet = Daemon::start(&[])?;
    assert_eq!(sockets(quiet.pid())?, Vec::<String>::new());
    drop(quiet);

    let address = free_address()?;
    let daemon = daemon(address, &[])?;
    // On this machine only, and one socket: nothing that could broadcast.
    let port = format!("0100007F:{:04X}", address.port());
    assert_eq!(sockets(daemon.pid())?, [format!("tcp {port}")]);
    assert_eq!(tracy_threads(daemon.pid())?, Vec::<String>::new());
    assert_eq!(children(daemon.pid())?, Vec::<u32>::new());

    // Tracy's announcements would come here.
    let announcements = UdpSocket::bind(("0.0.0.0", 8086))?;
    announcements.set_read_timeout(Some(Duration::from_millis(3500)))?;
    let profiler = Profiler::connect(address)?;
    let clients = children(daemon.pid())?;
    assert_eq!(clients.len(), 1, "one process for one profiler");
    assert_eq!(profiler.welcome.pid, u64::from(clients[0]));
    assert_eq!(profiler.welcome.program, "memmon-ebpf");
    // On demand; no code is handed out.
    assert_eq!(profiler.welcome.flags, 1);
    let heard = announcements.recv(&mut [0; 1024]);
    assert!(heard.is_err(), "it is announced to the network");
    profiler.disconnect()?;
    wait_until("its process is gone", || {
        Ok(children(daemon.pid())?.is_empty())
    })
}

/// Whoever is connected may read the memory of the process that it is connected to, and more.
#[test]
fn the_process_that_speaks_has_nothing_to_give_away() -> Result<()> {
    let address = free_address()?;
    let mut work = Work::start()?;
    let daemon = daemon(address, &[&work])?;
    let profiler = Profiler::connect(address)?;
    let [client] = children(daemon.pid())?[..] else {
        anyhow::bail!("one process for one profiler");
    };
    let status = fs::read_to_string(format!("/proc/{client}/status"))?;
    let field = |name: &str| -> Option<String> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(field("Uid").as_deref(), Some("65534 65534 65534 65534"));
    assert_eq!(field("Gid").as_deref(), Some("65534 65534 65534 65534"));
    assert_eq!(field("Groups").as_deref(), Some(""));
    assert_eq!(field("CapPrm").as_deref(), Some("0000000000000000"));
    assert_eq!(field("CapEff").as_deref(), Some("0000000000000000"));
    assert_eq!(field("NoNewPrivs").as_deref(), Some("1"));
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net"));
    assert_ne!(network(client)?, network(daemon.pid())?);
    let root = fs::read_dir(format!("/proc/{client}/root"))?;
    for entry in root {
        let name = entry?
            .file_name()
            .into_string()
            .ok()
            .context("a plain name")?;
        ensure!(name.parse::<u32>().is_ok(), "{name} is in its root folder");
    }
    // Nothing of memmon's is open in it: its pipes, the profiler, and what Tracy opens itself.
    for entry in fs::read_dir(format!("/proc/{client}/fd"))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        let target = target.display().to_string();
        ensure!(
            target.starts_with("socket:") || target.starts_with("pipe:"),
            "{target} is open in it"
        );
    }

    // A profiler that asks for what is not there may do harm to that process, and to no other.
    let mut hostile = profiler;
    hostile.ask(Query {
        kind: Question::String,
        pointer: 1,
    })?;
    while hostile.listen().is_ok() {}
    work.some()?;
    let mut profiler = Profiler::connect(address)?;
    profiler.wait_for("the daemon's truth", |books| work.is_shown(books))
}

#[test]
fn who_cannot_be_served_is_told_so() -> Result<()> {
    let address = free_address()?;
    let daemon = daemon(address, &[])?;
    // A profiler of another release.
    let (status, mut socket) = tracy::greet(address, 76)?;
    assert_eq!(status, tracy::PROTOCOL_MISMATCH);
    assert_eq!(socket.read(&mut [0; 8])?, 0);
    // No profiler.
    let mut stranger = TcpStream::connect(address)?;
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n")?;
    assert!(matches!(stranger.read(&mut [0; 8]), Ok(0) | Err(_)));
    // Several profilers are welcome, but not any number.
    let profilers = (0..4)
        .map(|_| Profiler::connect(address))
        .collect::<Result<Vec<_>>>()?;
    let (status, _) = tracy::greet(address, tracy::PROTOCOL)?;
    assert_eq!(status, tracy::NOT_AVAILABLE);
    drop(profilers);
    wait_until("there is room again", || {
        Ok(children(daemon.pid())?.is_empty())
    })?;
    Profiler::connect(address)?;
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_said() -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = taken.local_addr()?.to_string();
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket").display().to_string();
    let output = memmon::run(&["serve", "--socket", &socket, "--tracy-listen", &address])?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr)?;
    for part in [address.as_str(), "in use", "--tracy-listen"] {
        ensure!(said.contains(part), "{said}");
    }
    Ok(())
}

/// A profiler of another protocol is refused, so one has to be able to ask.
#[test]
fn the_protocol_is_named() -> Result<()> {
    for args in ["--version", "doctor"] {
        let said = String::from_utf8(memmon::run(&[args])?.stdout)?;
        ensure!(
            said.contains(&format!("protocol {}", tracy::PROTOCOL)),
            "{args}: {said}"
        );
    }
    Ok(())
}

/// As soon as it listens.
fn first(address: SocketAddr, memmon: &mut Child) -> Result<Profiler> {
    loop {
        match Profiler::connect(address) {
            Ok(profiler) => return Ok(profiler),
            Err(error) => ensure!(memmon.try_wait()?.is_none(), "{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Internet sockets of a process.
fn sockets(pid: u32) -> Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        if let Some(inode) = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:["))
        {
            open.push(inode.trim_end_matches(']').to_owned());
        }
    }
    let mut found = Vec::new();
    for kind in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}"))?;
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, local, ..] = words[..]
                && words
                    .get(9)
                    .is_some_and(|inode| open.iter().any(|open| open == inode))
            {
                found.push(format!("{kind} {local}"));
            }
        }
    }
    Ok(found)
}

fn tracy_threads(pid: u32) -> Result<Vec<String>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = fs::read_to_string(entry?.path().join("comm"))?;
        if name.to_lowercase().contains("tracy") {
            threads.push(name);
        }
    }
    Ok(threads)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(entry?.path().join("children"))?;
        children.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..500 {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("waited in vain until {what}")
}
