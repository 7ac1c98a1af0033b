//! Where the notes are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use matou_http::runtime::MainError;
use serde::{Deserialize, Serialize};

use crate::api::Error;
use crate::database::Database;
use crate::lock;

/// A note, and what a job has found out about it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Note {
    pub id: i64,
    pub text: String,
    /// `None` until the job is done.
    pub words: Option<i64>,
}

pub(crate) enum Store {
    /// Until the end of the process. The lock is never held across an `.await`.
    Memory(Mutex<Notes>),
    Postgres(Arc<Database>),
}

#[derive(Default)]
pub(crate) struct Notes {
    last: i64,
    notes: BTreeMap<i64, Note>,
}

impl Store {
    pub(crate) async fn open(database: Option<tokio_postgres::Config>) -> Result<Store, MainError> {
        Ok(match database {
            Some(config) => Store::Postgres(Database::open(config).await?),
            None => Store::Memory(Mutex::default()),
        })
    }

    pub(crate) async fn add(&self, text: String) -> Result<Note, Error> {
        match self {
            Store::Memory(notes) => {
                let mut notes = lock(notes);
                notes.last += 1;
                let note = Note { id: notes.last, text, words: None };
                notes.notes.insert(note.id, note.clone());
                Ok(note)
            }
            Store::Postgres(database) => {
                let statement = "insert into notes (text) values ($1) returning *";
                database.notes(statement, &[&text]).await?.pop().ok_or(Error::NOT_FOUND)
            }
        }
    }

    pub(crate) async fn get(&self, id: i64) -> Result<Option<Note>, Error> {
        match self {
            Store::Memory(notes) => Ok(lock(notes).notes.get(&id).cloned()),
            Store::Postgres(database) => {
                Ok(database.notes("select * from notes where id = $1", &[&id]).await?.pop())
            }
        }
    }

    /// The newest notes.
    pub(crate) async fn list(&self, count: i64) -> Result<Vec<Note>, Error> {
        match self {
            Store::Memory(notes) => {
                Ok(lock(notes).notes.values().rev().take(count as usize).cloned().collect())
            }
            Store::Postgres(database) => {
                database.notes("select * from notes order by id desc limit $1", &[&count]).await
            }
        }
    }

    /// Returns the note, unless it was deleted.
    pub(crate) async fn set_words(&self, id: i64, words: i64) -> Result<Option<Note>, Error> {
        match self {
            Store::Memory(notes) => Ok(lock(notes).notes.get_mut(&id).map(|note| {
                note.words = Some(words);
                note.clone()
            })),
            Store::Postgres(database) => {
                let statement = "update notes set words = $2 where id = $1 returning *";
                Ok(database.notes(statement, &[&id, &words]).await?.pop())
            }
        }
    }

    /// Returns whether there was such a note.
    pub(crate) async fn delete(&self, id: i64) -> Result<bool, Error> {
        match self {
            Store::Memory(notes) => Ok(lock(notes).notes.remove(&id).is_some()),
            Store::Postgres(database) => {
                let statement = "delete from notes where id = $1 returning *";
                Ok(!database.notes(statement, &[&id]).await?.is_empty())
            }
        }
    }

    /// The notes whose job an earlier process has not done.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Note>, Error> {
        match self {
            Store::Memory(_) => Ok(Vec::new()),
            Store::Postgres(database) => {
                database.notes("select * from notes where words is null", &[]).await
            }
        }
    }
}
