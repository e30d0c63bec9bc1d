//! The end of a file, replaced so that nothing of it is lost at any moment, whenever the recorder is killed.
//!
//! A batch takes some 5 KB, however few its rows are, and on a quiet host each second's batch has few. So they are put together
//! later: one batch takes the place of many. A write into the middle of a file can be cut short, and so it is done in three steps,
//! each on the disk before the next begins:
//!
//! 1. Behind the end: eight bytes on, [`MARK`], a copy of what is to be written, and a trailer that says where it belongs; at last,
//!    in those eight bytes, the stream's end mark, where other readers stop. Until then these bytes are zeros, where they stop too.
//! 2. In its place: the same, and the end mark.
//! 3. The file is cut off behind that, without the end mark.
//!
//! A file that ends with a whole trailer is read up to the place where the copy belongs, and goes on with the copy. A reader
//! holds a lock meanwhile, so that no end is replaced while it reads.
use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
};

use nix::fcntl::{FcntlArg, fcntl};

use super::frame::END;

/// Begins what follows the end mark, and ends the trailer.
pub(super) const MARK: [u8; 8] = *b"ktrctail";
/// The trailer: where the copy belongs, its length, the CRC-32 of it and of these, four zeros, and [`MARK`].
const TRAILER: usize = 32;

/// Replaces all from this byte on, of a file of this length.
///
/// # Errors
/// When it can't be written. Up to the end of the first step the file may be cut off at its old length; later it is whole for
/// readers that know of trailers, and [`Failed::keep`] says so.
pub(super) fn replace(file: &File, at: u64, length: u64, bytes: &[u8]) -> Result<(), Failed> {
    let trailer = trailer(at, bytes);
    let (copy, place) = steps(at, length, bytes, &trailer);
    let early = |error| Failed { error, keep: false };
    copy.iter().try_for_each(|(from, bytes)| file.write_all_at(bytes, *from)).map_err(early)?;
    file.sync_data().map_err(early)?;
    let late = |error| Failed { error, keep: true };
    place.iter().try_for_each(|(from, bytes)| file.write_all_at(bytes, *from)).map_err(late)?;
    file.sync_data().map_err(late)?;
    file.set_len(at + bytes.len() as u64).map_err(late)
}

/// Bytes, and where they are written.
type Write<'a> = (u64, &'a [u8]);

/// What the first two steps write.
pub(super) fn steps<'a>(at: u64, length: u64, bytes: &'a [u8], trailer: &'a [u8]) -> ([Write<'a>; 4], [Write<'a>; 2]) {
    let size = bytes.len() as u64;
    let mark = END.len() as u64;
    let copy = (length + mark + MARK.len() as u64).max(at + size + mark);
    ([(length + mark, &MARK), (copy, bytes), (copy + size, trailer), (length, &END)], [(at, bytes), (at + size, &END)])
}

/// Why an end could not be replaced.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// The file must stay as it is.
    pub(super) keep: bool,
}

pub(super) fn trailer(at: u64, bytes: &[u8]) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..8].copy_from_slice(&at.to_le_bytes());
    trailer[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    crc.update(&trailer[..16]);
    trailer[16..20].copy_from_slice(&crc.finalize().to_le_bytes());
    trailer[24..].copy_from_slice(&MARK);
    trailer
}

/// Locks a file against readers while its end is replaced. False where a reader has it open.
pub(super) fn lock(file: &File) -> bool {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).is_ok()
}

/// Lets readers in again.
pub(super) fn unlock(file: &File) {
    // Without locks, readers were never kept out.
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_UNLCK)));
}

fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 }
}

/// A file that is read as its recorder meant it: with the copy of an end that was being replaced when the recorder was killed.
#[derive(Debug)]
pub struct Stored {
    file: File,
    /// Bytes up to where the copy belongs, where there is one; and where that begins and how long it is.
    left: u64,
    copy: Option<(u64, u64)>,
    length: u64,
}

impl Stored {
    /// Holds the file's end still until it has been read.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn open(file: File) -> io::Result<Self> {
        // Where a file system has no locks, a recorder does not replace ends there either.
        let _ = fcntl(&file, FcntlArg::F_OFD_SETLKW(&whole(libc::F_RDLCK)));
        let length = file.metadata()?.len();
        Ok(match find(&file, length)? {
            Some((at, copy, size)) => Self { file, left: at, copy: Some((copy, size)), length: at + size },
            None => Self { file, left: u64::MAX, copy: None, length },
        })
    }

    /// Bytes, as they are read.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// Where a copy belongs, where it begins, and how long it is; none where the file has no whole one.
fn find(file: &File, length: u64) -> io::Result<Option<(u64, u64, u64)>> {
    let Some(trailer_at) = length.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut found = [0; TRAILER];
    file.read_exact_at(&mut found, trailer_at)?;
    let number = |from: usize| found[from..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (at, size) = (number(0), number(8));
    let Some(copy) = trailer_at.checked_sub(size).filter(|copy| found[24..] == MARK && at <= *copy && size <= MOST) else {
        return Ok(None);
    };
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, copy)?;
    Ok((trailer(at, &bytes) == found).then_some((at, copy, size)))
}

/// No end that is replaced is longer.
const MOST: u64 = 1 << 26;

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0
            && let Some((from, size)) = self.copy.take()
        {
            self.file.seek(SeekFrom::Start(from))?;
            self.left = size;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read(&mut buffer[..most])?;
        self.left = self.left.saturating_sub(got as u64);
        Ok(got)
    }
}
