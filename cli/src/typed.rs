//! From the words that were typed to a command.
//!
//! Left alone, clap prints its help and its complaints itself and ends the process: in words, whatever format was asked
//! for, and as if all was well where a help could not be written. So it is asked to hand them over. Where a line makes no
//! sense there is nothing parsed that would say its format; [`format`] reads that from the words, and reads them as clap
//! does, by what each option of the command takes: in `trigger -d -o json` the `-o` is data.

use std::{
    ffi::OsString,
    io::{self, Write as _},
};

use clap::{Arg, Command, CommandFactory as _, Parser as _, ValueEnum as _, error::ErrorKind};

use crate::{
    commands::Cli,
    exit::Exit,
    failure::Failure,
    output::Output,
    settings::{Environment, Format, GlobalArgs},
};

/// The command that was typed; else what clap has to say was told, and this is how the process ends.
pub fn read(words: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<Cli, Exit> {
    let words: Vec<OsString> = words.into_iter().collect();
    Cli::try_parse_from(&words).map_err(|error| {
        let args = GlobalArgs { output: format(&words), ..GlobalArgs::default() };
        // A variable that names no format is not what is wrong here.
        let format = environment.format(&args).unwrap_or_default();
        told(&error, &Output::of(format, &args, environment))
    })
}

/// Tells a help or a complaint.
fn told(error: &clap::Error, out: &Output) -> Exit {
    if !error.use_stderr() {
        let written = error.print().and_then(|()| io::stdout().flush());
        return written.map_or_else(|error| out.ended(&error.into()), |()| Exit::Done);
    }
    if out.tells_objects() {
        return out.ended(&complaint(error));
    }
    // Nobody is left to tell where stderr is closed.
    drop(error.print());
    Exit::Usage
}

/// What clap says in paragraphs, in a sentence and a hint: what is wrong, what may have been meant, how it is typed.
fn complaint(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("a command is missing").hint("`mainspring --help` lists them");
    }
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let failure = Failure::usage(first.strip_prefix("error: ").unwrap_or(&first));
    let more = paragraphs.filter(|paragraph| !paragraph.starts_with("For more information"));
    match more.map(|more| more.replace("tip: ", "").replace("Usage: ", "usage: ")).collect::<Vec<_>>().join("; ") {
        hint if hint.is_empty() => failure,
        hint => failure.hint(hint),
    }
}

/// The format that the words ask for, if they do.
fn format(words: &[OsString]) -> Option<Format> {
    let mut root = Cli::command();
    // Gives every command what it inherits: the global options.
    root.build();
    let mut command = &root;
    let mut asked = None;
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy()).peekable();
    while let Some(word) = words.next() {
        let (option, value) = match word.strip_prefix('-') {
            None => {
                command = command.find_subcommand(&*word).unwrap_or(command);
                continue;
            }
            Some("-") => break,
            Some(rest) => match rest.strip_prefix('-') {
                Some(long) => of_long(command, long),
                None => of_shorts(command, rest),
            },
        };
        let Some(option) = option else { continue };
        let value = match value {
            Some(value) => Some(value.to_owned()),
            None => words
                .next_if(|next| takes_a_word(option) && (option.is_allow_hyphen_values_set() || !next.starts_with('-')))
                .map(|next| next.into_owned()),
        };
        if option.get_id() == "output" {
            asked = value.and_then(|value| Format::from_str(&value, true).ok()).or(asked);
        }
    }
    asked
}

/// `--name` or `--name=value`.
fn of_long<'a, 'w>(command: &'a Command, word: &'w str) -> (Option<&'a Arg>, Option<&'w str>) {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let is_meant = |option: &&Arg| {
        option.get_long() == Some(name) || option.get_all_aliases().is_some_and(|others| others.contains(&name))
    };
    (command.get_arguments().find(is_meant), value)
}

/// `-x`, `-xvalue` or `-x=value`, with any number of flags in between: the one that a value belongs to.
fn of_shorts<'a, 'w>(command: &'a Command, word: &'w str) -> (Option<&'a Arg>, Option<&'w str>) {
    for (at, short) in word.char_indices() {
        let option = command.get_arguments().find(|option| option.get_short() == Some(short));
        match option {
            Some(option) if takes_a_word(option) => {
                let rest = &word[at + short.len_utf8()..];
                let value = rest.strip_prefix('=').unwrap_or(rest);
                return (Some(option), Some(value).filter(|value| !value.is_empty()));
            }
            Some(_) => {}
            None => break,
        }
    }
    (None, None)
}

/// Whether an option is nothing without the word that follows.
fn takes_a_word(option: &Arg) -> bool {
    option.get_action().takes_values() && option.get_num_args().is_some_and(|words| words.min_values() > 0)
}

#[cfg(test)]
mod tests {
    use super::format;
    use crate::settings::Format;

    #[test]
    fn the_format_is_read_as_clap_reads_it() {
        for (line, asked) in [
            ("run list --nope", None),
            ("run list --nope -o json", Some(Format::Json)),
            ("-o json run list --nope", Some(Format::Json)),
            ("run list -ojsonl", Some(Format::Jsonl)),
            ("run list -o=yaml", Some(Format::Yaml)),
            ("run list --output=name", Some(Format::Name)),
            ("run list --output none", Some(Format::None)),
            ("logs -fo json", Some(Format::Json)),
            ("logs -fojson", Some(Format::Json)),
            ("run list -o json -o xml", Some(Format::Json)),
            ("run list -o xml", None),
            ("run list -o", None),
            ("run list --filter -o json", Some(Format::Json)),
            ("submit t --wait -o json", Some(Format::Json)),
            ("trigger -d -o json", None),
            ("trigger --data -o json", None),
            ("trigger -d -o -ojson", Some(Format::Json)),
            ("run cancel --reason -o json", Some(Format::Json)),
            ("worker exec --type t -- program -o json", None),
        ] {
            let words: Vec<_> = ["mainspring"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            assert_eq!(format(&words), asked, "{line}");
        }
    }
}
