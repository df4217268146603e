//! Whether two functions have the same type.
//!
//! Types are compared by structure, two by two, each pair once: written out they could be
//! exponentially long, and one side is written by the plugin.

use std::collections::HashSet;

use wit_parser::{Function, FunctionKind, Handle, Resolve, Type, TypeDefKind, TypeId};

/// Characters of a type that a message shows.
const SHOWN: usize = 300;

/// The contract on the left, the component on the right.
pub(super) struct Comparison<'a> {
    left: &'a Resolve,
    right: &'a Resolve,
    equal: HashSet<(TypeId, TypeId)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(left: &'a Resolve, right: &'a Resolve) -> Self {
        Self {
            left,
            right,
            equal: HashSet::new(),
        }
    }

    /// Says what differs.
    pub(super) fn functions(&mut self, left: &Function, right: &Function) -> Result<(), String> {
        let is_async = |f: &Function| {
            matches!(
                f.kind,
                FunctionKind::AsyncFreestanding
                    | FunctionKind::AsyncMethod(_)
                    | FunctionKind::AsyncStatic(_)
            )
        };
        if is_async(left) != is_async(right) {
            return Err("it is asynchronous on one side".into());
        }
        let same = left.params.len() == right.params.len()
            && left
                .params
                .iter()
                .zip(&right.params)
                .all(|(l, r)| self.types(l.ty, r.ty))
            && self.optional(left.result, right.result);
        if same {
            return Ok(());
        }
        Err(format!(
            "{} here, {} there",
            signature(self.left, left),
            signature(self.right, right)
        ))
    }

    fn optional(&mut self, left: Option<Type>, right: Option<Type>) -> bool {
        match (left, right) {
            (None, None) => true,
            (Some(left), Some(right)) => self.types(left, right),
            _ => false,
        }
    }

    fn types(&mut self, left: Type, right: Type) -> bool {
        let (left, right) = (through(self.left, left), through(self.right, right));
        let (Type::Id(l), Type::Id(r)) = (left, right) else {
            return left == right;
        };
        if self.equal.contains(&(l, r)) {
            return true;
        }
        let (lefts, rights) = (self.left, self.right);
        let (left, right) = (&lefts.types[l], &rights.types[r]);
        let same = match (&left.kind, &right.kind) {
            (TypeDefKind::Record(a), TypeDefKind::Record(b)) => {
                a.fields.len() == b.fields.len()
                    && a.fields
                        .iter()
                        .zip(&b.fields)
                        .all(|(a, b)| a.name == b.name && self.types(a.ty, b.ty))
            }
            (TypeDefKind::Variant(a), TypeDefKind::Variant(b)) => {
                a.cases.len() == b.cases.len()
                    && a.cases
                        .iter()
                        .zip(&b.cases)
                        .all(|(a, b)| a.name == b.name && self.optional(a.ty, b.ty))
            }
            (TypeDefKind::Enum(a), TypeDefKind::Enum(b)) => a
                .cases
                .iter()
                .map(|c| &c.name)
                .eq(b.cases.iter().map(|c| &c.name)),
            (TypeDefKind::Flags(a), TypeDefKind::Flags(b)) => a
                .flags
                .iter()
                .map(|f| &f.name)
                .eq(b.flags.iter().map(|f| &f.name)),
            (TypeDefKind::Tuple(a), TypeDefKind::Tuple(b)) => {
                a.types.len() == b.types.len()
                    && a.types
                        .iter()
                        .zip(&b.types)
                        .all(|(a, b)| self.types(*a, *b))
            }
            (TypeDefKind::Option(a), TypeDefKind::Option(b))
            | (TypeDefKind::List(a), TypeDefKind::List(b)) => self.types(*a, *b),
            (TypeDefKind::FixedLengthList(a, m), TypeDefKind::FixedLengthList(b, n)) => {
                m == n && self.types(*a, *b)
            }
            (TypeDefKind::Result(a), TypeDefKind::Result(b)) => {
                self.optional(a.ok, b.ok) && self.optional(a.err, b.err)
            }
            (TypeDefKind::Handle(a), TypeDefKind::Handle(b)) => match (a, b) {
                (Handle::Own(a), Handle::Own(b)) | (Handle::Borrow(a), Handle::Borrow(b)) => {
                    self.types(Type::Id(*a), Type::Id(*b))
                }
                _ => false,
            },
            // A resource is its name: what it can do are functions, compared one by one.
            (TypeDefKind::Resource, TypeDefKind::Resource) => left.name == right.name,
            _ => false,
        };
        if same {
            self.equal.insert((l, r));
        }
        same
    }
}

/// Follows `use` and `type a = b` to the type itself.
fn through(resolve: &Resolve, mut ty: Type) -> Type {
    while let Type::Id(id) = ty {
        match resolve.types[id].kind {
            TypeDefKind::Type(next) => ty = next,
            _ => break,
        }
    }
    ty
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let mut text = String::from("func(");
    for (i, param) in function.params.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(&param.name);
        text.push_str(": ");
        write_type(resolve, param.ty, &mut text);
    }
    text.push(')');
    if let Some(result) = function.result {
        text.push_str(" -> ");
        write_type(resolve, result, &mut text);
    }
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// As in WIT; named types by their names.
fn write_type(resolve: &Resolve, ty: Type, text: &mut String) {
    if text.len() > SHOWN * 4 {
        return;
    }
    let Type::Id(id) = ty else {
        text.push_str(&format!("{ty:?}").to_lowercase());
        return;
    };
    let definition = &resolve.types[id];
    if let Some(name) = &definition.name {
        text.push_str(name);
        return;
    }
    let mut generic = |name: &str, parts: &[Option<Type>]| {
        text.push_str(name);
        text.push('<');
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            match part {
                Some(part) => write_type(resolve, *part, text),
                None => text.push('_'),
            }
        }
        text.push('>');
    };
    match &definition.kind {
        TypeDefKind::Option(t) => generic("option", &[Some(*t)]),
        TypeDefKind::List(t) | TypeDefKind::FixedLengthList(t, _) => generic("list", &[Some(*t)]),
        TypeDefKind::Result(r) => generic("result", &[r.ok, r.err]),
        TypeDefKind::Tuple(t) => generic(
            "tuple",
            &t.types.iter().map(|t| Some(*t)).collect::<Vec<_>>(),
        ),
        TypeDefKind::Handle(Handle::Borrow(id)) => generic("borrow", &[Some(Type::Id(*id))]),
        TypeDefKind::Handle(Handle::Own(id)) | TypeDefKind::Type(Type::Id(id)) => {
            write_type(resolve, Type::Id(*id), text);
        }
        other => text.push_str(other.as_str()),
    }
}
