//! Running other programs, with errors that name the command line.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Runs a command with this terminal; an error names the command and how it ended.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` wrote something that is not UTF-8", line(command)))
}

/// What a command wrote to its standard output; `None` if the program is missing or failed.
pub(crate) fn output_if_any(command: &mut Command) -> Option<String> {
    output(command).ok()
}

/// Runs a command and returns the bytes that it wrote to its standard output.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    Ok(output.stdout)
}

/// Whether a program of this name is in one of the directories of `PATH` or the system's own.
pub(crate) fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where the program of this name is, in the directories of `PATH` or the system's own.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// All shared libraries of these programs.
pub(crate) fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        let listed = output(Command::new("ldd").arg(program))?;
        all.extend(libraries_in(&listed));
    }
    ensure!(!all.is_empty(), "`ldd` names no libraries");
    Ok(all)
}

fn libraries_in(listed: &str) -> impl Iterator<Item = PathBuf> {
    listed.lines().filter_map(|line| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(path))
    })
}

/// Replaces this process by the command; returns only if that failed.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let error: io::Error = std::os::unix::process::CommandExt::exec(command);
    Err(error).with_context(|| format!("could not start `{}`", line(command)))
}

/// The command as one would type it, without its environment.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        let plain = !argument.is_empty()
            && argument
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c));
        let written = if plain {
            write!(line, " {argument}")
        } else {
            write!(line, " '{}'", argument.replace('\'', r"'\''"))
        };
        written.expect("writing to a string cannot fail");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_quoted_only_where_a_shell_would_need_it() {
        let mut command = Command::new("sudo");
        command.args(["env", "A=1", "say", "it's late", ""]);
        assert_eq!(line(&command), r"sudo env A=1 say 'it'\''s late' ''");
    }

    #[test]
    fn a_failing_command_is_named_with_its_status_and_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo no disk >&2; exit 3"]))
            .expect_err("the command fails")
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("no disk"), "{error}");
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = run(&mut Command::new("no-such-program-here")).expect_err("there is none");
        assert!(error.to_string().contains("no-such-program-here"));
    }

    #[test]
    fn libraries_are_found_with_and_without_an_arrow() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffe)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f51)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f52)\n";
        let found: Vec<PathBuf> = libraries_in(listed).collect();
        assert_eq!(
            found,
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
