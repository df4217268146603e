//! What one instance of a plugin may use, and the meter that holds it to it.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::error::bytes;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Limits of one instance. The defaults are generous for real plugins and finite for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the instance in bytes, all its memories together. At most 4 GiB each.
    pub memory_bytes: u64,
    /// Table entries (function pointers) of the instance, all its tables together.
    pub table_elements: u64,
    /// Wall time of one call, host operations included.
    pub call_time: Duration,
    /// The guest's own stack in bytes. It belongs to the engine: the value given to
    /// [`Engine::new`](crate::Engine::new) holds for all its instances.
    pub stack_bytes: usize,
    /// Bytes that the guest may hand to the host in one call (arguments and results).
    pub host_call_bytes: usize,
    /// Bytes of the tensors that the guest holds handles to (views counted like copies), and of its
    /// parameters. Nothing: three quarters of the machine's memory on a CPU, and no limit but its own
    /// memory on a GPU.
    pub tensor_bytes: Option<u64>,
    /// Tensor handles that the guest holds at a time, forgotten ones of earlier calls included.
    pub tensor_handles: u32,
    /// Multiply-adds of a single tensor operation: the host does not start what it would take
    /// hours to finish, because nothing interrupts a kernel.
    pub operation_work: u64,
    /// Log lines in a second; more are dropped and counted.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A Python guest starts at 20 MiB; a vocabulary or a lexicon takes hundreds.
            memory_bytes: GIB,
            // Ten times what CPython or SpiderMonkey as a component use.
            table_elements: 100_000,
            // A forward pass of a large model on a CPU takes tens of seconds.
            call_time: Duration::from_secs(300),
            // Recursion in a JSON parser fits; a runaway one ends at once.
            stack_bytes: MIB as usize,
            // A batch of rows is a few MiB; weights never pass through a guest.
            host_call_bytes: 256 * MIB as usize,
            tensor_bytes: None,
            // A model of 200 layers that drops nothing until its forward ends needs about 10,000.
            tensor_handles: 65_536,
            // The output layer of a large model over a long batch is 10¹³.
            operation_work: 100_000_000_000_000,
            log_lines_per_second: 200,
        }
    }
}

impl Limits {
    /// The names that [`Limits::set`] knows, with their units.
    pub const NAMES: [(&'static str, &'static str); 9] = [
        ("memory_bytes", "bytes"),
        ("table_elements", "entries"),
        ("call_time", "seconds"),
        ("stack_bytes", "bytes"),
        ("host_call_bytes", "bytes"),
        ("tensor_bytes", "bytes"),
        ("tensor_handles", "handles"),
        ("operation_work", "multiply-adds"),
        ("log_lines_per_second", "lines"),
    ];

    /// Sets one limit by its field's name, as an operator writes it: seconds for `call_time`
    /// (`2.5`), a whole number for the others, bytes also as `64KiB`, `512MiB` or `4GiB`.
    ///
    /// # Errors
    /// An unknown name, or a value that is no positive number of the limit's unit; the sentence
    /// says what is expected.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Some((_, unit)) = Self::NAMES.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "there is no limit `{name}`; there are {}",
                names.join(", ")
            ));
        };
        let number = || {
            whole(value, *unit == "bytes").ok_or_else(|| {
                let example = if *unit == "bytes" {
                    ", such as 536870912 or 512MiB"
                } else {
                    ""
                };
                format!("`{name}` is a positive whole number of {unit}{example}, not `{value}`")
            })
        };
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match name {
            "memory_bytes" => self.memory_bytes = number()?,
            "table_elements" => self.table_elements = number()?,
            "call_time" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0.0);
                self.call_time = seconds
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .ok_or_else(|| {
                        format!("`call_time` is a positive number of seconds, not `{value}`")
                    })?;
            }
            "stack_bytes" => {
                let (least, most) = (64 << 10, MOST_STACK);
                self.stack_bytes = number()?
                    .try_into()
                    .ok()
                    .filter(|bytes| (least..=most).contains(bytes))
                    .ok_or_else(|| {
                        format!("`stack_bytes` is between 64KiB and 64MiB, not `{value}`")
                    })?;
            }
            "host_call_bytes" => {
                self.host_call_bytes = number()?.try_into().unwrap_or(usize::MAX);
            }
            "tensor_bytes" => self.tensor_bytes = Some(number()?),
            "tensor_handles" => self.tensor_handles = narrow(number()?),
            "operation_work" => self.operation_work = number()?,
            _ => self.log_lines_per_second = narrow(number()?),
        }
        Ok(())
    }
}

/// A larger stack than this would not fit the host's own threads.
const MOST_STACK: usize = 64 << 20;

/// A positive whole number, for bytes also with a binary unit.
fn whole(text: &str, bytes: bool) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", MIB), ("GiB", GIB)];
    let unit = units.iter().find(|(unit, _)| bytes && text.ends_with(unit));
    let (digits, scale) = match unit {
        Some((unit, scale)) => (text.trim_end_matches(unit).trim_end(), *scale),
        None => (text, 1),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(scale).filter(|number| *number > 0)
}

/// Three quarters of the machine's memory: a failed allocation in host memory aborts the process, so
/// the quota has to refuse first. (A GPU's allocator fails with an error.)
pub(crate) fn machine_tensor_bytes() -> u64 {
    static BYTES: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| {
        let machine = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
                line.trim()
                    .trim_end_matches("kB")
                    .trim()
                    .parse::<u64>()
                    .ok()?
                    .checked_mul(1024)
            });
        // A container may have less than its machine.
        let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        let total = machine
            .unwrap_or(8 * GIB)
            .min(container.unwrap_or(u64::MAX));
        (total / 4 * 3).max(GIB)
    })
}

/// What the meter refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Linear memory: asked for, allowed.
    Memory(u64, u64),
    /// Table entries: asked for, allowed.
    Table(u64, u64),
}

impl Denied {
    pub(crate) fn message(self) -> String {
        match self {
            Self::Memory(asked, allowed) => format!(
                "the plugin ran out of memory: it asked for {} of linear memory and may have {}",
                bytes(asked),
                bytes(allowed)
            ),
            Self::Table(asked, allowed) => {
                format!("the plugin asked for {asked} table entries and may have {allowed}")
            }
        }
    }

    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Memory(..) => {
                "raise the limit `memory_bytes`, or send the plugin smaller batches"
            }
            Self::Table(..) => "raise the limit `table_elements`",
        }
    }
}

/// Counts linear memory and table entries of one instance and remembers what it refused: a refused
/// growth looks like any other `unreachable` in the guest.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    memory_limit: u64,
    table_limit: u64,
    memory: u64,
    table: u64,
    /// The last growth that was allowed, in case the allocator cannot do it.
    pending: u64,
    denied: Option<Denied>,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: limits.memory_bytes,
            table_limit: limits.table_elements,
            ..Self::default()
        }
    }

    /// What was refused since the last call, which forgets it.
    pub(crate) fn take_denied(&mut self) -> Option<Denied> {
        self.denied.take()
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let total = self.memory.saturating_add(more);
        if total > self.memory_limit {
            self.denied = Some(Denied::Memory(total, self.memory_limit));
            return Ok(false);
        }
        self.memory = total;
        self.pending = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a plugin's memory could not grow");
        if self.denied.is_none() {
            // Allowed by us and refused below: the memory's own maximum or the pool's.
            let asked = self.memory;
            self.memory = self.memory.saturating_sub(self.pending);
            self.denied = Some(Denied::Memory(asked, self.memory));
        }
        self.pending = 0;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table
            .saturating_add(desired.saturating_sub(current) as u64);
        if total > self.table_limit {
            self.denied = Some(Denied::Table(total, self.table_limit));
            return Ok(false);
        }
        self.table = total;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let mut limits = Limits::default();
        for (name, _) in Limits::NAMES {
            limits.set(name, "131072").unwrap();
            assert!(limits.set(name, "0").unwrap_err().contains(name));
            assert!(limits.set(name, "-1").unwrap_err().contains(name));
            assert!(limits.set(name, "many").unwrap_err().contains(name));
        }
        assert_eq!(limits.memory_bytes, 131_072);
        limits.set("call_time", "0.5").unwrap();
        assert_eq!(limits.call_time, Duration::from_millis(500));
        limits.set("memory_bytes", "3MiB").unwrap();
        assert_eq!(limits.memory_bytes, 3 << 20);
        limits.set("tensor_bytes", "2 GiB").unwrap();
        assert_eq!(limits.tensor_bytes, Some(2 << 30));
        assert!(limits.set("tensor_handles", "2KiB").is_err(), "no bytes");
        assert!(limits.set("call_time", "inf").is_err());
        assert!(
            limits.set("stack_bytes", "1GiB").is_err(),
            "no thread has it"
        );
        let unknown = limits.set("memory", "1").unwrap_err();
        assert!(unknown.contains("memory_bytes"), "{unknown}");
    }

    #[test]
    fn several_memories_share_one_limit() {
        let mut meter = Meter::new(&Limits {
            memory_bytes: 100,
            ..Limits::default()
        });
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(
            !meter.memory_growing(0, 60, None).unwrap(),
            "a second memory counts too"
        );
        assert_eq!(meter.take_denied(), Some(Denied::Memory(120, 100)));
        assert_eq!(meter.take_denied(), None);
        assert!(meter.memory_growing(60, 100, None).unwrap());
    }
}
