//! `rmq completion SHELL`: prints what the shell needs to complete commands and flags.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::output::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  rmq completion bash > ~/.local/share/bash-completion/completions/rmq
  rmq completion zsh  > ~/.zfunc/_rmq
  rmq completion fish > ~/.config/fish/completions/rmq.fish";

/// Print the completion script of a shell.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Completion {
    /// The shell that will read it.
    shell: Shell,
}

impl Completion {
    /// Prints the script for `command`, the whole command line of this binary.
    pub fn run(self, mut command: clap::Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "rmq", &mut script);
        io::stdout().write_all(&script)?;
        Ok(Exit::Ok)
    }
}
