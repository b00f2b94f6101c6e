//! Errors of rendering as problems at their place.

use super::super::sources::Files;
use crate::layers::flux::Layer;
use crate::problem::{Origin, Problem};
use crate::render::RenderError;

/// A render error as a problem at its place.
pub(super) fn explain(layer: &Layer, files: &Files, error: RenderError) -> Problem {
    let declared = layer.declaration.origin.clone();
    let subject = format!("{} {}", layer.kind(), layer.id);
    match error {
        RenderError::Yaml { path, error, excerpt } => {
            let origin = files.shown(&Origin { file: path, line: error.line });
            let mut problem = Problem::blocks("yaml-invalid", format!("{}: is not valid YAML: {}", origin.file, error.message));
            problem.column = Some(error.column);
            problem.excerpt = excerpt;
            problem.at(Some(origin))
        }
        RenderError::NoFolder { path } => {
            let message = match layer.spec.application {
                None => format!("{subject}: spec.path {path} is no folder of its source {}", layer.source),
                Some(_) => format!("{subject}: its path {path} is no folder of {}", files.name()),
            };
            let problem = Problem::blocks("path-missing", message).at(declared);
            if layer.source.is_packed() {
                problem.hint(format!("give the folder that is pushed as the artifact: --source {}=FOLDER", layer.source))
            } else {
                problem
            }
        }
        RenderError::NoProgram { name } => Problem::blocks("program-missing", format!("{subject}: {}", RenderError::NoProgram { name }))
            .at(declared)
            .hint("blackstart sandbox install"),
        RenderError::Decrypt { object, message, recipients } => {
            let path = crate::render::join("", &layer.spec.path).unwrap_or_default();
            let origin = files.place_of(&object, &path).map(|origin| files.shown(&origin)).or(declared);
            let wanted = if recipients.is_empty() { String::new() } else { format!("; encrypted for {}", recipients.join(", ")) };
            let secret =
                layer.spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref()).map_or("", |secret| &secret.name);
            Problem::blocks("decryption-failed", format!("{object} of layer {}: cannot be decrypted: {message}{wanted}", layer.id))
                .at(origin)
                .hint(format!(
                    "give the private key of one of them as Secret {}/{secret} in spec.secrets of the environment file",
                    layer.id.namespace
                ))
        }
        RenderError::Helm { message, place } => {
            let place = place.map(|place| files.shown(&place));
            let hint = format!("see it alone: helm template {}", layer.spec.path);
            Problem::blocks("render-failed", format!("{subject}: helm: {message}")).at(place.or(declared)).hint(hint)
        }
        RenderError::Missing { files: ref missing, .. } => {
            let place = missing.first().map(|file| files.shown(&file.origin));
            Problem::blocks("render-failed", format!("{subject}: {error}"))
                .at(place.or(declared))
                .hint("commit it, or take it out of the kustomization; symbolic links are no part of a source")
        }
        RenderError::NoManifest { ref path, line, .. } => {
            let place = files.shown(&Origin { file: path.clone(), line });
            Problem::blocks(
                "render-failed",
                format!("{subject}: {error}: without a kustomization.yaml every YAML file below its folder counts"),
            )
            .at(Some(place))
            .hint("list the manifests in a kustomization.yaml, or leave this file out by spec.ignore of the source or .sourceignore")
        }
        error @ RenderError::Tool { .. } => Problem::blocks("render-failed", format!("{subject}: {error}")).at(declared),
        error => Problem::blocks("render-failed", format!("{subject}: {error}"))
            .at(declared)
            .hint(format!("see it alone: kustomize build {}", layer.spec.path)),
    }
}
