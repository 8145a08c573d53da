//! The tables of one transaction, and what a write does to them.

use redb::{ReadableTable as _, Table, TableDefinition};

use super::super::{EmbeddedSettings, Kind, Write};
use super::file::{Failure, Meta};
use super::frame::{Frame, Slot};

/// One byte of [`Slot`] and the key, to a [`Frame`].
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Length and text of the heartbeat's key and a rising number, to the body. Without frames: bodies may be lost.
pub(super) const BODIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bodies");
/// Bodies of one commit are numbered within this many bits.
const BODY_BITS: u32 = 20;

/// Definitions, records, marks and the description of it all.
pub(super) struct Entries<'t> {
    table: Table<'t, &'static [u8], &'static [u8]>,
    commit: u64,
    frame: Vec<u8>,
}

impl<'t> Entries<'t> {
    pub(super) fn open(transaction: &'t redb::WriteTransaction, commit: u64) -> Result<Self, Failure> {
        Ok(Self { table: transaction.open_table(ENTRIES)?, commit, frame: Vec::new() })
    }

    pub(super) fn set(
        &mut self,
        kind: Kind,
        key: &str,
        value: Option<&[u8]>,
        meta: &mut Meta,
    ) -> Result<(), Failure> {
        meta.writes += 1;
        match value {
            Some(value) if self.put(Slot::Value(kind), key, value)? => {}
            Some(_) => {
                meta.count(kind, true);
                self.forget_removed(kind, key)?;
            }
            None => {
                let was_there = self.table.remove(stored_key(Slot::Value(kind), key).as_slice())?.is_some();
                if was_there {
                    meta.count(kind, false);
                    self.put(Slot::Removed(kind), key, &[])?;
                } else {
                    meta.writes -= 1;
                }
            }
        }
        Ok(())
    }

    /// Whether there was something before.
    pub(super) fn put(&mut self, slot: Slot, key: &str, value: &[u8]) -> Result<bool, Failure> {
        Frame { slot, commit: self.commit, key, value }.encode(&mut self.frame);
        Ok(self.table.insert(stored_key(slot, key).as_slice(), self.frame.as_slice())?.is_some())
    }

    /// Forgets that a key was removed.
    pub(super) fn forget_removed(&mut self, kind: Kind, key: &str) -> Result<(), Failure> {
        self.table.remove(stored_key(Slot::Removed(kind), key).as_slice())?;
        Ok(())
    }

    /// Whether all that is expected of definitions holds.
    pub(super) fn are_as_expected(&self, writes: &[Write]) -> Result<bool, Failure> {
        for write in writes {
            let Write::Expect { key, value } = write else { continue };
            let stored = self.table.get(stored_key(Slot::Value(Kind::Definition), key).as_slice())?;
            let stored = stored.as_ref().and_then(|stored| Frame::decode(stored.value()));
            if stored.map(|frame| frame.value) != value.as_deref() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn stored_key(slot: Slot, key: &str) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(slot.byte());
    stored.extend_from_slice(key.as_bytes());
    stored
}

/// Recent bodies of messages.
pub(super) struct Bodies<'t> {
    transaction: &'t redb::WriteTransaction,
    /// Opened when first needed: most commits have no bodies.
    table: Option<Table<'t, &'static [u8], &'static [u8]>>,
    written: u64,
}

impl<'t> Bodies<'t> {
    pub(super) fn new(transaction: &'t redb::WriteTransaction) -> Self {
        Self { transaction, table: None, written: 0 }
    }

    fn table(&mut self) -> Result<&mut Table<'t, &'static [u8], &'static [u8]>, Failure> {
        if self.table.is_none() {
            self.table = Some(self.transaction.open_table(BODIES)?);
        }
        self.table.as_mut().ok_or(Failure::DatabaseClosed)
    }

    /// Whether the body was kept.
    pub(super) fn add(
        &mut self,
        key: &str,
        value: &[u8],
        limits: &EmbeddedSettings,
        meta: &mut Meta,
    ) -> Result<bool, Failure> {
        let Some(others) = limits.bodies.checked_sub(1) else { return Ok(false) };
        self.keep(key, others, meta)?;
        if meta.body_bytes + value.len() as u64 > limits.body_bytes {
            self.keep(key, 0, meta)?;
        }
        if meta.body_bytes + value.len() as u64 > limits.body_bytes {
            return Ok(false);
        }
        let number = (meta.commit << BODY_BITS) + self.written;
        self.written += 1;
        self.table()?.insert(body_key(key, number).as_slice(), value)?;
        meta.body_bytes += value.len() as u64;
        Ok(true)
    }

    /// Removes all but the latest `count` bodies of a heartbeat.
    pub(super) fn keep(&mut self, key: &str, count: usize, meta: &mut Meta) -> Result<(), Failure> {
        let (from, to) = body_range(key);
        let table = self.table()?;
        let mut old = Vec::new();
        for entry in table.range(from.as_slice()..=to.as_slice())?.rev().skip(count) {
            let (stored, body) = entry?;
            meta.body_bytes = meta.body_bytes.saturating_sub(body.value().len() as u64);
            old.push(stored.value().to_vec());
        }
        for stored in old {
            table.remove(stored.as_slice())?;
        }
        Ok(())
    }
}

/// The length comes first, so that no key is the beginning of another.
fn body_key(key: &str, number: u64) -> Vec<u8> {
    let length = key.len() as u16;
    [&length.to_be_bytes(), key.as_bytes(), &number.to_be_bytes()].concat()
}

pub(super) fn body_range(key: &str) -> (Vec<u8>, Vec<u8>) {
    (body_key(key, 0), body_key(key, u64::MAX))
}
