//! Classes by name and by number.

use std::collections::{BTreeSet, HashMap};

use tenon_sdk::{
    Batch, ColumnType, Error, Result,
    batch::{Bools, I64s, Utf8},
};

use crate::config::Config;

/// A class as a column names it. Numbers come in their order, not in that of their digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Yes(bool),
    Number(i64),
    Name(String),
}

impl Key {
    fn name(&self) -> String {
        match self {
            Self::Yes(yes) => yes.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name.clone(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Yes(_) => "booleans",
            Self::Number(_) => "integers",
            Self::Name(_) => "text",
        }
    }
}

/// A column that says a class for each row.
pub(crate) enum Labels<'a> {
    Names(Utf8<'a>),
    Numbers(I64s<'a>),
    Flags(Bools<'a>),
}

impl<'a> Labels<'a> {
    pub(crate) fn new(rows: &'a Batch, column: &str) -> Result<Self> {
        match rows.column(column)?.kind {
            ColumnType::Utf8 => rows.utf8(column).map(Self::Names),
            ColumnType::Int64 => rows.i64s(column).map(Self::Numbers),
            ColumnType::Boolean => rows.bools(column).map(Self::Flags),
            other => Err(Error::invalid(format!(
                "column {column:?} holds {}, and a class is text, an integer or a boolean",
                other.name()
            ))),
        }
    }

    /// Nothing where the row says none.
    pub(crate) fn get(&self, row: usize) -> Option<Key> {
        match self {
            Self::Names(view) => view.get(row).map(|name| Key::Name(name.to_owned())),
            Self::Numbers(view) => view.get(row).map(Key::Number),
            Self::Flags(view) => view.get(row).map(Key::Yes),
        }
    }
}

/// Gives the classes that rows name numbers, in the order in which they come up.
#[derive(Debug, Default)]
pub(crate) struct Named {
    numbers: HashMap<Key, u32>,
    keys: Vec<Key>,
}

impl Named {
    pub(crate) fn number(&mut self, key: Key) -> u32 {
        let next = self.keys.len() as u32;
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.keys.push(key.clone());
            next
        })
    }
}

/// All classes, in order.
#[derive(Debug)]
pub(crate) struct Classes {
    pub(crate) names: Vec<String>,
    /// The place of each class that was named, by the number that [`Named`] gave it.
    pub(crate) places: Vec<u32>,
    /// Of two, the one that is looked for.
    pub(crate) positive: Option<u32>,
}

impl Classes {
    /// Of the classes that rows named, and of the width of the scores where there are any.
    pub(crate) fn new(config: &Config, named: &Named, width: Option<usize>) -> Result<Self> {
        let (names, places) = match (&config.labels[..], width) {
            ([], None) => found(config, named)?,
            ([], Some(width)) => numbered(named, width)?,
            (labels, _) => listed(labels, named)?,
        };
        let positive = match &config.positive {
            Some(positive) => names.iter().position(|name| name == positive),
            None => Some(1),
        };
        if let Some(wanted) = &config.positive {
            if names.len() > 2 {
                return Err(Error::invalid(format!(
                    "`positive` is given, but there are {} classes: it is for two",
                    names.len()
                )));
            }
            if positive.is_none() {
                return Err(Error::invalid(format!(
                    "`positive` ({wanted:?}) is none of the classes {names:?}"
                )));
            }
        }
        Ok(Self {
            positive: positive.filter(|_| names.len() == 2).map(|at| at as u32),
            names,
            places,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// What there is, sorted.
fn found(config: &Config, named: &Named) -> Result<(Vec<String>, Vec<u32>)> {
    let mut keys: BTreeSet<Key> = named.keys.iter().cloned().collect();
    if let (Some(first), Some(last)) = (keys.first(), keys.last())
        && first.kind() != last.kind()
    {
        return Err(Error::invalid(format!(
            "classes are named by {} and by {}; let `label` and `predicted` be of one type, or give `labels`",
            first.kind(),
            last.kind()
        )));
    }
    // A class that is looked for and never comes up is one of the two all the same.
    if let (Some(positive), 1) = (&config.positive, keys.len()) {
        keys.insert(
            match keys.first() {
                Some(Key::Number(_)) => positive.parse().map(Key::Number),
                Some(Key::Yes(_)) => Ok(Key::Yes(positive == "true")),
                _ => Ok(Key::Name(positive.clone())),
            }
            .map_err(|_| {
                Error::invalid(format!(
                    "`positive` ({positive:?}) is no integer, as the classes are"
                ))
            })?,
        );
    }
    let order: HashMap<&Key, u32> = keys.iter().zip(0..).collect();
    let places = named.keys.iter().map(|key| order[key]).collect();
    Ok((keys.iter().map(Key::name).collect(), places))
}

/// As many as there are scores.
fn numbered(named: &Named, width: usize) -> Result<(Vec<String>, Vec<u32>)> {
    let flags = named.keys.iter().any(|key| matches!(key, Key::Yes(_)));
    let place = |key: &Key| match key {
        Key::Yes(yes) if width == 2 => Ok(u32::from(*yes)),
        Key::Number(number) => place(*number, width, "scores"),
        _ => Err(Error::invalid(format!(
            "the class {:?} has no place among {width} scores; give the names of the classes in the order of the \
             scores in `labels`",
            key.name()
        ))),
    };
    let places = named.keys.iter().map(place).collect::<Result<_>>()?;
    let name = |at: usize| match flags {
        true => (at == 1).to_string(),
        false => at.to_string(),
    };
    Ok(((0..width).map(name).collect(), places))
}

/// Those of `labels`.
fn listed(labels: &[String], named: &Named) -> Result<(Vec<String>, Vec<u32>)> {
    let order: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
    let place = |key: &Key| match key {
        Key::Number(number) => place(*number, labels.len(), "`labels`"),
        key => order.get(&*key.name()).copied().ok_or_else(|| {
            Error::invalid(format!(
                "the class {:?} is not among `labels`: {labels:?}",
                key.name()
            ))
        }),
    };
    let places = named.keys.iter().map(place).collect::<Result<_>>()?;
    Ok((labels.to_vec(), places))
}

fn place(number: i64, classes: usize, of: &str) -> Result<u32> {
    match usize::try_from(number) {
        Ok(at) if at < classes => Ok(at as u32),
        _ => Err(Error::invalid(format!(
            "the class {number} has no place among {classes} {of}: they are counted from 0"
        ))),
    }
}
