//! docs/cli.md, made from the arguments themselves.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Context;
use crate::args::Cli;
use crate::failure::Result;

const INTRODUCTION: &str = "\
<!-- Made by `tenon reference`; change the arguments in host/cli/src/args instead. -->
# The command line

Results go to standard output, everything else (progress, logs, errors, hints) to standard error. On a
terminal, tables are aligned; in a pipe they are lines of fields separated by tabs, without headings
and with nothing cut off. With `--json` a command prints exactly one JSON document, as the REST
interface answers it, or a document a line where results come one by one; an error is then one JSON
object on standard error, of the form that the REST interface uses: `{\"error\": {\"kind\", \"message\",
\"hint\", …}}`.

| exit status | meaning |
|---|---|
| 0 | it went well |
| 1 | it failed |
| 2 | the command line, or what it names, is wrong; nothing was started |
| 130 | it was interrupted |

A command asks the server that runs on the data folder (`tenon up`), or the one that `--server` names.
Without a server it opens the data folder itself. A data folder is open in one process at a time.

Ctrl-C while a command follows a run that it started stops the run, a training with a checkpoint, and
says how to go on. Pressed again, the command leaves at once.
";

/// Prints the reference.
pub fn print(context: &Context) -> Result<()> {
    let mut page = context.output.page();
    page.line(reference().trim_end());
    context.output.print(&page)
}

fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Options of every command\n\n");
    let global: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set() && is_shown(argument))
        .collect();
    arguments(&mut out, &global);
    for noun in command.get_subcommands().filter(|noun| is_listed(noun)) {
        section(&mut out, noun, 2);
    }
    out
}

fn is_listed(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

/// Writing to a text cannot fail.
fn section(out: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let _ = writeln!(out, "\n{} {name}\n", "#".repeat(level));
    let about = command.get_long_about().or(command.get_about());
    if let Some(about) = about {
        let _ = writeln!(out, "{}\n", plain(&about.to_string()));
    }
    let verbs: Vec<&Command> = command
        .get_subcommands()
        .filter(|verb| is_listed(verb))
        .collect();
    if verbs.is_empty() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
        let _ = writeln!(out, "```text\n{}\n```\n", usage.trim());
    }
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set() && is_shown(argument))
        .collect();
    arguments(out, &own);
    if let Some(help) = command.get_after_long_help() {
        let _ = writeln!(out, "\n```text\n{}\n```", help.to_string().trim_end());
    }
    for verb in verbs {
        section(out, verb, level + 1);
    }
}

fn arguments(out: &mut String, arguments: &[&Arg]) {
    if arguments.is_empty() {
        return;
    }
    out.push_str("| argument | meaning |\n|---|---|\n");
    for argument in arguments {
        let help = argument.get_long_help().or(argument.get_help());
        let mut meaning = help
            .map(|help| plain(&help.to_string()))
            .unwrap_or_default();
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set() && takes_value(argument))
            .map(|value| match value.get_help() {
                Some(help) => {
                    let help = help.to_string();
                    format!("`{}` ({})", value.get_name(), help.trim_end_matches('.'))
                }
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        if !values.is_empty() {
            let _ = write!(meaning, " One of {}.", values.join(", "));
        }
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        if takes_value(argument) && !defaults.is_empty() {
            let _ = write!(meaning, " Default: `{}`.", defaults.join(" "));
        }
        if let Some(variable) = argument.get_env() {
            let _ = write!(meaning, " Environment: `{}`.", variable.to_string_lossy());
        }
        let _ = writeln!(
            out,
            "| `{}` | {} |",
            written(argument),
            meaning.replace('|', "\\|")
        );
    }
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// How it is written on a command line.
fn written(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let flags: Vec<String> = argument
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(argument.get_long().map(|long| format!("--{long}")))
        .collect();
    match (flags.is_empty(), takes_value(argument)) {
        (true, _) => value,
        (false, true) => format!("{} {value}", flags.join(", ")),
        (false, false) => flags.join(", "),
    }
}

/// In a line of Markdown: what looks like a tag is written as text.
fn plain(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| line.replace('<', "&lt;"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}
