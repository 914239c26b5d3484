//! The notation for option structs.

/// Declares a struct of options.
///
/// ```text
/// options! {
///     /// What it is for.
///     pub struct Example {
///         /// Meaning, unit, default and its reason.
///         pub limit: usize = 10,
///         pub name: Option<String>,
///     }
/// }
/// ```
///
/// makes a `#[non_exhaustive]` struct that is `Clone` and `Debug`, with a `Default` (a field without `=` has its type's
/// own) and, for each field, a setter that consumes and returns the struct: `Example::default().limit(3).name("x".into())`.
/// The setter of an `Option<T>` takes `impl Into<Option<T>>`, so both a value and `None` do; the one of an
/// `Option<Arc<dyn Trait>>` takes any `impl Trait`. With `own_debug` in front, `Debug` is written by hand.
macro_rules! options {
    (
        own_debug
        $(#[$meta:meta])*
        pub struct $name:ident { $($fields:tt)* }
    ) => {
        $crate::options::options! { @fields [$(#[$meta])*] $name [] [] [] $($fields)* }
    };

    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($fields:tt)* }
    ) => {
        $crate::options::options! { @fields [$(#[$meta])* #[derive(Debug)]] $name [] [] [] $($fields)* }
    };

    (@fields $struct:tt $name:ident [$($fields:tt)*] [$($defaults:tt)*] [$($setters:tt)*]
        $(#[$meta:meta])* pub $field:ident: Option<Arc<dyn Fn(&$arg:ident) -> $ret:ident + Send + Sync>>, $($rest:tt)*
    ) => {
        $crate::options::options! { @fields $struct $name
            [$($fields)* $(#[$meta])* pub $field: Option<Arc<dyn Fn(&$arg) -> $ret + Send + Sync>>,]
            [$($defaults)* $field: None,]
            [$($setters)*
                #[doc = concat!("Sets [`", stringify!($name), "::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, $field: impl Fn(&$arg) -> $ret + Send + Sync + 'static) -> Self {
                    self.$field = Some(Arc::new($field));
                    self
                }
            ]
            $($rest)*
        }
    };

    (@fields $struct:tt $name:ident [$($fields:tt)*] [$($defaults:tt)*] [$($setters:tt)*]
        $(#[$meta:meta])* pub $field:ident: Option<Arc<dyn $trait:path>>, $($rest:tt)*
    ) => {
        $crate::options::options! { @fields $struct $name
            [$($fields)* $(#[$meta])* pub $field: Option<Arc<dyn $trait>>,]
            [$($defaults)* $field: None,]
            [$($setters)*
                #[doc = concat!("Sets [`", stringify!($name), "::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, $field: impl $trait + 'static) -> Self {
                    self.$field = Some(Arc::new($field));
                    self
                }
            ]
            $($rest)*
        }
    };

    (@fields $struct:tt $name:ident [$($fields:tt)*] [$($defaults:tt)*] [$($setters:tt)*]
        $(#[$meta:meta])* pub $field:ident: Option<$type:ty> $(= $default:expr)?, $($rest:tt)*
    ) => {
        $crate::options::options! { @fields $struct $name
            [$($fields)* $(#[$meta])* pub $field: Option<$type>,]
            [$($defaults)* $field: $crate::options::options!(@default $($default)?),]
            [$($setters)*
                #[doc = concat!("Sets [`", stringify!($name), "::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, $field: impl Into<Option<$type>>) -> Self {
                    self.$field = $field.into();
                    self
                }
            ]
            $($rest)*
        }
    };

    (@fields $struct:tt $name:ident [$($fields:tt)*] [$($defaults:tt)*] [$($setters:tt)*]
        $(#[$meta:meta])* pub $field:ident: $type:ty $(= $default:expr)?, $($rest:tt)*
    ) => {
        $crate::options::options! { @fields $struct $name
            [$($fields)* $(#[$meta])* pub $field: $type,]
            [$($defaults)* $field: $crate::options::options!(@default $($default)?),]
            [$($setters)*
                #[doc = concat!("Sets [`", stringify!($name), "::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            ]
            $($rest)*
        }
    };

    (@fields [$(#[$meta:meta])*] $name:ident [$($fields:tt)*] [$($defaults:tt)*] [$($setters:tt)*]) => {
        $(#[$meta])*
        #[derive(Clone)]
        #[non_exhaustive]
        pub struct $name { $($fields)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($defaults)* }
            }
        }

        impl $name { $($setters)* }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

pub(crate) use options;

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro makes public structs")]
mod tests {
    use std::{fmt, sync::Arc};

    pub trait Hook: fmt::Debug + Send + Sync {}

    #[derive(Debug)]
    pub struct Nothing;

    impl Hook for Nothing {}

    options! {
        /// An example.
        #[derive(PartialEq, Eq)]
        pub struct Plain {
            /// Has a default.
            pub limit: usize = 10,
            /// Has none.
            pub name: Option<String>,
            /// Is there unless taken away.
            pub batch: Option<usize> = Some(128),
        }
    }

    options! {
        /// An example with a trait object.
        pub struct Hooked {
            /// Called.
            pub hook: Option<Arc<dyn Hook>>,
            /// Not called.
            pub on: bool,
        }
    }

    #[test]
    fn fields_without_a_default_have_their_types_own() {
        let plain = Plain::default();
        assert_eq!(
            (plain.limit, plain.name, plain.batch),
            (10, None, Some(128))
        );
    }

    #[test]
    fn setters_take_what_the_field_is_made_of() {
        let plain = Plain::default().limit(3).name("x".to_owned()).batch(None);
        assert_eq!(
            plain,
            Plain {
                limit: 3,
                name: Some("x".into()),
                batch: None
            }
        );
        assert_eq!(plain.name(None).batch(Some(1)).batch(2).batch, Some(2));
        let hooked = Hooked::default().hook(Nothing).on(true);
        assert!(hooked.on && hooked.hook.is_some());
        assert_eq!(
            format!("{hooked:?}"),
            "Hooked { hook: Some(Nothing), on: true }"
        );
    }
}
