//! `tenon store …`.

use clap::Subcommand;

/// Check the data folder, and give space back.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon store verify
  $ tenon store gc")]
pub struct Store {
    /// What to do.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What to do with the data folder.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    Verify(Verify),
    Gc(Gc),
}

/// Read every record and every file, and check them against their checksums.
///
/// Exits with 1 when something is damaged.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon store verify
  $ tenon store verify --json | jq -r '.damage[]'")]
pub struct Verify {}

/// Remove files that nothing refers to.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  $ tenon store gc
  $ tenon store gc --grace-minutes 0")]
pub struct Gc {
    /// Leave alone what was written in the last minutes: it may be about to be used.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub grace_minutes: u64,
}
