//! Answers taken apart: each kind of call has one kind of answer.

use crate::call::{Answer, ContainerReply, ListedContainer, NetworkReply, VolumeReply};
use crate::observed::{EngineInfo, Image, ImageReply};

pub(super) fn engine_info(answer: Answer) -> Option<EngineInfo> {
    if let Answer::Engine(engine) = answer {
        Some(engine)
    } else {
        None
    }
}

pub(super) fn listed_containers(answer: Answer) -> Option<Vec<ListedContainer>> {
    if let Answer::Containers(containers) = answer {
        Some(containers)
    } else {
        None
    }
}

pub(super) fn listed_volumes(answer: Answer) -> Option<Vec<VolumeReply>> {
    if let Answer::Volumes(volumes) = answer {
        Some(volumes)
    } else {
        None
    }
}

pub(super) fn listed_networks(answer: Answer) -> Option<Vec<NetworkReply>> {
    if let Answer::Networks(networks) = answer {
        Some(networks)
    } else {
        None
    }
}

pub(crate) fn listed_images(answer: Answer) -> Option<Vec<Image>> {
    if let Answer::Images(images) = answer {
        Some(images)
    } else {
        None
    }
}

pub(crate) fn inspected_image(answer: Answer) -> Option<ImageReply> {
    if let Answer::Image(image) = answer {
        Some(*image)
    } else {
        None
    }
}

pub(crate) fn inspected_container(answer: Answer) -> Option<ContainerReply> {
    if let Answer::Container(container) = answer {
        Some(*container)
    } else {
        None
    }
}

pub(crate) fn inspected_volume(answer: Answer) -> Option<VolumeReply> {
    if let Answer::Volume(volume) = answer {
        Some(volume)
    } else {
        None
    }
}

pub(crate) fn inspected_network(answer: Answer) -> Option<NetworkReply> {
    if let Answer::Network(network) = answer {
        Some(network)
    } else {
        None
    }
}
