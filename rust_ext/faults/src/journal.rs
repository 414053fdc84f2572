//! A journal in memory, read as the writer reads PostgreSQL's: by id, and by what acted on an id.

use std::collections::{HashMap, VecDeque};

use pyledger_core::nouns::{Row, RowKind, Text};
use pyledger_core::{Batch, Lookups, Old};

type Key = (u32, u128);

/// Every row, or of a long day the last ones and all that opened an account or a ledger.
#[derive(Default)]
pub struct Journal {
    rows: HashMap<Key, (Row, Vec<u8>)>,
    acting: HashMap<Key, Vec<Key>>,
    order: VecDeque<Key>,
    kept_max: Option<usize>,
}

impl Journal {
    /// One that forgets what nobody will ask for.
    pub fn forgetful(kept_max: usize) -> Self {
        Self { kept_max: Some(kept_max), ..Self::default() }
    }

    pub fn append(&mut self, batch: &Batch) {
        for row in &batch.rows {
            let key = (row.tenant, row.id);
            let from = row.text.start as usize;
            let text = batch.text[from..from + row.text.bytes()].to_vec();
            let before = self.rows.insert(key, (*row, text));
            assert!(before.is_none(), "an id is recorded once: {:#x} of tenant {}", row.id, row.tenant);
            if row.target != 0 && row.status == 0 {
                self.acting.entry((row.tenant, row.target)).or_default().push(key);
            }
            if !matches!(row.kind, RowKind::Ledger | RowKind::Account) {
                self.order.push_back(key);
            }
        }
        while self.kept_max.is_some_and(|kept_max| self.order.len() > kept_max) {
            let key = self.order.pop_front().expect("more than none");
            self.rows.remove(&key);
            self.acting.remove(&key);
        }
    }

    /// What a query for these finds; a row may be found twice.
    pub fn read(&self, lookups: &Lookups) -> Old {
        let mut old = Old::default();
        let mut read = |key: &Key| {
            if let Some((row, text)) = self.rows.get(key) {
                let start = old.text.len() as u32;
                old.text.extend_from_slice(text);
                old.rows.push(Row { text: Text { start, ..row.text }, ..*row });
            }
        };
        for target in &lookups.targets {
            self.acting.get(target).into_iter().flatten().rev().for_each(&mut read);
            read(target);
        }
        lookups.ids.iter().rev().for_each(&mut read);
        let is_fresh =
            |key: &&Key| self.rows.get(*key).is_some_and(|(row, _)| row.recorded_ns >= lookups.fresh_from_ns);
        lookups.fresh_ids.iter().filter(is_fresh).for_each(read);
        old
    }
}
