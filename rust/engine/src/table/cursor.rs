//! A position in a sorted run of tables, for flushes, compactions and snapshots.

use super::{BlockCursor, Table};
use crate::error::Result;
use crate::merge::Walk;
use std::sync::Arc;

/// A position in one table or in several that are sorted and disjoint, such as a level. It reads
/// through the mapping, which may wait for the device: never on an event loop.
pub struct TableCursor {
    tables: Vec<Arc<Table>>,
    /// The table and its block in which the cursor is.
    table: usize,
    block: u32,
    cursor: Option<BlockCursor>,
    ahead: ReadAhead,
    loaded_bytes: u64,
}

/// Keeps the operating system reading ahead of somebody who loads a table's blocks in order: a little at
/// first, then more and more.
#[derive(Debug, Default)]
pub struct ReadAhead {
    table: u64,
    /// Up to where, in bytes of the file, it was asked.
    asked: u64,
    /// What was asked for last, in bytes.
    window: u64,
}

impl ReadAhead {
    const FIRST: u64 = 64 << 10;
    const MOST: u64 = 512 << 10;

    /// To be called before `block` is loaded.
    pub fn reach(&mut self, table: &Table, block: u32) {
        let (offset, _) = table.block_span(block);
        if self.table != table.id() {
            (self.table, self.asked) = (table.id(), 0);
        }
        // While the second half of what was asked for is read, the next is on its way.
        if offset + self.window / 2 >= self.asked {
            self.window = (self.window * 2).clamp(Self::FIRST, Self::MOST);
            let from = self.asked.max(offset);
            table.read_ahead(from, self.window);
            self.asked = from + self.window;
        }
    }
}

impl TableCursor {
    /// A cursor over `tables`, in ascending order of their keys; nowhere yet.
    pub fn new(tables: Vec<Arc<Table>>) -> TableCursor {
        TableCursor {
            tables,
            table: 0,
            block: 0,
            cursor: None,
            ahead: ReadAhead::default(),
            loaded_bytes: 0,
        }
    }

    /// Goes to the first entry of all.
    pub fn first(&mut self) -> Result<()> {
        (self.table, self.block) = (0, 0);
        self.enter()
    }

    /// Goes to the first entry whose key is `key` or larger; nowhere if there is none.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.table = self.tables.partition_point(|t| t.meta().largest.as_slice() < key);
        // Past the end the cursor is nowhere, whatever block it names.
        self.block = self.tables.get(self.table).and_then(|t| t.block_for(key)).unwrap_or_default();
        self.load()?;
        if let Some(cursor) = &mut self.cursor {
            cursor.seek(key);
            if !cursor.valid() {
                self.block += 1;
                return self.enter();
            }
        }
        Ok(())
    }

    /// Whether there is a current entry.
    pub fn valid(&self) -> bool {
        self.cursor.as_ref().is_some_and(BlockCursor::valid)
    }

    /// The current key; empty when not valid.
    pub fn key(&self) -> &[u8] {
        self.cursor.as_ref().map_or(&[], BlockCursor::key)
    }

    /// The current value; `None` for a tombstone (and when not valid).
    pub fn value(&self) -> Option<&[u8]> {
        self.cursor.as_ref().and_then(BlockCursor::value)
    }

    /// Goes one entry on; after the last one it is nowhere. After an error it is nowhere too.
    #[expect(clippy::should_implement_trait, reason = "an entry is borrowed, and a step can fail")]
    pub fn next(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.next();
        if cursor.valid() {
            return Ok(());
        }
        self.block += 1;
        self.enter()
    }

    /// Bytes of blocks that were read from files so far, as they are on disk.
    pub fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes
    }

    /// Goes to the first entry at or after the start of the current block.
    fn enter(&mut self) -> Result<()> {
        self.load()?;
        if let Some(cursor) = &mut self.cursor {
            cursor.first();
        }
        Ok(())
    }

    /// Loads the current block, or the next one there is.
    fn load(&mut self) -> Result<()> {
        let mut cursor = self.cursor.take();
        while let Some(table) = self.tables.get(self.table) {
            if self.block >= table.blocks() {
                self.table += 1;
                self.block = 0;
                continue;
            }
            self.ahead.reach(table, self.block);
            let block = table.load_block(self.block)?;
            self.loaded_bytes += u64::from(table.block_span(self.block).1);
            match &mut cursor {
                Some(cursor) => cursor.reset(block),
                None => cursor = Some(BlockCursor::new(block)),
            }
            self.cursor = cursor;
            return Ok(());
        }
        Ok(())
    }
}

impl Walk for TableCursor {
    fn valid(&self) -> bool {
        self.valid()
    }

    fn key(&self) -> &[u8] {
        self.key()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value()
    }

    fn next(&mut self) -> Result<()> {
        self.next()
    }
}
