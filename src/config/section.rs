//! Mappings with known keys: the `section!` macro and what drives the code it writes.

use std::ops::Deref;

use super::decode::{Context, Decode, Segment, key_text, mapping, unknown_key};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::{Mapping, Node};

/// A mapping with known keys; `section!` writes the implementation.
pub trait Section: Default {
    /// Adds the section's keys, inlined ones included.
    fn keys(keys: &mut Vec<&'static str>);
    /// Takes one key's value; false if the key is unknown.
    fn read<'t>(&mut self, key: &str, value: Node<'t>, ctx: &mut Context<'t>) -> bool;
    /// Judges the section once all its keys are read.
    fn check<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>);
}

/// A section's keys written into a block that someone else has opened.
pub trait Fields {
    /// Writes the keys that have a value.
    fn write(&self, out: &mut Emitter);
}

/// A section whose default exists once per process.
pub trait Shared: Section + 'static {
    /// The default, shared by everyone who did not write the section.
    fn shared_default() -> &'static Self;
}

/// A section as written or, at no cost, its default; dereferences to either.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaulted<T>(Option<Box<T>>);

impl<T> Defaulted<T> {
    /// Whether the section was written, even if empty; null counts as not written.
    pub fn is_written(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Shared + Clone> Defaulted<T> {
    /// The section to change; what was not written begins as the default and counts as written now.
    pub fn to_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::shared_default().clone()))
    }
}

impl<T> Default for Defaulted<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Shared> Deref for Defaulted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::shared_default())
    }
}

impl<T: Shared> Decode for Defaulted<T> {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let mut section = Box::<T>::default();
        fill_section(section.as_mut(), node, ctx)?;
        Some(Self(Some(section)))
    }
}

impl<T: Shared + Emit> Emit for Defaulted<T> {
    fn is_empty(&self) -> bool {
        T::is_empty(self)
    }
    fn emit(&self, out: &mut Emitter) {
        T::emit(self, out);
    }
}

/// Reads a mapping as a section: known keys, then the section's own check.
pub fn decode_section<'t, S: Section>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<S> {
    let mut section = S::default();
    fill_section(&mut section, node, ctx)?;
    Some(section)
}

/// [`decode_section`] for a section that already has its place.
pub fn fill_section<'t, S: Section>(section: &mut S, node: Node<'t>, ctx: &mut Context<'t>) -> Option<()> {
    let written = mapping(node, ctx)?;
    for (key, value) in written.pairs() {
        let Some(name) = key_text(key, ctx) else {
            continue;
        };
        let known = ctx.within(Segment::Key(name), |ctx| section.read(name, value, ctx));
        if !known {
            let mut keys = Vec::new();
            S::keys(&mut keys);
            unknown_key(key.position(), name, &keys, ctx);
        }
    }
    section.check(&written, ctx);
    Some(())
}

/// Declares a section: the struct, its defaults, its keys, and how it is read and written.
///
/// ```text
/// section! {
///     /// Docs.
///     pub struct Icmp {
///         /// A key that is zero, false or empty by default.
///         payload_size: i64,
///         /// A key with a default.
///         ttl: i64 = 64,
///         /// A key named by a Rust keyword.
///         kind as "type": String,
///         /// A key that is written even when false.
///         follow_redirects: bool = true => always,
///     }
///     /// Another section whose keys stand among these.
///     inline client: HttpClient,
///     check Icmp::validate
/// }
/// ```
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident $(as $key:literal)? : $ty:ty $(= $default:expr)? $(=> $always:ident)?,
            )*
        }
        $( $(#[$inline_meta:meta])* inline $inline:ident : $inline_ty:ty, )?
        $( check $check:path )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
            $( $(#[$inline_meta])* pub $inline: $inline_ty, )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $crate::config::section::section!(@default $($default)?), )*
                    $( $inline: Default::default(), )?
                }
            }
        }

        impl $crate::config::section::Section for $name {
            fn keys(keys: &mut Vec<&'static str>) {
                keys.extend([$( $crate::config::section::section!(@key $field $($key)?) ),*]);
                $( <$inline_ty as $crate::config::section::Section>::keys(keys); )?
            }

            fn read<'t>(
                &mut self,
                key: &str,
                value: $crate::config::yaml::tree::Node<'t>,
                ctx: &mut $crate::config::decode::Context<'t>,
            ) -> bool {
                $(
                    if key == $crate::config::section::section!(@key $field $($key)?) {
                        $crate::config::decode::read_into(&mut self.$field, value, ctx);
                        return true;
                    }
                )*
                $( if $crate::config::section::Section::read(&mut self.$inline, key, value, ctx) {
                    return true;
                } )?
                false
            }

            fn check<'t>(
                &mut self,
                _written: &$crate::config::yaml::tree::Mapping<'t>,
                _ctx: &mut $crate::config::decode::Context<'t>,
            ) {
                $(
                    let inline: &mut $inline_ty = &mut self.$inline;
                    $crate::config::section::Section::check(inline, _written, _ctx);
                )?
                $( $check(self, _written, _ctx); )?
            }
        }

        impl $crate::config::decode::Decode for $name {
            fn decode<'t>(
                node: $crate::config::yaml::tree::Node<'t>,
                ctx: &mut $crate::config::decode::Context<'t>,
            ) -> Option<Self> {
                $crate::config::section::decode_section(node, ctx)
            }
        }

        impl $crate::config::section::Fields for $name {
            fn write(&self, out: &mut $crate::config::yaml::emit::Emitter) {
                $( $crate::config::section::section!(
                    @write out self.$field, $crate::config::section::section!(@key $field $($key)?)
                    $(, $always)?
                ); )*
                $( $crate::config::section::Fields::write(&self.$inline, out); )?
            }
        }

        impl $crate::config::yaml::emit::Emit for $name {
            fn is_empty(&self) -> bool {
                $( $crate::config::yaml::emit::Emit::is_empty(&self.$field) && )*
                $( $crate::config::yaml::emit::Emit::is_empty(&self.$inline) && )?
                true
            }
            fn emit(&self, out: &mut $crate::config::yaml::emit::Emitter) {
                out.block("{}", |out| $crate::config::section::Fields::write(self, out));
            }
        }

        impl $crate::config::section::Shared for $name {
            fn shared_default() -> &'static Self {
                static DEFAULT: std::sync::LazyLock<$name> =
                    std::sync::LazyLock::new(Default::default);
                &DEFAULT
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@write $out:ident $value:expr, $key:expr) => { $out.field($key, &$value) };
    (@write $out:ident $value:expr, $key:expr, always) => { $out.entry($key, &$value) };
}
pub(crate) use section;
