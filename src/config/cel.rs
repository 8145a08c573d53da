//! CEL programs over a JSON body: compiled and checked at load, evaluated per probe.
//!
//! The peer's library has a type checker and ours has not, so what its checker refuses on
//! sight is refused here: unknown names, wrong argument counts, and operators on constants
//! whose types cannot go together. Whatever involves `body` is decided when it runs, in both.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::Value;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

use super::decode::{Context, Decode, fault};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// The one variable an expression may use.
const BODY: &str = "body";

/// Names of types, which are values in CEL.
const TYPE_NAMES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    // Only as `google.protobuf.…`: message types exist in CEL, though JSON never holds one.
    "google",
];

/// Functions called as `f(x)`, all with one argument.
const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// Methods of timestamps and durations: an optional time zone is their only argument.
const TIME_METHODS: [&str; 10] = [
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
];

/// A compiled expression.
#[derive(Clone)]
pub struct CelProgram {
    source: Box<str>,
    program: Arc<cel::Program>,
}

/// Why an expression has no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CelError {
    /// It is not a valid expression, or names something that does not exist.
    Compile(String),
    /// It failed on this body, for instance because a key is missing.
    Evaluate(String),
    /// Its result is not a boolean; holds the type of the result.
    NotBoolean(String),
}

impl fmt::Display for CelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compile(reason) => f.write_str(reason),
            Self::Evaluate(reason) => write!(f, "evaluation failed: {reason}"),
            Self::NotBoolean(kind) => write!(f, "the result is not a boolean but of type {kind}"),
        }
    }
}

impl std::error::Error for CelError {}

impl CelProgram {
    /// Parses and checks an expression; the empty one is refused.
    pub fn compile(source: &str) -> Result<Self, CelError> {
        if source.trim().is_empty() {
            return Err(CelError::Compile("the expression is empty".to_owned()));
        }
        let program = cel::Program::compile(source).map_err(|errors| {
            let reason = errors.errors.first().map_or("syntax error", |e| &e.msg);
            CelError::Compile(reason.to_owned())
        })?;
        Checker::default().kind(&program.expression().expr).map_err(CelError::Compile)?;
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// Runs the program with `body` bound to a JSON document, whose numbers all are doubles.
    pub fn evaluate(&self, body: &serde_json::Value) -> Result<bool, CelError> {
        let mut context = cel::Context::default();
        context.add_variable_from_value(BODY, json_value(body));
        match self.program.execute(&context) {
            Ok(Value::Bool(verdict)) => Ok(verdict),
            Ok(other) => Err(CelError::NotBoolean(other.type_of().to_string())),
            Err(error) => Err(CelError::Evaluate(error.to_string())),
        }
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

fn json_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(json_value).collect())),
        serde_json::Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), json_value(value)))
            .collect::<HashMap<_, _>>()
            .into(),
    }
}

/// What is known of a value before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing: it comes from the body, or is of a type not followed here.
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    List,
    Map,
}

impl Kind {
    fn is(self, allowed: &[Kind]) -> bool {
        self == Kind::Dyn || allowed.contains(&self)
    }
}

/// Walks an expression with the comprehension variables in scope.
#[derive(Default)]
struct Checker<'e> {
    scope: Vec<&'e str>,
}

impl<'e> Checker<'e> {
    fn kind(&mut self, expr: &'e Expr) -> Result<Kind, String> {
        match expr {
            Expr::Unspecified => Ok(Kind::Dyn),
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Kind::Bool,
                LiteralValue::Bytes(_) => Kind::Bytes,
                LiteralValue::Double(_) => Kind::Double,
                LiteralValue::Int(_) => Kind::Int,
                LiteralValue::Null => Kind::Dyn,
                LiteralValue::String(_) => Kind::String,
                LiteralValue::UInt(_) => Kind::Uint,
            }),
            Expr::Ident(name) => {
                let name = name.as_str();
                if name == BODY || self.scope.contains(&name) || TYPE_NAMES.contains(&name) {
                    Ok(Kind::Dyn)
                } else {
                    Err(format!("unknown variable {name:?}; there is only {BODY:?}"))
                }
            }
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                for element in &list.elements {
                    self.kind(&element.expr)?;
                }
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    self.entry(&entry.expr)?;
                }
                Ok(Kind::Map)
            }
            Expr::Struct(message) => {
                if !message.type_name.starts_with("google.protobuf.") {
                    return Err(format!("unknown type {:?}", message.type_name));
                }
                for entry in &message.entries {
                    self.entry(&entry.expr)?;
                }
                Ok(Kind::Dyn)
            }
            Expr::Comprehension(comprehension) => {
                let range = self.kind(&comprehension.iter_range.expr)?;
                if !range.is(&[Kind::List, Kind::Map]) {
                    return Err(format!("cannot iterate over {range:?}"));
                }
                let before = self.scope.len();
                self.scope.push(&comprehension.iter_var);
                self.scope.extend(comprehension.iter_var2.as_deref());
                self.scope.push(&comprehension.accu_var);
                for part in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.kind(&part.expr)?;
                }
                self.scope.truncate(before);
                Ok(Kind::Dyn)
            }
            Expr::Call(call) => self.call(call),
        }
    }

    fn entry(&mut self, entry: &'e EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::StructField(field) => self.kind(&field.value.expr)?,
            EntryExpr::MapEntry(entry) => {
                self.kind(&entry.key.expr)?;
                self.kind(&entry.value.expr)?
            }
        };
        Ok(())
    }

    fn select(&mut self, select: &'e SelectExpr) -> Result<Kind, String> {
        let operand = self.kind(&select.operand.expr)?;
        if !operand.is(&[Kind::Map]) {
            return Err(format!("{operand:?} has no field {:?}", select.field));
        }
        Ok(if select.test { Kind::Bool } else { Kind::Dyn })
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<Kind, String> {
        let target = match &call.target {
            Some(target) => Some(self.kind(&target.expr)?),
            None => None,
        };
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        for argument in &call.args {
            arguments.push(self.kind(&argument.expr)?);
        }
        let name = call.func_name.as_str();
        let result = match target {
            None => operator(name, &arguments).or_else(|| function(name, &arguments)),
            Some(target) => method(name, target, &arguments),
        };
        result.ok_or_else(|| {
            arguments.splice(0..0, target);
            if is_known(name) {
                let kinds: Vec<String> = arguments.iter().map(|k| format!("{k:?}")).collect();
                format!("{} does not take ({})", spelled(name), kinds.join(", "))
            } else {
                format!("unknown function {name:?}")
            }
        })
    }
}

fn is_known(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || CONVERSIONS.contains(&name)
        || TIME_METHODS.contains(&name)
        || matches!(name, "contains" | "endsWith" | "matches" | "size" | "startsWith")
}

/// An operator as written: `_+_` is `+`.
fn spelled(name: &str) -> String {
    match name {
        operators::INDEX => "[]".to_owned(),
        operators::CONDITIONAL => "?:".to_owned(),
        _ => name.trim_matches(['_', '@']).to_owned(),
    }
}

/// The result of an operator, `None` if there is none for these arguments.
fn operator(name: &str, arguments: &[Kind]) -> Option<Kind> {
    use Kind::{Bool, Bytes, Double, Dyn, Int, List, Map, String, Uint};
    const NUMBERS: [Kind; 3] = [Int, Uint, Double];
    let alike = |allowed: &[Kind]| match arguments {
        [left, right] if left.is(allowed) && right.is(allowed) => match (*left, *right) {
            (left, right) if left == right => Some(left),
            (Dyn, _) | (_, Dyn) => Some(Dyn),
            _ => None,
        },
        _ => None,
    };
    match name {
        operators::ADD => alike(&[Int, Uint, Double, String, Bytes, List]),
        operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE => alike(&NUMBERS),
        operators::MODULO => alike(&[Int, Uint]),
        // Numbers of all three types compare with each other.
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
            if arguments.iter().all(|kind| kind.is(&NUMBERS)) =>
        {
            Some(Bool)
        }
        operators::EQUALS | operators::NOT_EQUALS => alike(&[Bool, String, Bytes, List, Map]).map(|_| Bool),
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
            alike(&[Bool, String, Bytes]).map(|_| Bool)
        }
        operators::LOGICAL_AND | operators::LOGICAL_OR => alike(&[Bool]).map(|_| Bool),
        operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE => match arguments {
            [value] if value.is(&[Bool]) => Some(Bool),
            _ => None,
        },
        operators::NEGATE => match arguments {
            [value] if value.is(&[Int, Double]) => Some(*value),
            _ => None,
        },
        operators::CONDITIONAL => match arguments {
            [condition, yes, no] if condition.is(&[Bool]) => match (*yes, *no) {
                (yes, no) if yes == no => Some(yes),
                (Dyn, _) | (_, Dyn) => Some(Dyn),
                _ => None,
            },
            _ => None,
        },
        operators::INDEX => match arguments {
            [List, index] if index.is(&[Int]) => Some(Dyn),
            [Map | Dyn, _] => Some(Dyn),
            _ => None,
        },
        operators::IN => match arguments {
            [_, container] if container.is(&[List, Map]) => Some(Bool),
            _ => None,
        },
        _ => None,
    }
}

fn function(name: &str, arguments: &[Kind]) -> Option<Kind> {
    match (name, arguments) {
        ("size", [value]) if has_size(*value) => Some(Kind::Int),
        ("matches", [text, pattern]) if text.is(&[Kind::String]) && pattern.is(&[Kind::String]) => {
            Some(Kind::Bool)
        }
        (name, [_]) if CONVERSIONS.contains(&name) => Some(match name {
            "bool" => Kind::Bool,
            "bytes" => Kind::Bytes,
            "double" => Kind::Double,
            "int" => Kind::Int,
            "string" => Kind::String,
            "uint" => Kind::Uint,
            _ => Kind::Dyn,
        }),
        _ => None,
    }
}

fn method(name: &str, target: Kind, arguments: &[Kind]) -> Option<Kind> {
    match (name, arguments) {
        ("size", []) if has_size(target) => Some(Kind::Int),
        ("contains" | "startsWith" | "endsWith" | "matches", [argument])
            if target.is(&[Kind::String]) && argument.is(&[Kind::String]) =>
        {
            Some(Kind::Bool)
        }
        (name, [] | [Kind::Dyn | Kind::String]) if TIME_METHODS.contains(&name) && target == Kind::Dyn => {
            Some(Kind::Int)
        }
        _ => None,
    }
}

fn has_size(kind: Kind) -> bool {
    kind.is(&[Kind::String, Kind::Bytes, Kind::List, Kind::Map])
}

impl fmt::Debug for CelProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CelProgram").field(&self.source).finish()
    }
}

impl PartialEq for CelProgram {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Decode for CelProgram {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let source = String::decode(node, ctx)?;
        Self::compile(&source)
            .map_err(|error| {
                let rest = format!("must be a CEL expression, got {}", fault(node, &source, error));
                ctx.error_here(node.position(), rest);
            })
            .ok()
    }
}

impl Emit for CelProgram {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        out.string(&self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_checked_at_load() {
        let accepted = [
            "body.foo == 'bar'",
            "body.l.exists_one(x, x.a in ['b', 'c']) || !body.m.all(k, size(k) < 3u)",
            "has(body.a.b) && body.a.b.size() > 0",
            "body.arr.map(x, x * 2.0) == [2.0, 4.0, 6.0]",
            "body.arr.filter(x, x > 1).exists(y, y == 2)",
            "type(body.n) == double",
            "timestamp(body.t).getFullYear('UTC') > 2000",
            "timestamp(body.t) + duration('1h') > timestamp('2020-01-01T00:00:00Z')",
            "{'a': body.n}['a'] == 1",
            "body.x ? 1 : 2",
            "string(body.n) + 'x' == '5x'",
            "matches(body.s, '^a') && body.s.matches('b$')",
            "body.n % 2 == 1",
            "body",
            "1 + 2",
        ];
        for source in accepted {
            assert!(CelProgram::compile(source).is_ok(), "{source}");
        }
        let refused = [
            ("", "the expression is empty"),
            ("  ", "the expression is empty"),
            ("status == 200", "unknown variable \"status\"; there is only \"body\""),
            ("body.a.all(x, y)", "unknown variable \"y\"; there is only \"body\""),
            ("frobnicate(body)", "unknown function \"frobnicate\""),
            ("body.s.lowerAscii() == 'a'", "unknown function \"lowerAscii\""),
            ("body.s.split(',').size() == 2", "unknown function \"split\""),
            ("math.greatest(1, 2) == 2", "unknown variable \"math\"; there is only \"body\""),
            ("1 + 'a'", "+ does not take (Int, String)"),
            ("1 == 'a'", "== does not take (Int, String)"),
            ("[1] < [2]", "< does not take (List, List)"),
            ("'a' && body.x", "&& does not take (String, Dyn)"),
            ("!1", "! does not take (Int)"),
            ("body.x ? 1 : 'a'", "?: does not take (Dyn, Int, String)"),
            ("size(1) == 1", "size does not take (Int)"),
            ("body.s.contains(1)", "contains does not take (Dyn, Int)"),
            ("body.s.contains()", "contains does not take (Dyn)"),
            ("'a'.b", "String has no field \"b\""),
            ("[1]['a']", "[] does not take (List, String)"),
            ("body.x in 5", "in does not take (Dyn, Int)"),
            ("1.exists(x, true)", "cannot iterate over Int"),
            ("Foo{a: 1}", "unknown type \"Foo\""),
        ];
        for (source, want) in refused {
            let got = CelProgram::compile(source).err().map(|e| e.to_string());
            assert_eq!(got.as_deref(), Some(want), "{source}");
        }
        for source in ["body.foo ==", "body.", "(", "body.?a", "'", "a b"] {
            assert!(CelProgram::compile(source).is_err(), "{source}");
        }
    }

    #[test]
    fn verdicts_are_those_of_cel_go() {
        let body = json!({
            "n": 5, "arr": [1, 2, 3], "foo": "x", "s": "héllo", "nil": null,
            "t": "2020-05-06T07:08:09Z",
        });
        let yes = Ok(true);
        let no = Ok(false);
        let fails = Err("evaluation failed");
        let cases = [
            ("body.n == 5", yes),
            ("body.n == 5.0", yes),
            ("body.n > 4", yes),
            ("body.n < 5.5", yes),
            ("2 in body.arr", yes),
            ("body.n + 1 == 6", fails),
            ("body.n + 1.0 == 6.0", yes),
            ("body.n % 2 == 1", fails),
            ("type(body.n) == double", yes),
            ("int(body.n) + 1 == 6", yes),
            ("body.arr.map(x, x * 2.0) == [2.0, 4.0, 6.0]", yes),
            ("string(body.n) == '5'", yes),
            ("body.missing == 1 || body.foo == 'x'", yes),
            ("has(body.missing)", no),
            ("body.missing == 'x'", fails),
            ("timestamp(body.t).getFullYear() == 2020", yes),
            ("body.s.matches('^h.llo$')", yes),
            ("body.arr.exists(x, x == 3)", yes),
            ("body.arr.exists_one(x, x > 1)", no),
            ("body.nil == null", yes),
            ("size(body.s) == 5", yes),
            ("body.arr[10] == 1", fails),
            ("dyn(body.n) == 5", yes),
            ("body.n", Err("the result is not a boolean but of type float")),
            ("body.s", Err("the result is not a boolean but of type string")),
        ];
        for (source, want) in cases {
            let got = CelProgram::compile(source).unwrap().evaluate(&body);
            match (want, got) {
                (Err(want), Err(error)) => {
                    assert!(error.to_string().starts_with(want), "{source}: {error}");
                }
                (want, got) => assert_eq!(got, want.map_err(|_| unreachable!()), "{source}"),
            }
        }
    }
}
