//! Images that nothing of would run on the engine.

use crate::desired::Stage;
use crate::plan::{Draft, Maker, resource};
use crate::platform::made_for;
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, Impact, ResourceKind};

/// Refuses an image that is made for another machine: nothing of it would run.
pub(super) fn refused(draft: &mut Draft<'_>, stage: &Stage, platform: &str) -> Maker {
    let own = &draft.observed.engine.platform;
    // Only a registry may have it for another one.
    let reference = Some(stage.reference()).filter(|reference| reference.contains('@'));
    draft.blocked.push(Blocked {
        resource: resource(ResourceKind::Image, stage.resource()),
        action: Action::Pull,
        impact: Impact::None,
        discards: None,
        reason: BlockedReason::Unsupported,
        detail: made_for(platform, own),
        unblock: reference.map(|reference| format!("docker pull --platform {own} {reference}")),
        because: vec![Because::plain(Cause::Image).at(stage.place.as_ref())],
    });
    Maker::Blocked
}
