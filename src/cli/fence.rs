//! Before a new cluster takes an old one's place: does the old one still act?

use super::start::connect;
use super::{ClusterArgs, Failure, StartArgs};
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::execute::Events;
use crate::execute::fence;
use crate::problem::count;
use crate::read::Reading;
use crate::report::event::Happening;
use std::time::Duration;

/// How long the old cluster may take to answer; one that is gone does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops a run whose environment lives in another cluster that still acts, or stops that one, as is asked.
pub(super) async fn keep_apart(
    args: &StartArgs,
    environment: &Environment,
    reading: &Reading,
    cluster: &Cluster,
    events: &Events,
) -> Result<(), Failure> {
    let Some(old) = old(args, environment).await? else { return Ok(()) };
    let looked = tokio::time::timeout(PATIENCE, fence::look(&old, cluster, reading)).await;
    let acting = match looked {
        Ok(Ok(Some(acting))) => acting,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(_)) | Err(_) => {
            tell(events, format!("{}: does not answer; it is taken to be gone", old.server()));
            return Ok(());
        }
    };
    let names: Vec<String> = acting.objects.iter().take(3).map(ToString::to_string).collect();
    let what = format!("{}, such as {}", count(acting.objects.len(), "object"), names.join(", "));
    if args.fence {
        fence::fence(&old, &acting).await.map_err(|error| Failure::new(format!("fence: {error}")).code(1))?;
        tell(events, format!("{}: fenced: {what}, are suspended or scaled to nothing", acting.server));
        return Ok(());
    }
    if args.beside {
        let warning = "both clusters may write the same DNS records, images and volumes";
        tell(events, format!("{}: still acts on {what}; {warning}", acting.server));
        return Ok(());
    }
    let failure =
        Failure::new(format!("cluster {}: still answers, and acts for this environment with {what}; nothing was written", acting.server));
    Err(failure.hint("stop it first: run the same command with --fence (its agent, image automation and external-dns are suspended, nothing is deleted), or let both live with --beside"))
}

/// The cluster whose place is taken: the one that is named, else the environment's own where another is asked for.
async fn old(args: &StartArgs, environment: &Environment) -> Result<Option<Cluster>, Failure> {
    if let Some(file) = &args.replaces {
        return Ok(Some(Cluster::connect(Some(file), None).await?));
    }
    let names_one = environment.spec.cluster.as_ref().is_some_and(|cluster| cluster.eks.is_some() || cluster.kubeconfig.is_some());
    if args.cluster.kubeconfig.is_none() || !names_one {
        return Ok(None);
    }
    // One that cannot be reached at all is gone.
    Ok(tokio::time::timeout(PATIENCE, connect(&ClusterArgs::default(), environment)).await.ok().and_then(Result::ok))
}

fn tell(events: &Events, message: String) {
    events.send(Happening::Warning { node: None, message });
}
