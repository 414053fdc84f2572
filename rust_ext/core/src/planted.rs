//! Bugs on purpose, so that the tests can prove that they would find one like it.
//!
//! `planted!("name")` is true in a build with the feature `planted` that was told to have that bug. In every
//! other build it is the constant `false`, `planted!("name" => bug; right)` is `right`, and neither the names
//! nor what they switch on are in the library. tests/faults/planted says which test must find which.

#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
    ($name:literal => $bug:expr; $right:expr) => {
        $right
    };
}

#[cfg(feature = "planted")]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::is($name)
    };
    ($name:literal => $bug:expr; $right:expr) => {
        if $crate::planted::is($name) { $bug } else { $right }
    };
}

#[cfg(feature = "planted")]
mod chosen {
    use std::sync::OnceLock;

    static CHOSEN: OnceLock<(String, u64)> = OnceLock::new();

    /// Plants one bug for the rest of the process. The time is for the one that reads a clock where it must not.
    pub fn plant(name: &str, now_ns: u64) {
        CHOSEN.set((name.to_owned(), now_ns)).expect("a bug is planted once");
    }

    /// True if this one was. Never inlined, so that the names can be found in what is built with them.
    #[inline(never)]
    pub fn is(name: &str) -> bool {
        CHOSEN.get().is_some_and(|(chosen, _)| chosen == name)
    }

    pub(crate) fn now_ns() -> u64 {
        CHOSEN.get().map_or(0, |(_, now_ns)| *now_ns)
    }
}

#[cfg(feature = "planted")]
pub(crate) use chosen::now_ns;
#[cfg(feature = "planted")]
pub use chosen::{is, plant};
