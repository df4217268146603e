//! A pickle reader that executes nothing.
//!
//! A pickle is a program for a small machine, and Python's own reader calls whatever the program names.
//! This one builds plain values only. The few globals that a file of weights needs are known by name;
//! any other is refused, and named. Values lie in an arena: no nesting of theirs can exhaust the stack.

use std::collections::HashMap;

use crate::dtype::Dtype;

/// Where a value lies in the arena.
pub type Id = usize;

/// A value.
#[derive(Debug, Clone)]
pub enum Item {
    None,
    Bool,
    Int(i128),
    Float,
    Text(String),
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(TensorItem),
}

/// What may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Dtype),
}

/// Memory that tensors are views of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub key: String,
    pub dtype: Dtype,
    pub numel: u64,
}

/// A view of a storage; numbers count elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorItem {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Values that a pickle may make: a file of weights has a few dozen for each tensor.
const MOST_ITEMS: usize = 20_000_000;

/// Why a pickle is not read.
#[derive(Debug)]
pub enum Refusal {
    /// It names something that is not on the list.
    Global(String),
    /// It is no pickle of weights.
    Broken(String),
}

/// A finished pickle.
pub struct Pickle {
    items: Vec<Item>,
    /// The value that it leaves.
    pub root: Id,
    /// Bytes that it took.
    pub length: usize,
}

impl Pickle {
    /// The value at a place.
    pub fn get(&self, id: Id) -> &Item {
        &self.items[id]
    }

    /// Every storage that it refers to, possibly more than once.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.items.iter().filter_map(|item| match item {
            Item::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The text at a place, if it is one.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one pickle from the beginning of `data`.
pub fn read(data: &[u8]) -> Result<Pickle, Refusal> {
    let mut machine = Machine {
        data,
        at: 0,
        items: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    Ok(Pickle {
        items: machine.items,
        root,
        length: machine.at,
    })
}

struct Machine<'a> {
    data: &'a [u8],
    at: usize,
    items: Vec<Item>,
    stack: Vec<Id>,
    /// Heights of the stack at which a mark lies.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T = ()> = Result<T, Refusal>;

fn broken<T>(reason: impl Into<String>) -> Step<T> {
    Err(Refusal::Broken(reason.into()))
}

impl Machine<'_> {
    fn run(&mut self) -> Step<Id> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Step {
        match code {
            // PROTO, FRAME: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Item::None)?,
            0x88 => self.push(Item::Bool)?,
            0x89 => self.push(Item::Bool)?,
            b'J' => {
                let number = self.number(4)? as u32 as i32;
                self.push(Item::Int(number.into()))?;
            }
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            0x8a => {
                let size = self.number(1)?;
                self.long(size)?;
            }
            0x8b => {
                let size = self.number(4)?;
                self.long(size)?;
            }
            b'I' | b'L' => self.written()?,
            b'G' => {
                self.take(8)?;
                self.push(Item::Float)?;
            }
            b'X' => self.unicode(4)?,
            0x8c => self.unicode(1)?,
            0x8d => self.unicode(8)?,
            // BINSTRING, SHORT_BINSTRING: Python 2's text.
            b'T' => self.unicode(4)?,
            b'U' => self.unicode(1)?,
            b'B' => self.bytes(4)?,
            b'C' => self.bytes(1)?,
            0x8e => self.bytes(8)?,
            b']' => self.push(Item::List(Vec::new()))?,
            b')' => self.push(Item::Tuple(Vec::new()))?,
            b'}' => self.push(Item::Dict(Vec::new()))?,
            b'l' => {
                let items = self.since_mark()?;
                self.push(Item::List(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Item::Tuple(items))?;
            }
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b'd' => {
                let items = self.since_mark()?;
                let pairs = pairs(&items)?;
                self.push(Item::Dict(pairs))?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' => {
                let values = self.since_mark()?;
                self.append(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(pairs(&items)?)?;
            }
            // PUT, BINPUT, LONG_BINPUT, MEMOIZE and their GETs.
            b'p' => {
                let key = self.line_number()?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let key = self.line_number()?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.global(&module, &name)?;
            }
            b'Q' => self.persistent()?,
            b'R' | 0x81 => self.reduce()?,
            b'b' => {
                // State of a dictionary (`_metadata` of a state dict) changes nothing that is read.
                self.pop()?;
                let top = self.top()?;
                if !matches!(self.items[top], Item::Dict(_) | Item::Tensor(_)) {
                    return broken("it sets attributes of something that has none");
                }
            }
            other => {
                return broken(format!(
                    "it uses the instruction 0x{other:02x}, which no file of weights needs"
                ));
            }
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step {
        let storage = |dtype| Global::Storage(dtype);
        let known = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "Size") => Global::Size,
            ("torch", "DoubleStorage") => storage(Dtype::F64),
            ("torch", "FloatStorage") => storage(Dtype::F32),
            ("torch", "HalfStorage") => storage(Dtype::F16),
            ("torch", "BFloat16Storage") => storage(Dtype::BF16),
            ("torch", "LongStorage") => storage(Dtype::I64),
            ("torch", "IntStorage") => storage(Dtype::I32),
            ("torch", "ShortStorage") => storage(Dtype::I16),
            ("torch", "CharStorage") => storage(Dtype::I8),
            ("torch", "ByteStorage") => storage(Dtype::U8),
            ("torch", "BoolStorage") => storage(Dtype::Bool),
            _ => return Err(Refusal::Global(format!("{module}.{name}"))),
        };
        self.push(Item::Global(known))
    }

    /// A call: only of what is on the list, and none of it runs anything.
    fn reduce(&mut self) -> Step {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Item::Tuple(arguments) = &self.items[arguments] else {
            return broken("a call has no arguments");
        };
        let arguments = arguments.clone();
        let Item::Global(global) = &self.items[function] else {
            return broken("it calls something that is no function");
        };
        match global {
            Global::OrderedDict => {
                let mut content = Vec::new();
                if let Some(first) = arguments.first() {
                    let Item::List(entries) = &self.items[*first] else {
                        return broken("an OrderedDict is made of something else than a list");
                    };
                    for entry in entries {
                        match &self.items[*entry] {
                            Item::List(pair) | Item::Tuple(pair) if pair.len() == 2 => {
                                content.push((pair[0], pair[1]));
                            }
                            _ => {
                                return broken(
                                    "an OrderedDict is made of something else than pairs",
                                );
                            }
                        }
                    }
                }
                self.push(Item::Dict(content))
            }
            Global::RebuildTensor => {
                let tensor = self.tensor(&arguments)?;
                self.push(Item::Tensor(tensor))
            }
            Global::RebuildParameter => match arguments.first().map(|id| &self.items[*id]) {
                Some(Item::Tensor(tensor)) => {
                    let tensor = tensor.clone();
                    self.push(Item::Tensor(tensor))
                }
                _ => broken("a parameter is made of something else than a tensor"),
            },
            Global::Size => match arguments.first().map(|id| &self.items[*id]) {
                Some(Item::Tuple(dims) | Item::List(dims)) => {
                    let dims = dims.clone();
                    self.push(Item::Tuple(dims))
                }
                _ => broken("a size is made of something else than numbers"),
            },
            Global::Storage(_) => broken("it makes a storage without bytes"),
        }
    }

    fn tensor(&self, arguments: &[Id]) -> Step<TensorItem> {
        let [storage, offset, shape, strides, ..] = arguments else {
            return broken("a tensor is made of too little");
        };
        let Item::Storage(storage) = &self.items[*storage] else {
            return broken("a tensor is made of something else than a storage");
        };
        let dims = |id: &Id| -> Step<Vec<usize>> {
            let (Item::Tuple(dims) | Item::List(dims)) = &self.items[*id] else {
                return broken("a tensor's shape is none");
            };
            dims.iter()
                .map(|dim| match self.items[*dim] {
                    Item::Int(dim) => usize::try_from(dim).ok(),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map_or_else(|| broken("a tensor's shape is none"), Ok)
        };
        let Item::Int(offset) = self.items[*offset] else {
            return broken("a tensor begins at no number");
        };
        let (shape, strides) = (dims(shape)?, dims(strides)?);
        if shape.len() != strides.len() {
            return broken("a tensor's shape and strides differ in length");
        }
        let Ok(offset) = u64::try_from(offset) else {
            return broken("a tensor begins before its storage");
        };
        Ok(TensorItem {
            storage: storage.clone(),
            offset,
            shape,
            strides,
        })
    }

    /// `('storage', type, key, location, elements)`.
    fn persistent(&mut self) -> Step {
        let id = self.pop()?;
        let Item::Tuple(parts) = &self.items[id] else {
            return broken("a reference to outside is no tuple");
        };
        let [tag, kind, key, _, numel, ..] = parts[..] else {
            return broken("a reference to outside is too short");
        };
        let (Item::Text(tag), Item::Global(Global::Storage(dtype)), Item::Text(key)) =
            (&self.items[tag], &self.items[kind], &self.items[key])
        else {
            return broken("it refers to something outside that is no storage");
        };
        if tag != "storage" {
            return broken(format!("it refers to `{tag}` outside, which is no storage"));
        }
        let numel = match self.items[numel] {
            Item::Int(numel) => u64::try_from(numel).ok(),
            _ => None,
        };
        let Some(numel) = numel else {
            return broken(format!("the storage {key} has no size"));
        };
        let storage = Storage {
            key: key.clone(),
            dtype: dtype.clone(),
            numel,
        };
        self.push(Item::Storage(storage))
    }

    fn append(&mut self, values: Vec<Id>) -> Step {
        let top = self.top()?;
        match &mut self.items[top] {
            Item::List(list) => {
                list.extend(values);
                Ok(())
            }
            _ => broken("it appends to something that is no list"),
        }
    }

    fn set(&mut self, values: Vec<(Id, Id)>) -> Step {
        let top = self.top()?;
        match &mut self.items[top] {
            Item::Dict(dict) => {
                dict.extend(values);
                Ok(())
            }
            _ => broken("it sets fields of something that is no dictionary"),
        }
    }

    fn remember(&mut self, key: u64) -> Step {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step {
        match self.memo.get(&key) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => broken("it uses a value that it has not made"),
        }
    }

    fn push(&mut self, item: Item) -> Step {
        if self.items.len() >= MOST_ITEMS {
            return broken("it makes too many values");
        }
        self.stack.push(self.items.len());
        self.items.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => broken("it takes a value where there is none"),
        }
    }

    fn top(&self) -> Step<Id> {
        match self.stack.last() {
            Some(id) => Ok(*id),
            None => broken("it takes a value where there is none"),
        }
    }

    fn pop_text(&mut self) -> Step<String> {
        let id = self.pop()?;
        match &self.items[id] {
            Item::Text(text) => Ok(text.clone()),
            _ => broken("a name is no text"),
        }
    }

    fn since_mark(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            Some(at) if at <= self.stack.len() => Ok(self.stack.split_off(at)),
            _ => broken("it takes values up to a mark that is not there"),
        }
    }

    fn tuple(&mut self, size: usize) -> Step {
        let mut items = Vec::with_capacity(size);
        for _ in 0..size {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Item::Tuple(items))
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Step<&[u8]> {
        let end = self.at.checked_add(count);
        let Some(bytes) = end.and_then(|end| self.data.get(self.at..end)) else {
            return broken("it is cut short");
        };
        self.at += count;
        Ok(bytes)
    }

    /// A little-endian number of so many bytes, at most eight.
    fn number(&mut self, size: usize) -> Step<u64> {
        let bytes = self.take(size)?.iter().rev();
        Ok(bytes.fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn int(&mut self, size: usize) -> Step {
        let number = self.number(size)?;
        self.push(Item::Int(number.into()))
    }

    /// A number in two's complement.
    fn long(&mut self, size: u64) -> Step {
        if size > 16 {
            return broken("it has a number that is too large");
        }
        let bytes = self.take(size as usize)?;
        let fill = match bytes.last() {
            Some(last) if last & 0x80 != 0 => 0xff,
            _ => 0,
        };
        let mut wide = [fill; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Item::Int(i128::from_le_bytes(wide)))
    }

    /// A number in digits, as protocol 0 has it; `I00` and `I01` are false and true.
    fn written(&mut self) -> Step {
        let line = self.line()?.trim_end_matches('L').to_owned();
        match (line.as_str(), line.parse()) {
            ("00", _) => self.push(Item::Bool),
            ("01", _) => self.push(Item::Bool),
            (_, Ok(number)) => self.push(Item::Int(number)),
            _ => broken("a number is none"),
        }
    }

    fn unicode(&mut self, size: usize) -> Step {
        let length = self.number(size)?;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.push(Item::Text(text))
    }

    fn bytes(&mut self, size: usize) -> Step {
        let length = self.number(size)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.push(Item::Bytes)
    }

    fn line(&mut self) -> Step<&str> {
        let rest = &self.data[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return broken("it is cut short");
        };
        self.at += length + 1;
        match std::str::from_utf8(&rest[..length]) {
            Ok(line) => Ok(line.trim_end_matches('\r')),
            Err(_) => broken("a line is no text"),
        }
    }

    fn line_number(&mut self) -> Step<u64> {
        match self.line()?.parse() {
            Ok(number) => Ok(number),
            Err(_) => broken("a number is none"),
        }
    }
}

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return broken("a dictionary has a key without a value");
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(data: &[u8]) -> String {
        match read(data) {
            Err(Refusal::Global(name)) => format!("global {name}"),
            Err(Refusal::Broken(why)) => why,
            Ok(_) => panic!("{data:?} was read"),
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_named() {
        for (pickle, name) in [
            (&b"cos\nsystem\n(S'true'\ntR."[..], "os.system"),
            (b"cbuiltins\neval\n.", "builtins.eval"),
            (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
            (b"ctorch\nload\n.", "torch.load"),
            (
                b"ctorch._utils\n_import_dotted_name\n.",
                "torch._utils._import_dotted_name",
            ),
        ] {
            assert_eq!(refused(pickle), format!("global {name}"));
        }
    }

    #[test]
    fn nothing_that_is_broken_panics() {
        for pickle in [
            &b""[..],
            b"\x80",
            b"R.",
            b")R.",
            b"(.",
            b"t.",
            b"X\xff\xff\xff\xffabc.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"h\x05.",
            b"]]u.",
            b"(K\x01d.",
            b"}K\x01K\x02K\x03e.",
            b"K\x01Q.",
            b"i.",
            b"\x8a\xff.",
        ] {
            assert!(read(pickle).is_err(), "{pickle:?}");
        }
        // Every prefix of a good pickle.
        let good =
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bJ\xff\xff\xff\xffu.";
        assert!(read(good).is_ok());
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let mut pickle = vec![b'N'];
        pickle.extend(std::iter::repeat_n(0x85, 1_000_000));
        pickle.push(b'.');
        let read = read(&pickle).unwrap_or_else(|_| panic!("not read"));
        assert!(matches!(read.get(read.root), Item::Tuple(_)));
    }

    #[test]
    fn numbers_are_read_as_python_writes_them() {
        let one = |data: &[u8]| {
            let pickle = read(data).unwrap_or_else(|_| panic!("{data:?}"));
            match pickle.get(pickle.root) {
                Item::Int(number) => *number,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(one(b"J\xfe\xff\xff\xff."), -2);
        assert_eq!(one(b"M\x00\x01."), 256);
        assert_eq!(one(b"\x8a\x01\xff."), -1);
        assert_eq!(one(b"\x8a\x02\xff\x00."), 255);
        assert_eq!(one(b"I12\n."), 12);
    }
}
