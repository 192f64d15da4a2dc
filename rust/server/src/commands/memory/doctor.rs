//! MEMORY DOCTOR: what is unusual about the memory in use.

use crate::info::Memory;

const MIB: u64 = 1 << 20;
/// Below this, ratios say nothing.
const SMALL: u64 = 5 * MIB;
/// A client whose answers pile up beyond this is worth a word.
const LARGE_UNREAD: u64 = 16 * MIB;

/// What the doctor looks at.
pub(super) struct Symptoms {
    pub(super) memory: Memory,
    pub(super) resident: Option<u64>,
    pub(super) budget: u64,
    pub(super) clients: u64,
    pub(super) clients_bytes: u64,
    pub(super) largest_unread: u64,
    pub(super) write_delay_us: u64,
}

/// What it says.
pub(super) fn diagnosis(of: &Symptoms) -> String {
    let figures = of.memory.allocator;
    let mib = |bytes: u64| bytes.div_ceil(MIB);
    let mut found: Vec<String> = Vec::new();
    if of.memory.peak > figures.allocated.saturating_mul(3) / 2 && of.memory.peak > SMALL {
        found.push(format!(
            "Peak: at its highest {} MiB were in use, now {} MiB. Memory that is free again is given back \
             to the system within seconds; CONFIG RESETSTAT makes the present the new peak.",
            mib(of.memory.peak),
            mib(figures.allocated)
        ));
    }
    let wasted = figures.active.saturating_sub(figures.allocated);
    if wasted > figures.allocated * 2 / 5 && wasted > 10 * MIB {
        found.push(format!(
            "Fragmentation: {} MiB lie in pages that hold other data. It shrinks as data is overwritten; \
             a restart ends it at once.",
            mib(wasted)
        ));
    }
    let kept = figures.resident.saturating_sub(figures.active);
    if kept > figures.active / 10 && kept > 10 * MIB {
        found.push(format!(
            "Kept pages: the allocator holds {} MiB that are not in use. MEMORY PURGE gives them back.",
            mib(kept)
        ));
    }
    if let Some(resident) = of.resident.filter(|resident| *resident > of.budget) {
        found.push(format!(
            "Budget: {} MiB are resident, more than the {} MiB of maxmemory (or what it stands for). \
             Pages of files count as resident too and go when others need the room.",
            mib(resident),
            mib(of.budget)
        ));
    }
    if of.clients > 0 && of.clients_bytes / of.clients > 200 << 10 {
        found.push(format!(
            "Clients: {} of them hold {} MiB in buffers. CLIENT LIST shows whose (tot-mem).",
            of.clients,
            mib(of.clients_bytes)
        ));
    }
    if of.largest_unread > LARGE_UNREAD {
        found.push(format!(
            "Slow reader: a client has left {} MiB of replies unread. client-output-buffer-limit bounds \
             that.",
            mib(of.largest_unread)
        ));
    }
    if of.write_delay_us > 0 {
        found.push(format!(
            "Writers are held back by {} microseconds a write, because flushes do not keep up: a larger \
             memtable_size_mb or a faster disk helps.",
            of.write_delay_us
        ));
    }
    if found.is_empty() {
        return "Nothing unusual about the memory of this server.\n".into();
    }
    let mut text = String::from("What is unusual about the memory of this server:\n\n");
    for line in found {
        text += &format!(" * {line}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::AllocatorFigures;

    fn healthy() -> Symptoms {
        let allocator = AllocatorFigures {
            allocated: 100 * MIB,
            active: 105 * MIB,
            resident: 108 * MIB,
            retained: 0,
        };
        Symptoms {
            memory: Memory { allocator, peak: 120 * MIB, startup: MIB },
            resident: Some(110 * MIB),
            budget: 200 * MIB,
            clients: 3,
            clients_bytes: 100 << 10,
            largest_unread: 0,
            write_delay_us: 0,
        }
    }

    #[test]
    fn each_symptom_is_named() {
        assert!(diagnosis(&healthy()).starts_with("Nothing unusual"));
        let cases: [(&str, fn(&mut Symptoms)); 7] = [
            ("Peak:", |of| of.memory.peak = 400 * MIB),
            ("Fragmentation:", |of| of.memory.allocator.active = 300 * MIB),
            ("Kept pages:", |of| of.memory.allocator.resident = 300 * MIB),
            ("Budget:", |of| of.budget = 50 * MIB),
            ("Clients:", |of| of.clients_bytes = 30 * MIB),
            ("Slow reader:", |of| of.largest_unread = 30 * MIB),
            ("held back by 7 microseconds", |of| of.write_delay_us = 7),
        ];
        for (text, sicken) in cases {
            let mut symptoms = healthy();
            sicken(&mut symptoms);
            let said = diagnosis(&symptoms);
            assert!(said.contains(text) && said.matches(" * ").count() == 1, "{text}: {said}");
        }
    }
}
