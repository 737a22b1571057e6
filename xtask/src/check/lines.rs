//! Files stay short enough to be read in one go: nine of ten within `MOST`, none over `EACH`.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    report::Verdict,
    shell::{capture, command, root},
};

const MOST: usize = 400;
const EACH: usize = 800;

/// A file and its number of lines.
type Length = (String, usize);

pub(super) fn rule() -> Result<Verdict> {
    let listed = capture(&mut command("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]))?;
    if !listed.success {
        bail!("git cannot list the files: {}", listed.output.trim());
    }
    // A file that is removed but not yet committed as such is listed, and cannot be read.
    let lengths =
        listed.output.lines().filter_map(|path| Some((path.to_owned(), length(&root().join(path))?))).collect();
    Ok(judge(lengths))
}

/// The lines of a file written by hand.
fn length(path: &Path) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let generated = text.lines().take(5).any(|line| line.contains("@generated"));
    (!generated).then(|| text.lines().count())
}

fn judge(mut lengths: Vec<Length>) -> Verdict {
    lengths.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    // Longest first, so the 90th percentile stands where a tenth of the files is before it.
    let p90 = lengths.get(lengths.len() / 10).map_or(0, |(_, lines)| *lines);
    let worst: Vec<_> = lengths.iter().take(5).map(|(path, lines)| format!("{path} {lines}")).collect();
    let note = format!("p90 {p90} of {MOST}; longest: {}", worst.join(", "));
    if p90 > MOST || lengths.first().is_some_and(|(_, lines)| *lines > EACH) {
        let remedy =
            format!("split the longest by noun or verb: p90 is at most {MOST} lines, and no file is over {EACH}");
        return Verdict::Failed { output: note, remedy };
    }
    Verdict::Passed(note)
}

#[cfg(test)]
mod tests {
    use super::{EACH, Length, MOST, judge};
    use crate::report::Verdict;

    fn files(lengths: impl IntoIterator<Item = usize>) -> Vec<Length> {
        lengths.into_iter().enumerate().map(|(n, lines)| (format!("{n}.rs"), lines)).collect()
    }

    #[test]
    fn one_long_file_in_ten_is_forgiven_and_two_are_not() {
        let mut ten = vec![10; 9];
        ten.push(EACH);
        assert!(matches!(judge(files(ten.clone())), Verdict::Passed(_)));
        ten[0] = MOST + 1;
        assert!(matches!(judge(files(ten)), Verdict::Failed { .. }));
    }

    #[test]
    fn a_file_over_the_limit_is_never_forgiven() {
        let mut many = vec![10; 99];
        many.push(EACH + 1);
        assert!(matches!(judge(files(many)), Verdict::Failed { .. }));
    }

    #[test]
    fn no_files_are_no_offence() {
        assert!(matches!(judge(Vec::new()), Verdict::Passed(_)));
    }
}
