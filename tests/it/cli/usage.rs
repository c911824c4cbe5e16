//! Help, and what happens to command lines that make no sense.

use super::command::{Aishell, aishell};

#[test]
fn help_lists_commands_and_options() {
    insta::assert_snapshot!(aishell("-h").answers(0), @r"
    Write down once which sandboxes you want; aishell makes Docker match it

    Usage: aishell [OPTIONS] <COMMAND>

    Commands:
      init         Write a manifest to start from
      validate     Check the manifest and report every problem at once
      diff         Show what differs from the manifest, and why [alias: plan]
      apply        Make Docker match the manifest [alias: up]
      watch        Keep Docker as the manifest wants it
      update       Pin anew what `latest`, ranges, tags and branches mean
      status       Show how every resource stands
      phases       Show every phase that stages are built in, and how it stands
      doctor       Look for what is wrong or weak, and say what would help
      ps           List the containers of the project
      logs         Show what a container has written
      stop         Stop containers, and keep them stopped
      start        Start containers, and let them be healed again
      restart      Stop containers and start them again, as they are
      run          Open the harness of a container in this terminal
      exec         Run one command in a running container, and end with its code
      attach       Open a shell, or a command, in a running container
      delete       Remove the containers and the network of the manifest [alias: down]
      prune        Remove what nobody uses any more, of every project on the engine
      schema       Print the JSON Schema of a document
      completions  Print the completion script of a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
      -f, --file <PATH>      Read this manifest instead of searching for one; `-` is standard input
          --context <NAME>   Use the engine of this Docker context
          --host <URI>       Use the engine at this address, such as `unix:///var/run/docker.sock`
      -o, --output <FORMAT>  Answer with `text` or with one `json` document [default: text]
          --color <WHEN>     Colour the output: `auto` (on a terminal, unless `NO_COLOR` is set),
                             `always` or `never`
      -q, --quiet            Print only the answer and errors
      -v, --verbose...       Print more; twice for everything (`AISHELL_LOG` is a finer filter)
          --progress <MODE>  Show progress: `auto` (bars on a terminal), `plain` lines, `json` events on
                             stderr, or `none`
          --no-input         Never ask; a question counts as answered with no

    Exit codes: 0 done, 1 differences, 2 usage, 3 invalid manifest, 4 engine unreachable, 5 steps
    failed, 6 a person is needed, 7 another apply is at work, 8 the saved plan is stale, 130
    interrupted; `exec` and `attach`: that of the command, or 125.
    ");
}

#[test]
fn help_of_a_command_says_what_it_does_and_what_it_does_not() {
    insta::assert_snapshot!(aishell("delete --help").answers(0), @r"
    Remove the containers and the network of the manifest

    Lists what would go and asks; without a terminal, --yes has to say so. Images and harness volumes
    stay, since others may use them. Data volumes stay too, unless --allow data-loss.

    Usage: aishell delete [OPTIONS] [MANIFEST]

    Arguments:
      [MANIFEST]
              The manifest, if it is not to be searched for

    Options:
          --lock-timeout <DURATION>
              Wait so long for another apply to the same objects to end, such as 60s
              
              [default: 0]

      -y, --yes
              Do not ask

          --allow <WHAT>
              Allow what is blocked otherwise; several are separated by commas

              Possible values:
              - interrupt: Interrupt containers that somebody works in
              - data-loss: Remove data volumes with their content

      -h, --help
              Print help (see a summary with '-h')

    Global options:
      -f, --file <PATH>
              Read this manifest instead of searching for one; `-` is standard input

          --context <NAME>
              Use the engine of this Docker context

          --host <URI>
              Use the engine at this address, such as `unix:///var/run/docker.sock`

      -o, --output <FORMAT>
              Answer with `text` or with one `json` document
              
              [default: text]

          --color <WHEN>
              Colour the output: `auto` (on a terminal, unless `NO_COLOR` is set), `always` or `never`

      -q, --quiet
              Print only the answer and errors

      -v, --verbose...
              Print more; twice for everything (`AISHELL_LOG` is a finer filter)

          --progress <MODE>
              Show progress: `auto` (bars on a terminal), `plain` lines, `json` events on stderr, or
              `none`

          --no-input
              Never ask; a question counts as answered with no
    ");
}

#[test]
fn every_command_has_help() {
    for command in [
        "validate", "diff", "plan", "apply", "up", "status", "ps", "delete", "down", "schema",
    ] {
        let text = aishell(&format!("{command} -h")).answers(0);
        assert!(text.contains("Usage: aishell "), "{command}: {text}");
    }
}

#[test]
fn without_a_command_help_is_a_complaint() {
    assert!(aishell("").complains(2).contains("Usage: aishell"));
}

#[test]
fn a_mistyped_command_gets_a_suggestion() {
    insta::assert_snapshot!(aishell("aply").complains(2), @r"
    error: there is no command `aply`
    hint: did you mean `apply`?
    ");
}

#[test]
fn a_mistyped_option_gets_a_suggestion() {
    insta::assert_snapshot!(aishell("ps --all-project").complains(2), @r"
    error: unexpected argument '--all-project' found

      tip: a similar argument exists: '--all-projects'

    Usage: aishell ps --all-projects

    For more information, try '--help'.
    ");
}

#[test]
fn what_makes_no_sense_ends_with_2() {
    for arguments in [
        "diff -o yaml",
        "diff --color sometimes",
        "diff one.yaml two.yaml",
        "diff -q -v",
        "diff --host unix:///a --context b",
        "delete --allow everything",
        "ps --all-projects -f aishell.yaml",
        "completions csh",
        "apply --frozen",
    ] {
        let text = aishell(arguments).complains(2);
        assert!(text.starts_with("error: "), "{arguments}: {text}");
    }
}

#[test]
fn a_manifest_named_twice_is_wrong_usage() {
    insta::assert_snapshot!(aishell("diff -f a.yaml b.yaml").complains(2), @r"
    error: the manifest is named twice
    hint: give it with --file or as the argument, not both
    ");
}

#[test]
fn a_filter_that_makes_no_sense_is_wrong_usage() {
    let text = filtered("a=b=c").complains(2);
    assert!(text.starts_with("error: AISHELL_LOG is not a filter"), "{text}");
}

fn filtered(filter: &str) -> Aishell {
    aishell("validate").manifest().variable("AISHELL_LOG", filter)
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = aishell(&format!("completions {shell}")).answers(0);
        for word in ["aishell", "validate", "no-prune", "all-projects"] {
            assert!(script.contains(word), "{shell} completes {word}");
        }
    }
}
