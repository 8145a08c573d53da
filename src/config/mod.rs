//! The configuration file: text to modules that probers can use, and modules back to text.
//!
//! [`load`] either returns a [`File`], in which nothing needs checking again, or every problem
//! of the text at once. The rule for what is an error: a file that the Prometheus blackbox
//! exporter loads, loads here. What cannot work in such a file is a [`Warning`], and the module
//! says so in [`Module::unusable`].
//!
//! What belongs here: the YAML dialect (`yaml`), what placeholders stand for (`placeholder`), how
//! values are read (`decode`), the types of values, and the sections (`sections`). What does not:
//! files that sections name, and anything a prober builds from its section.

pub mod byte_size;
pub mod bytes;
pub mod cel;
pub mod decode;
pub mod differences;
pub mod dns_names;
pub mod duration;
pub mod header;
pub mod map;
pub mod mask;
pub mod module;
pub mod password;
pub mod placeholder;
pub mod problem;
pub mod proxy_url;
pub mod reload;
pub mod secret;
pub mod section;
pub mod sections;
pub mod yaml;

use std::collections::BTreeMap;

pub use cel::CelProgram;
use decode::{Context, Segment, describe, key_text, mapping, read_into, unknown_key};
use mask::Mask;
pub use module::{Module, ProberKind};
pub use placeholder::Values;
pub use problem::{Position, Problem, Problems, Warning};
pub use secret::Secret;
pub use sections::heartbeats::Heartbeats;
use sections::heartbeats::Service;
use yaml::emit::Emitter;
use yaml::parse::parse;
use yaml::tree::Node;

/// Columns per level of the `/config` page.
const FILE_INDENT: usize = 4;

/// What is said about a file without a document, which the peer refuses too.
const EMPTY: &str = "the file is empty; write `modules: {}` for a configuration without modules";

/// How to load.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Refuse a file with warnings.
    pub strict: bool,
}

/// A loaded file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// The modules by name.
    pub modules: BTreeMap<String, Module>,
    /// What reports in; `None` without the section, and then nothing can.
    pub heartbeats: Option<Box<Heartbeats>>,
    /// What is worth telling the operator, in file order.
    pub warnings: Vec<Warning>,
    /// What the file's placeholders stood for.
    pub values: Values,
}

/// Reads a configuration; on failure every problem in it is reported, in file order.
///
/// Files and variables named by placeholders are read here, and nothing else outside the text.
pub fn load(text: &str, options: &LoadOptions) -> Result<File, Problems> {
    let (mut tree, duplicates) =
        parse(text).map_err(|problem| Problems { errors: vec![problem], warnings: Vec::new() })?;
    let mut ctx = Context::default();
    ctx.errors = duplicates;
    let mut values = Values::default();
    let without_value = values.fill(&mut tree);
    if let Some(position) = tree.next_document() {
        ctx.note(position, "only the first document of a file is read; what follows has no effect");
    }
    let mut file = File::default();
    match tree.root() {
        Some(root) if root.is_null() => {}
        Some(root) => read_file(&mut file, root, &mut ctx),
        None => ctx.error(Position::START, EMPTY),
    }
    let Context { mut errors, mut warnings, .. } = ctx;
    // A placeholder that stands for nothing is not what its key takes either.
    errors.retain(|problem| without_value.iter().all(|other| other.position != problem.position));
    errors.extend(without_value);
    warnings.sort_by_key(|warning| warning.problem.position);
    if options.strict {
        errors.extend(warnings.iter().map(|warning| warning.problem.clone()));
    }
    if errors.is_empty() {
        return Ok(File { warnings, values, ..file });
    }
    errors.sort_by_key(|problem| problem.position);
    // A merge that names no mapping is met again wherever the mapping is looked at.
    errors.dedup();
    Err(Problems { errors, warnings })
}

/// Reads one heartbeat that was defined at run time, written as a service of the section `heartbeats`.
///
/// # Errors
/// All problems of the text.
pub fn read_service(text: &str) -> Result<Service, Problems> {
    let (tree, duplicates) =
        parse(text).map_err(|problem| Problems { errors: vec![problem], warnings: Vec::new() })?;
    let mut ctx = Context::default();
    ctx.errors = duplicates;
    let service = tree.root().and_then(|root| section::decode_section(root, &mut ctx));
    match service {
        Some(service) if ctx.errors.is_empty() => Ok(service),
        _ => Err(Problems { errors: ctx.errors, warnings: ctx.warnings }),
    }
}

fn read_file<'t>(file: &mut File, root: Node<'t>, ctx: &mut Context<'t>) {
    let Some(written) = root.mapping(&mut ctx.errors) else {
        let message = format!("the file must be a mapping, got {}", describe(root));
        ctx.error(root.position(), message);
        return;
    };
    for (key, value) in written.pairs() {
        match key_text(key, ctx) {
            Some("modules") if value.is_null() => {}
            Some("modules") => ctx.within(Segment::Key("modules"), |ctx| {
                let Some(written) = mapping(value, ctx) else {
                    return;
                };
                for (key, value) in written.pairs() {
                    if let Some(name) = key_text(key, ctx)
                        && let Some(module) =
                            ctx.within(Segment::Key(name), |ctx| Module::read(key.position(), value, ctx))
                    {
                        file.modules.insert(name.to_owned(), module);
                    }
                }
            }),
            Some("heartbeats") => {
                let mask = Mask::of(value);
                ctx.masked(mask.clone(), |ctx| {
                    ctx.within(Segment::Key("heartbeats"), |ctx| read_into(&mut file.heartbeats, value, ctx));
                });
                if let Some(heartbeats) = &mut file.heartbeats {
                    heartbeats.mask = mask;
                }
            }
            Some(name) => unknown_key(key.position(), name, &["modules", "heartbeats"], ctx),
            None => {}
        }
    }
    check_follow_ups(file, ctx);
}

/// A probe after a miss needs its module.
fn check_follow_ups(file: &File, ctx: &mut Context<'_>) {
    let mask = file.heartbeats.as_ref().and_then(|heartbeats| heartbeats.mask.clone());
    let services = file.heartbeats.iter().flat_map(|heartbeats| heartbeats.services.values());
    for declared in services {
        let Some(probe) = &declared.definition.on_miss else { continue };
        if !file.modules.contains_key(&probe.module) {
            let message = format!(
                "heartbeats: {} wants a probe with module {}, and there is none of that name",
                declared.definition.key,
                decode::quote(&probe.module)
            );
            ctx.masked(mask.clone(), |ctx| ctx.error(declared.probe_position, message));
        }
    }
}

impl File {
    /// The whole configuration with defaults filled in and secrets masked, modules by name.
    pub fn to_yaml(&self) -> String {
        let mut out = Emitter::new(FILE_INDENT);
        if self.modules.is_empty() {
            out.plain(&"modules: {}");
        } else {
            out.entry("modules", &module::All(&self.modules));
        }
        if let Some(heartbeats) = &self.heartbeats {
            out.entry("heartbeats", heartbeats);
        }
        out.finish()
    }
}
