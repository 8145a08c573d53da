//! Heartbeats that are made, changed and removed at run time.

use std::sync::Arc;

use super::open::{BY_TEMPLATE, declare_by};
use super::{Declared, DefineError, Heartbeat, Key, Lookup, Origin, Record, Registry, write_record};
use crate::heartbeat::store::{Kind, Write};

/// What [`Registry::define`] does about a heartbeat that exists or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It must be new.
    Create,
    /// It must be there.
    Replace,
    /// Either.
    Put,
}

/// A heartbeat that was made or changed.
#[derive(Debug, Clone)]
pub struct Defined {
    /// Which.
    pub heartbeat: Arc<Heartbeat>,
    /// Whether it is new.
    pub is_new: bool,
}

impl Registry {
    /// Makes or changes a heartbeat and keeps its definition in the store. A changed one keeps its record.
    ///
    /// `written` is what [`super::Parse`] reads at the next start.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn define(
        &self,
        declared: Declared,
        written: Box<[u8]>,
        how: How,
    ) -> Result<Defined, DefineError> {
        let _one_at_a_time = self.managing.lock().await;
        self.define_alone(declared, written, how, Origin::Api).await
    }

    /// Finds a heartbeat, or makes it as the section `provision` of the configuration says.
    ///
    /// # Errors
    /// [`DefineError::Unknown`] when the configuration does not allow it, [`DefineError::Full`] when there
    /// are too many already.
    pub async fn provision(&self, key: &Key) -> Result<Defined, DefineError> {
        let found = |heartbeat| Defined { heartbeat, is_new: false };
        if let Ok(heartbeat) = self.find(Lookup::Key(key)) {
            return Ok(found(heartbeat));
        }
        let settings = self.settings();
        let template = settings.provision.as_ref().filter(|template| template.allows(key));
        let declared = template.and_then(|_| declare_by(&settings, key)).ok_or(DefineError::Unknown)?;
        let _one_at_a_time = self.managing.lock().await;
        if let Ok(heartbeat) = self.find(Lookup::Key(key)) {
            return Ok(found(heartbeat));
        }
        let limit = template.map_or(0, |template| usize::try_from(template.limit).unwrap_or(0));
        let is_made = |heartbeat: &&Arc<Heartbeat>| heartbeat.origin() == Origin::Template;
        if self.index().by_key.values().filter(is_made).count() >= limit {
            return Err(DefineError::Full(limit));
        }
        self.define_alone(declared, BY_TEMPLATE.into(), How::Create, Origin::Template).await
    }

    /// Removes a heartbeat, its record and its messages.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn remove(&self, key: &Key) -> Result<(), DefineError> {
        let _one_at_a_time = self.managing.lock().await;
        let heartbeat = self.find(Lookup::Key(key)).map_err(|_| DefineError::Unknown)?;
        if heartbeat.origin() == Origin::File {
            return Err(DefineError::File);
        }
        let durable = {
            let mut cell = heartbeat.lock();
            let name = key.to_string();
            let writes = vec![
                Write::remove(Kind::Definition, name.clone()),
                Write::remove(Kind::Record, name.clone()),
                Write::ForgetBodies { key: name.into() },
            ];
            let durable = self.inner.keep.commit(writes)?;
            // No signal may bring the record back.
            cell.is_gone = true;
            durable
        };
        if let Err(error) = durable.await {
            heartbeat.lock().is_gone = false;
            return Err(error.into());
        }
        self.index_mut().remove(key);
        Ok(())
    }

    async fn define_alone(
        &self,
        declared: Declared,
        written: Box<[u8]>,
        how: How,
        origin: Origin,
    ) -> Result<Defined, DefineError> {
        let key = declared.definition.key.clone();
        let found = self.find(Lookup::Key(&key)).ok();
        match (&found, how) {
            (Some(_), How::Create) => return Err(DefineError::Exists),
            (None, How::Replace) => return Err(DefineError::Unknown),
            (Some(found), _) if found.origin() == Origin::File => return Err(DefineError::File),
            _ => {}
        }
        if let Some(what) = self.index().taken(&declared) {
            return Err(DefineError::Taken(what));
        }
        if found.is_none() && self.defined() >= MAX_DEFINED {
            return Err(DefineError::Full(MAX_DEFINED));
        }
        let now = self.now();
        let mut writes = vec![Write::set(Kind::Definition, key.as_str(), written)];
        let record = Record::new(now);
        if found.is_none() {
            writes.push(write_record(&key, &record));
        }
        self.inner.keep.commit(writes)?.await?;
        let mut index = self.index_mut();
        let Some(heartbeat) = index.by_key.get(&key).cloned() else {
            let heartbeat = Arc::new(Heartbeat::new(declared.clone(), origin, record));
            index.insert(&heartbeat, &declared);
            return Ok(Defined { heartbeat, is_new: true });
        };
        if heartbeat.origin() == Origin::File {
            // A reload was faster.
            heartbeat.lock().beneath = Some((Arc::new(declared), origin));
            return Err(DefineError::File);
        }
        index.remove(&key);
        let mut cell = heartbeat.lock();
        cell.origin = origin;
        self.redefine(&heartbeat, &mut cell, &declared, now);
        drop(cell);
        index.insert(&heartbeat, &declared);
        Ok(Defined { heartbeat, is_new: false })
    }

    /// Heartbeats that are not of the file.
    fn defined(&self) -> usize {
        self.index().by_key.values().filter(|heartbeat| heartbeat.origin() != Origin::File).count()
    }
}

/// Heartbeats that may be made at run time, those made by their first signal included.
const MAX_DEFINED: usize = 200_000;
