//! New executable mappings, as the kernel reports them: a library is seen the moment it is mapped,
//! long before its first function runs, at no cost to anything else. (Not the path of the
//! `open` system call: a syscall tracepoint slows every system call on the machine.)

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use perf_event::{
    Builder, Sampler,
    data::{Mmap2, Record},
    events::Software,
};

use super::scan::FileId;

/// Watches every CPU.
#[expect(missing_debug_implementations, reason = "the sampler has none")]
pub struct MappingWatch {
    cpus: Vec<Sampler>,
    /// Readable when any of them is.
    any: Epoll,
}

/// Something was mapped executable, or notices were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Mapped {
        pid: u32,
        file_name: String,
        /// None where the kernel does not say.
        file: Option<FileId>,
    },
    Lost,
}

const BUFFER_BYTES: usize = 256 << 10;

impl MappingWatch {
    pub fn open() -> io::Result<Self> {
        let mut cpus = Vec::new();
        for cpu in online_cpus()? {
            let mut builder = Builder::new(Software::DUMMY);
            builder
                .any_pid()
                .one_cpu(cpu)
                .mmap(true)
                .mmap2(true)
                .wakeup_watermark(1)
                .enabled(true);
            cpus.push(builder.build()?.sampled(BUFFER_BYTES)?);
        }
        let any = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for sampler in &cpus {
            // SAFETY: open as long as the sampler, which outlives the borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(sampler.as_counter().as_raw_fd()) };
            any.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Self { cpus, any })
    }

    /// All that has been reported.
    pub fn take(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for sampler in &mut self.cpus {
            while let Some(record) = sampler.next_record() {
                match record.parse_record() {
                    Ok(Record::Mmap2(mmap)) => notices.push(Notice::Mapped {
                        pid: mmap.pid,
                        file_name: base_name(&mmap.filename),
                        file: file_of(&mmap),
                    }),
                    Ok(Record::Mmap(mmap)) => notices.push(Notice::Mapped {
                        pid: mmap.pid,
                        file_name: base_name(&mmap.filename),
                        file: None,
                    }),
                    Ok(Record::Lost(_)) | Err(_) => notices.push(Notice::Lost),
                    Ok(_) => {}
                }
            }
        }
        notices
    }
}

/// Becomes readable when there is something to take.
impl AsRawFd for MappingWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.any.0.as_raw_fd()
    }
}

fn file_of(mmap: &Mmap2<'_>) -> Option<FileId> {
    Some(FileId {
        device: (mmap.maj()?, mmap.min()?),
        inode: mmap.ino()?,
    })
}

fn base_name(path: &[u8]) -> String {
    let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
    let path = String::from_utf8_lossy(&path[..end]).into_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn online_cpus() -> io::Result<Vec<usize>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first + 8192));
        }
    }
    Ok(cpus)
}
