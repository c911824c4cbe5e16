//! Images without a shell: refused where one is needed, before anything of it is made or anything else is touched.

use aishell::call::Call;
use aishell::engine::memory::{Blueprint, Cut, MemoryEngine, World};
use aishell::observed::RunState;
use aishell::report::Outcome;
use serde_json::{Value, json};

use crate::world::{BASE, SIDECAR, Wish, converged, fork, passed, told, wish, world};

/// What both images lack.
fn bare() -> World {
    let bare = Blueprint::new().bare();
    world()
        .with_published_of(BASE, &bare)
        .with_image_of(SIDECAR, &bare)
}

/// Containers that need a shell, by who has it start.
fn needing() -> [Value; 4] {
    [
        json!({ "harness": "claude" }),
        json!({ "command": ["serve"], "preStart": ["./up"] }),
        json!({ "image": SIDECAR, "user": "image", "workspace": "none", "harness": "claude" }),
        json!({ "image": SIDECAR, "user": "image", "workspace": "none", "command": ["serve"], "preStart": ["./up"] }),
    ]
}

/// Containers that only stay up, or run a program of their own.
fn content() -> [Value; 3] {
    [
        json!({}),
        json!({ "command": ["serve"] }),
        json!({ "image": SIDECAR, "user": "image", "workspace": "none" }),
    ]
}

fn of(fields: &Value) -> Wish {
    let harnessed = fields.get("harness").is_some();
    let wish = wish().container("a", fields.clone());
    if harnessed {
        wish.harness("claude", "2.0.22")
    } else {
        wish
    }
}

/// Makes a pass that is refused, and returns the line of the manifest that it names.
#[track_caller]
fn refused(engine: &MemoryEngine, wish: &Wish) -> u32 {
    let report = passed(engine, wish).expect("the engine answers");
    let failed = report.steps.iter().filter(|done| done.outcome == Outcome::Failed);
    let errors: Vec<_> = failed.filter_map(|done| done.error.as_ref()).collect();
    let [error] = errors[..] else {
        panic!("{}", told(&report))
    };
    assert_eq!(
        error.message,
        "the image has no /bin/sh, and container a needs one"
    );
    let place = error.at.as_ref().expect("a place");
    place.line
}

#[test]
fn whoever_needs_a_shell_is_refused_with_his_line_before_he_is_there() {
    for fields in needing() {
        let engine = MemoryEngine::new(bare());
        for _ in 0..2 {
            assert_eq!(refused(&engine, &of(&fields)), 1, "{fields}");
            assert!(
                engine.world().container(&of(&fields).object("a")).is_none(),
                "{fields}"
            );
        }
    }
}

#[test]
fn whoever_needs_none_runs_where_there_is_none() {
    for fields in content() {
        let engine = MemoryEngine::new(bare());
        let wish = of(&fields);
        converged(&engine, &wish);
        let world = engine.world();
        let state = world.container(&wish.object("a")).expect("a container").state();
        assert_eq!(state, RunState::Running, "{fields}");
        assert!(
            !engine
                .calls()
                .iter()
                .any(|call| matches!(call, Call::StatFile { .. })),
            "{fields}"
        );
    }
}

#[test]
fn whoever_runs_without_a_shell_goes_on_when_he_is_to_need_one() {
    for (before, fields) in content()
        .iter()
        .flat_map(|before| needing().map(|after| (before.clone(), after)))
    {
        let engine = MemoryEngine::new(bare());
        converged(&engine, &of(&before));
        let wish = of(&fields);
        let name = wish.object("a");
        let run = |engine: &MemoryEngine| {
            let world = engine.world();
            let one = world.container(&name).expect("a container");
            (one.reply.id.clone(), one.reply.started.clone(), one.state())
        };
        let was = run(&engine);
        refused(&engine, &wish);
        assert_eq!(run(&engine), was, "{before} -> {fields}");
        let next = format!("{name}.next");
        assert!(engine.world().container(&next).is_none(), "{before} -> {fields}");
        // Whoever takes it back has lost nothing.
        converged(&engine, &of(&before));
        assert_eq!(run(&engine), was, "{before} -> {fields}");
    }
}

#[test]
fn cut_anywhere_nobody_is_started_without_the_shell_he_needs() {
    for fields in needing() {
        let wish = of(&fields);
        let name = wish.object("a");
        let whole = MemoryEngine::new(bare());
        refused(&whole, &wish);
        for at in 0..whole.calls().len() {
            for cut in [Cut::Before, Cut::After] {
                let engine = MemoryEngine::new(bare());
                engine.cut(at, cut);
                let _ = passed(&engine, &wish);
                let after = fork(&engine);
                refused(&after, &wish);
                let world = after.world();
                let state = world
                    .container(&name)
                    .map(aishell::engine::memory::Container::state);
                assert!(
                    matches!(state, None | Some(RunState::Created)),
                    "{fields} cut at {at}: {state:?}"
                );
            }
        }
    }
}
