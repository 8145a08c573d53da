//! A look at a database file that leaves no trace.
//!
//! Opening a database writes to it: repairs, descriptions, and at the end the file may shrink. In a file
//! that turns out to be damaged, that would overwrite what could still be found. So the first look goes
//! through this: what the library writes stays in memory and is forgotten.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Unit of what is remembered.
const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Shadow {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// Of the file as the library sees it.
    length: u64,
    /// Bytes of the real file beyond this are no longer seen.
    visible: u64,
    /// By number.
    pages: HashMap<u64, Box<[u8]>>,
}

impl Shadow {
    /// # Errors
    /// The file cannot be used at all.
    pub(super) fn new(file: File) -> Result<Self, DatabaseError> {
        let length = file.metadata()?.len();
        let written = Written { length, visible: length, pages: HashMap::new() };
        Ok(Self { file: FileBackend::new(file)?, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the file, and zeros where a longer file would have them.
    fn read_file(&self, visible: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(visible.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_file, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if from_file.is_empty() { Ok(()) } else { self.file.read(offset, from_file) }
    }
}

/// The pages `offset..offset + length` touches: number, range within the page, range within the whole.
fn pages(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let step = (PAGE - within).min(length - done);
        let range = done..done + step;
        done += step;
        (step > 0).then_some((at / PAGE as u64, within..within + step, range))
    })
}

impl StorageBackend for Shadow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(written.visible, offset, out)?;
        if written.pages.is_empty() {
            return Ok(());
        }
        for (number, within, range) in pages(offset, out.len()) {
            let page = written.pages.get(&number).and_then(|page| page.get(within));
            if let (Some(page), Some(out)) = (page, out.get_mut(range)) {
                out.copy_from_slice(page);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What comes back later comes back as zeros.
            written.visible = written.visible.min(length);
            written.pages.retain(|number, _| number * (PAGE as u64) < length);
            if let Some(page) = written.pages.get_mut(&(length / PAGE as u64)) {
                let end = (length % PAGE as u64) as usize;
                page.iter_mut().skip(end).for_each(|byte| *byte = 0);
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let visible = written.visible;
        for (number, within, range) in pages(offset, data.len()) {
            let page = match written.pages.entry(number) {
                std::collections::hash_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    let mut page = vec![0; PAGE].into_boxed_slice();
                    self.read_file(visible, number * PAGE as u64, &mut page)?;
                    place.insert(page)
                }
            };
            if let (Some(page), Some(data)) = (page.get_mut(within), data.get(range)) {
                page.copy_from_slice(data);
            }
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn it_behaves_like_a_file_and_leaves_the_file_alone() {
        let mut random = StdRng::seed_from_u64(3);
        let mut model: Vec<u8> = (0..3 * PAGE + 100).map(|_| random.random()).collect();
        let (before, dir) = (model.clone(), tempfile::tempdir().unwrap());
        let path = dir.path().join("file");
        fs::write(&path, &before).unwrap();
        let shadow = Shadow::new(File::options().read(true).write(true).open(&path).unwrap()).unwrap();
        for step in 0..2000 {
            if step % 10 == 0 {
                let length = random.random_range(1..6 * PAGE);
                shadow.set_len(length as u64).unwrap();
                model.resize(length, 0);
            }
            let from = random.random_range(0..model.len());
            let to = random.random_range(from..=model.len());
            let data: Vec<u8> = (from..to).map(|_| random.random()).collect();
            shadow.write(from as u64, &data).unwrap();
            model[from..to].copy_from_slice(&data);
            let mut seen = vec![0; model.len()];
            shadow.read(0, &mut seen).unwrap();
            assert!(seen == model, "step {step}");
            assert_eq!(shadow.len().unwrap(), model.len() as u64);
            assert!(shadow.read(1, &mut seen).is_err());
        }
        assert!(fs::read(&path).unwrap() == before);
    }
}
