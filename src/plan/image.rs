//! What images need: pulled, built, given an identity.

use serde_json::json;

use super::{Draft, Made, Maker, Needs, NewStep, job_labels, resource, settled};
use crate::desired::{Identity, Pin, Stage, StageSource};
use crate::label::{self, Kind};
use crate::step::{Action, Because, Cause, IdentityWork, Impact, ResourceKind, Work};

/// Plans the images that others are made from.
pub(super) fn stages(draft: &mut Draft<'_>) {
    for (name, stage) in &draft.desired.stages {
        let maker = match &stage.source {
            StageSource::Image { pull, present, .. } => pulled(draft, stage, *pull, *present),
            StageSource::Dockerfile { .. } => built(draft, name, stage),
        };
        draft.made(Made::Stage(name.clone()), maker);
    }
}

fn pulled(draft: &mut Draft<'_>, stage: &Stage, pull: bool, present: bool) -> Maker {
    let (name, reference) = (stage.resource(), stage.reference());
    if present {
        draft.unchanged(ResourceKind::Image, name);
        return Maker::Ready;
    }
    // What a tag means is known when it is pulled; a digest means one thing.
    let maker = |step| match stage.key {
        Pin::Known(_) => Maker::Step(step),
        Pin::Unknown(_) => Maker::Unknown(format!("{name} is pulled first")),
    };
    let wanted = resource(ResourceKind::Image, name);
    if let Some(step) = draft.steps.iter().find(|step| step.resource == wanted) {
        return maker(step.id);
    }
    let because = vec![Because::plain(Cause::Missing).at(stage.place.as_ref())];
    if !pull {
        draft.blocked.push(crate::step::Blocked {
            resource: wanted,
            action: Action::Pull,
            impact: Impact::None,
            discards: None,
            reason: crate::step::BlockedReason::Unsupported,
            detail: "the image is not on the engine and the manifest says `pull: never`".to_owned(),
            unblock: Some(format!("docker pull {reference}")),
            because,
        });
        return Maker::Blocked;
    }
    let id = draft.push(NewStep {
        resource: wanted,
        action: Action::Pull,
        impact: Impact::None,
        because,
        needs: Vec::new(),
        detail: (name != reference).then(|| reference.to_owned()),
        work: Work::Calls(vec![crate::call::Call::PullImage {
            reference: reference.to_owned(),
        }]),
    });
    maker(id)
}

fn built(draft: &mut Draft<'_>, name: &str, stage: &Stage) -> Maker {
    let StageSource::Dockerfile { build, alias, about } = &stage.source else {
        return Maker::Ready;
    };
    let made = Made::Stage(name.to_owned());
    let Some(key) = settled(draft, &stage.key, ResourceKind::Image, name, made) else {
        return Maker::Unknown("its inputs are not known yet".to_owned());
    };
    if draft.observed.keyed(&build.tag, Kind::Foundation, key).is_some() {
        draft.unchanged(ResourceKind::Image, &build.tag);
        return Maker::Ready;
    }
    let earlier = earlier(draft, Kind::Foundation, name);
    let because = match earlier {
        Some(from) => Because::field(Cause::Stale, name, json!(from), json!(key.short())),
        None => Because::plain(Cause::Missing),
    };
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Image, &build.tag),
        action: Action::Build,
        impact: Impact::None,
        because: vec![because.at(stage.place.as_ref())],
        needs: Vec::new(),
        detail: Some(about.clone()),
        work: Work::Build {
            build: build.clone(),
            alias: alias.clone(),
        },
    });
    Maker::Step(id)
}

/// Returns the short key of an image of this manifest that an earlier state of the same inputs made.
fn earlier(draft: &Draft<'_>, kind: Kind, name: &str) -> Option<String> {
    draft
        .observed
        .images
        .values()
        .filter_map(|image| label::Mark::read(&image.labels))
        .find(|mark| mark.kind == kind && mark.name == name && mark.manifest == draft.desired.owner.manifest)
        .map(|mark| mark.key.short().to_owned())
}

/// Plans the identity images.
pub(super) fn identities(draft: &mut Draft<'_>) {
    for (name, identity) in &draft.desired.identities {
        let maker = self::identity(draft, name, identity);
        draft.made(Made::Identity(name.clone()), maker);
    }
}

fn identity(draft: &mut Draft<'_>, name: &str, identity: &Identity) -> Maker {
    let made = Made::Identity(name.to_owned());
    let display = format!("sandbox identity {}", identity.account.name);
    let Some(key) = settled(draft, &identity.key, ResourceKind::Image, &display, made.clone()) else {
        return draft.makers.get(&made).cloned().unwrap_or(Maker::Blocked);
    };
    let Some(tag) = settled(draft, &identity.tag, ResourceKind::Image, &display, made.clone()) else {
        return draft.makers.get(&made).cloned().unwrap_or(Maker::Blocked);
    };
    let needs = match draft.needs([Made::Stage(identity.stage.clone())]) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => {
            draft.unknown(ResourceKind::Image, &display, &reason);
            return Maker::Unknown(reason);
        }
        Needs::Blocked => return Maker::Blocked,
    };
    if draft.observed.keyed(tag, Kind::Identity, key).is_some() {
        draft.unchanged(ResourceKind::Image, tag);
        return Maker::Ready;
    }
    let desired = draft.desired;
    let from = desired
        .stages
        .get(&identity.stage)
        .map(|stage| stage.reference().to_owned())
        .unwrap_or_default();
    let because = if needs.is_empty() {
        Because::plain(Cause::Missing)
    } else {
        Because {
            field: Some("image".to_owned()),
            ..Because::plain(Cause::Dependency)
        }
    };
    let mut labels = label::shared(&desired.owner.manifest, Kind::Identity, name, key);
    labels.insert(
        label::FOUNDATION_HASH.to_owned(),
        stage_key(draft, &identity.stage),
    );
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Image, tag),
        action: Action::Build,
        impact: Impact::None,
        because: vec![because.at(identity.place.as_ref())],
        needs,
        detail: Some(format!(
            "user {} ({}:{}), home {}",
            identity.account.name, identity.account.uid, identity.account.gid, identity.account.home
        )),
        work: Work::Identity(Box::new(IdentityWork {
            from,
            tag: tag.clone(),
            key: key.clone(),
            labels,
            job: job_labels(desired, "identity", key),
            account: identity.account.clone(),
            certificates: identity.certificates.clone(),
        })),
    });
    Maker::Step(id)
}

fn stage_key(draft: &Draft<'_>, stage: &str) -> String {
    draft
        .desired
        .stages
        .get(stage)
        .and_then(|stage| stage.key.known())
        .map(|key| key.as_str().to_owned())
        .unwrap_or_default()
}
