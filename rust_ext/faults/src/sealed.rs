//! Filters of the ids of all that was committed up to some moment, as sealed partitions have them.

use std::sync::Arc;

use pyledger_core::Engine;
use pyledger_core::filter::Filter;
use pyledger_core::nouns::Row;

/// Of a long day; what comes later is beyond them, and is looked up.
const FILTERS_MAX: usize = 8;

#[derive(Default)]
pub struct Sealed {
    open: Vec<(u32, u128)>,
    filters: Vec<Arc<Filter>>,
    until_ns: u64,
}

impl Sealed {
    /// Rows that were committed.
    pub fn add(&mut self, rows: &[Row]) {
        if self.filters.len() < FILTERS_MAX {
            self.open.extend(rows.iter().map(|row| (row.tenant, row.id)));
        }
    }

    /// Ends a partition after what was committed last, and lets engines know.
    pub fn seal(&mut self, engines: [&mut Engine; 2]) {
        if self.filters.len() < FILTERS_MAX {
            let mut filter = Filter::new(self.open.len() as u64);
            self.open.drain(..).for_each(|(tenant, id)| filter.insert(tenant, id));
            self.filters.push(Arc::new(filter));
            self.until_ns = engines[0].last_ns() + 1;
        }
        for engine in engines {
            self.teach(engine);
        }
    }

    /// Lets an engine know what there is.
    pub fn teach(&self, engine: &mut Engine) {
        engine.know(self.filters.clone(), self.until_ns);
    }
}
