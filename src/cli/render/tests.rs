use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::call::Create;
use crate::label::{Labels, OwnedId};
use crate::manifest::place::Place;
use crate::report::{Condition, Failure};
use crate::spec::ContainerSpec;
use crate::step::{BlockedReason, Cause, CreateWork, Impact, ResourceKind};

fn style(width: Option<usize>, unicode: bool) -> Style<'static> {
    Style {
        layout: Layout { width, unicode },
        viewpoint: Viewpoint::of(Path::new("/srv/payments")),
    }
}

fn at(line: u32) -> Place {
    Place {
        file: "/srv/payments/aishell.yaml".into(),
        line,
        column: 5,
    }
}

fn step(kind: ResourceKind, name: &str, action: Action, impact: Impact, because: Vec<Because>) -> Step {
    Step {
        id: 1,
        resource: Resource {
            kind,
            name: name.to_owned(),
        },
        action,
        impact,
        because,
        needs: Vec::new(),
        detail: None,
        discards: None,
        widens: Vec::new(),
        interrupts: Vec::new(),
        work: Work::Calls(Vec::new()),
    }
}

/// Returns the replacement of a container whose home is a volume.
fn with_home(name: &str) -> Work {
    let home = Mount::Volume {
        name: format!("{name}-home"),
        read_only: false,
    };
    Work::Replace {
        old: OwnedId::made("old"),
        new: Box::new(CreateWork {
            create: Create {
                name: name.to_owned(),
                labels: Labels::new(),
                spec: ContainerSpec {
                    mounts: [("/home/me".to_owned(), home)].into(),
                    ..ContainerSpec::default()
                },
            },
            connect: Vec::new(),
            completes: false,
            patience: std::time::Duration::ZERO,
            awaited: false,
            shells: BTreeMap::new(),
        }),
        failed: None,
        begun: None,
    }
}

/// The plan of the product's own example.
fn example() -> Plan {
    use ResourceKind::{Container, Volume};
    let field = |cause, field: &str, from: Value, to: Value, line| {
        Because::field(cause, field, from, to).at(Some(&at(line)))
    };
    let mut populate = step(
        Volume,
        "aishell-harness-7d20c1aa93fe",
        Action::Populate,
        Impact::None,
        vec![Because::plain(Cause::Missing)],
    );
    populate.detail = Some("claude 2.0.22, codex 0.89.0".to_owned());
    let memory = field(
        Cause::Manifest,
        "resources.memory",
        json!(2_147_483_648_u64),
        json!(4_294_967_296_u64),
        24,
    );
    let mode = field(Cause::Manifest, "env.MODE", json!("fast"), json!("safe"), 31);
    let user = field(Cause::Manifest, "user", Value::Null, json!("1000:1000"), 30);
    let network = field(Cause::Drift, "network.legacy-net", json!([]), Value::Null, 40);
    let state = field(Cause::Drift, "state", json!("exited (137)"), json!("running"), 44);
    let mut builder = step(
        Container,
        "builder",
        Action::Replace,
        Impact::Recreate,
        vec![mode, user],
    );
    builder.discards = Some(14);
    builder.work = with_home("aishell-926574b4-builder");
    Plan {
        manifest: ManifestInfo {
            name: "payments".to_owned(),
            path: "aishell.yaml".to_owned(),
            key: String::new(),
        },
        engine: EngineInfo {
            host: "unix:///var/run/docker.sock".to_owned(),
            ..EngineInfo::default()
        },
        steps: vec![
            populate,
            step(Container, "reviewer", Action::Update, Impact::Live, vec![memory]),
            builder,
            step(
                Container,
                "tester",
                Action::Disconnect,
                Impact::Live,
                vec![network],
            ),
            step(Container, "worker", Action::Start, Impact::Restart, vec![state]),
            step(
                Container,
                "old",
                Action::Remove,
                Impact::Recreate,
                vec![Because::plain(Cause::Orphan)],
            ),
        ],
        blocked: vec![Blocked {
            resource: Resource {
                kind: Container,
                name: "docs".to_owned(),
            },
            action: Action::Replace,
            impact: Impact::Recreate,
            discards: None,
            reason: BlockedReason::Busy,
            detail: "1 terminal session".to_owned(),
            unblock: Some("aishell apply --allow interrupt".to_owned()),
            because: Vec::new(),
        }],
        unknown: vec![Unknown {
            kind: Container,
            name: "api".to_owned(),
            reason: "node:22 is pulled first".to_owned(),
        }],
        unchanged: vec![
            Resource {
                kind: Container,
                name: "db".to_owned(),
            };
            4
        ],
        notes: Vec::new(),
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_plan_is_shown_as_the_product_promises() {
    insta::assert_snapshot!(plain(&style(None, true).plan(&example(), false)), @r#"
    aishell.yaml · payments · docker unix:///var/run/docker.sock

      + volume     aishell-harness-7d20c1aa93fe   populate   claude 2.0.22, codex 0.89.0
      ~ container  reviewer                       live       resources.memory  2GiB → 4GiB              aishell.yaml:24
      ± container  builder                        recreate   env.MODE          "fast" → "safe"          aishell.yaml:31
                                                             user              (none) → 1000:1000       aishell.yaml:30
      ~ container  tester                         live       network legacy-net attached by hand        drift
      ↻ container  worker                         start      state             exited (137) → running   drift
      - container  old                            remove     not in the manifest
      ! container  docs                           blocked    busy: 1 terminal session                   apply --allow interrupt
      ? container  api                            unknown    node:22 is pulled first

    1 to create, 2 to change in place, 1 to restart, 1 to replace, 1 to remove, 1 blocked, 1 not known yet, 4 unchanged
    builder: replacing discards 14 files in the container layer (its home volume is kept)
    "#);
}

#[test]
fn without_unicode_signs_are_ascii() {
    let text = plain(&style(None, false).plan(&example(), false));
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_narrow_terminal_breaks_lines_and_cuts_nothing_off() {
    insta::assert_snapshot!(plain(&style(Some(84), true).plan(&example(), false)), @r#"
    aishell.yaml · payments · docker unix:///var/run/docker.sock

      + volume     aishell-harness-7d20c1aa93fe   populate   claude 2.0.22, codex 0.89.0
      ~ container  reviewer                       live
          resources.memory  2GiB → 4GiB              aishell.yaml:24
      ± container  builder                        recreate
          env.MODE          "fast" → "safe"          aishell.yaml:31
          user              (none) → 1000:1000       aishell.yaml:30
      ~ container  tester                         live
          network legacy-net attached by hand        drift
      ↻ container  worker                         start
          state             exited (137) → running   drift
      - container  old                            remove     not in the manifest
      ! container  docs                           blocked    busy: 1 terminal session
                                                             apply --allow interrupt
      ? container  api                            unknown    node:22 is pulled first

    1 to create, 2 to change in place, 1 to restart, 1 to replace, 1 to remove, 1 blocked, 1 not known yet, 4 unchanged
    builder: replacing discards 14 files in the container layer (its home volume is kept)
    "#);
}

#[test]
fn a_satisfied_manifest_is_said_to_be_so() {
    let mut plan = example();
    plan.steps.clear();
    plan.blocked.clear();
    plan.unknown.clear();
    plan.notes.clear();
    insta::assert_snapshot!(plain(&style(None, true).plan(&plan, false)), @r"
    aishell.yaml · payments · docker unix:///var/run/docker.sock

    nothing to do: 4 resources are as the manifest wants them
    ");
}

#[test]
fn what_others_wrote_reaches_no_terminal_raw() {
    let mut plan = example();
    plan.blocked[0].detail = "by \u{1b}[31mred\u{7}".to_owned();
    plan.notes = vec!["\u{1b}]0;title\u{7}note\u{9b}31m".to_owned()];
    let text = plain(&style(None, true).plan(&plan, false));
    assert!(
        !text
            .chars()
            .any(|character| character.is_control() && character != '\n'),
        "{text:?}"
    );
}

fn done(step: Step, outcome: Outcome, error: Option<Failure>) -> Done {
    Done {
        retries: None,
        step,
        outcome,
        seconds: 3.25,
        error,
    }
}

#[test]
fn a_finished_step_tells_how_often_the_engine_was_asked_again() {
    let plan = example();
    let style = style(None, true);
    let retries = |times| Retries {
        times,
        waited: std::time::Duration::from_millis(1234),
    };
    for (times, text) in [
        (1, "engine asked again once, 1.2s"),
        (3, "engine asked again 3 times, 1.2s"),
    ] {
        let done = Done {
            retries: Some(retries(times)),
            ..done(plan.steps[0].clone(), Outcome::Done, None)
        };
        let line = style.done(&done, style.columns(&plan));
        assert!(line.trim_end().ends_with(text), "{line}");
    }
}

#[test]
fn finished_steps_keep_their_line_and_failed_ones_show_the_end_of_their_output() {
    let plan = example();
    let style = style(None, true);
    let columns = style.columns(&plan);
    let failure = Failure::new("npm ended with code 1")
        .log(vec!["npm ERR! 404".to_owned(), "\u{1b}[2Jgone".to_owned()])
        .hint("ask the registry");
    let skipped = Failure::new("needs volume aishell-harness-7d20c1aa93fe, which failed");
    let lines: String = [
        done(plan.steps[1].clone(), Outcome::Done, None),
        done(plan.steps[0].clone(), Outcome::Failed, Some(failure)),
        done(plan.steps[2].clone(), Outcome::Skipped, Some(skipped)),
    ]
    .iter()
    .map(|done| style.done(done, columns))
    .collect();
    insta::assert_snapshot!(plain(&lines), @r#"
    ✓   3.2s  ~ container  reviewer                       live       resources.memory  2GiB → 4GiB              aishell.yaml:24
    ✗   3.2s  + volume     aishell-harness-7d20c1aa93fe   populate   claude 2.0.22, codex 0.89.0
        error: npm ended with code 1
        │ npm ERR! 404
        │ gone
        hint: ask the registry
    -         ± container  builder                        recreate   env.MODE          "fast" → "safe"          aishell.yaml:31
                                                                     user              (none) → 1000:1000       aishell.yaml:30
        skipped: needs volume aishell-harness-7d20c1aa93fe, which failed
    "#);
}

#[test]
fn a_report_ends_with_what_came_of_it_and_how_to_go_on() {
    let plan = example();
    let report = Report {
        manifest: plan.manifest,
        engine: plan.engine,
        pinned: Vec::new(),
        steps: vec![
            done(plan.steps[1].clone(), Outcome::Done, None),
            done(plan.steps[0].clone(), Outcome::Failed, None),
        ],
        blocked: plan.blocked,
        unchanged: plan.unchanged,
        notes: Vec::new(),
        conditions: vec![Condition::new(
            ConditionKind::Converged,
            false,
            "Differences",
            "2 steps are left to do",
        )],
        converged: false,
        interrupted: false,
    };
    insta::assert_snapshot!(plain(&style(None, true).outcome(&report, "aishell apply")), @r"
      ! container  docs   blocked   busy: 1 terminal session   apply --allow interrupt

    1 changed in place, 1 failed, 1 blocked
    what is done stays done; continue with: aishell apply
    ");
}
