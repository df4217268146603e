//! `tenon up`.

/// Serve the data folder: REST, OpenAI-style completions, metrics.
///
/// Other `tenon` commands on the same data folder find the server by themselves. It stops on Ctrl-C or
/// SIGTERM: trainings write a checkpoint first and can be resumed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Serve the default folder on the default port
    $ tenon up

  Serve another folder on a port that is free, and read the address from JSON
    $ tenon up --data ./lab --address 127.0.0.1:0 --json

  Let others in: any address but loopback needs a token
    $ TENON_TOKEN=$(openssl rand -hex 32) tenon up --address 0.0.0.0:7700

With --json one line is printed once the server listens: {\"url\", \"data\", \"pid\", \"version\"}.")]
pub struct Up {
    /// Address and port to listen on; port 0 chooses a free one.
    #[arg(
        long,
        env = "TENON_ADDRESS",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7700"
    )]
    pub address: String,
}
