//! Where the programs under test lie.

use std::path::{Path, PathBuf};

/// A program of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Node,
    Sentinel,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "tercet-node",
            Self::Sentinel => "tercet-sentinel",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Node => "TERCET_NODE_BINARY",
            Self::Sentinel => "TERCET_SENTINEL_BINARY",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{name} is not built: run `cargo build --workspace --bins`, with --release for a bench (looked in {}; {variable} names another)", looked.display())]
pub struct NotBuilt {
    name: &'static str,
    variable: &'static str,
    looked: PathBuf,
}

/// The program's path: what its environment variable says, else the build beside us, of our own profile, else the
/// release build.
///
/// # Errors
/// None of them exists.
pub fn find(program: Program) -> Result<PathBuf, NotBuilt> {
    if let Some(path) = std::env::var_os(program.variable()) {
        return Ok(path.into());
    }
    let target = target_directory();
    let candidates = [own_directory(), target.join("release")];
    candidates.iter().map(|folder| folder.join(program.name())).find(|path| path.is_file()).ok_or(NotBuilt {
        name: program.name(),
        variable: program.variable(),
        looked: target,
    })
}

/// The target directory that this very program was built into: nothing needs to be asked, and CARGO_TARGET_DIR is
/// honoured whatever it was.
#[must_use]
pub fn target_directory() -> PathBuf {
    let own = own_directory();
    own.parent().map_or_else(|| PathBuf::from("target"), Path::to_owned)
}

/// `target/<profile>`, from `target/<profile>/drill` or `target/<profile>/deps/some_test-0123`.
fn own_directory() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("target/debug/unknown"));
    let folder = own.parent().map_or_else(|| PathBuf::from("target/debug"), Path::to_owned);
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().map_or(folder.clone(), Path::to_owned),
        _ => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_holds_the_profile_of_this_test() {
        assert!(own_directory().starts_with(target_directory()));
        assert!(own_directory().join("deps").is_dir());
    }
}
